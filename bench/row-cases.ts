/** Attention, normalisation, gathers, SAE kernels and Adam. */
import type { Gpu } from '../src/gpu/index.ts';
import { Tensor, adam, adamDefaults, argmax, attention, gatherRows, greedyChoose, gramMatrix, layerNorm, saeDecode, saeEncode, softmax } from '../src/tensor/index.ts';
import type { Case, Prepared } from './measure.ts';
import { inputs, relative, spread } from './numbers.ts';

/** A case from its inputs, its operation and one reference value per output index. */
function prepared<T extends Record<string, Tensor>>(tensors: T, op: (t: T) => Tensor, reference: (at: number) => number, samples: number, read: 'f32' | 'u32' = 'f32'): Prepared {
  return {
    run: () => op(tensors).dispose(),
    async check() {
      const out = op(tensors);
      const got = read === 'f32' ? await out.read() : await out.readU32();
      out.dispose();
      return relative(spread(got.length, samples).map((at) => [got[at]!, reference(at)] as const));
    },
    dispose: () => Object.values(tensors).forEach((t) => t.dispose()),
  };
}

function attentionCase(batch: number, length: number, heads: number, width: number, long = false): Case {
  const d = heads * width;
  const pairs = (length * (length + 1)) / 2;
  return {
    kernel: 'attention', shape: `batch ${batch}, ${length} positions, ${heads} heads of ${width}`, long,
    flops: 4 * batch * heads * pairs * width, bytes: 4 * batch * length * d * 4,
    prepare(gpu) {
      const data = inputs(batch * length * 3 * d, 3);
      const row = (b: number, p: number, part: number, h: number): Float32Array => data.subarray(((b * length + p) * 3 + part) * d + h * width, ((b * length + p) * 3 + part) * d + (h + 1) * width);
      const dot = (x: Float32Array, y: Float32Array): number => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
      return prepared({ qkv: Tensor.from(gpu, data, [batch, length, 3 * d]) }, ({ qkv }) => attention({ qkv, heads }), (at) => {
        const [b, p, h, c] = [Math.floor(at / (length * d)), Math.floor(at / d) % length, Math.floor((at % d) / width), at % width];
        const weights = Array.from({ length: p + 1 }, (_, s) => Math.exp(dot(row(b, p, 0, h), row(b, s, 1, h)) / Math.sqrt(width)));
        const total = weights.reduce((x, y) => x + y, 0);
        return weights.reduce((sum, w, s) => sum + (w / total) * row(b, s, 2, h)[c]!, 0);
      }, 300);
    },
  };
}

function layerNormCase(rows: number, width: number): Case {
  return {
    kernel: 'layer norm', shape: `${rows}×${width}`, flops: 8 * rows * width, bytes: 8 * rows * width,
    prepare(gpu) {
      const [x, g, b] = [inputs(rows * width, 4), inputs(width, 5), inputs(width, 6)];
      return prepared({ x: Tensor.from(gpu, x, [rows, width]), g: Tensor.from(gpu, g, [width]), b: Tensor.from(gpu, b, [width]) }, (t) => layerNorm(t.x, t.g, t.b, 1e-5), (at) => {
        const line = x.subarray(Math.floor(at / width) * width, (Math.floor(at / width) + 1) * width);
        const mean = line.reduce((s, v) => s + v, 0) / width;
        const variance = line.reduce((s, v) => s + (v - mean) ** 2, 0) / width;
        return ((x[at]! - mean) / Math.sqrt(variance + 1e-5)) * g[at % width]! + b[at % width]!;
      }, 200);
    },
  };
}

function softmaxCase(rows: number, width: number): Case {
  return {
    kernel: 'softmax', shape: `${rows}×${width}`, flops: 5 * rows * width, bytes: 8 * rows * width,
    prepare(gpu) {
      const x = inputs(rows * width, 7);
      return prepared({ x: Tensor.from(gpu, x, [rows, width]) }, (t) => softmax(t.x), (at) => {
        const line = x.subarray(Math.floor(at / width) * width, (Math.floor(at / width) + 1) * width);
        return Math.exp(x[at]!) / line.reduce((s, v) => s + Math.exp(v), 0);
      }, 40);
    },
  };
}

function argmaxCase(rows: number, width: number): Case {
  return {
    kernel: 'argmax', shape: `${rows}×${width}`, flops: rows * width, bytes: 4 * rows * width,
    prepare(gpu) {
      const x = inputs(rows * width, 8);
      return prepared({ x: Tensor.from(gpu, x, [rows, width]) }, (t) => argmax(t.x), (at) => {
        const line = x.subarray(at * width, (at + 1) * width);
        return line.indexOf(line.reduce((a, b) => Math.max(a, b)));
      }, rows, 'u32');
    },
  };
}

function gatherCase(rows: number, width: number, count: number): Case {
  return {
    kernel: 'gather rows', shape: `${count} of ${rows}×${width}`, flops: 0, bytes: 8 * count * width,
    prepare(gpu) {
      const x = inputs(rows * width, 9);
      const index = Uint32Array.from(inputs(count, 10), (v) => Math.floor(((v + 1) / 2) * rows));
      return prepared({ x: Tensor.from(gpu, x, [rows, width]), i: Tensor.from(gpu, index, [count]) }, (t) => gatherRows(t.x, t.i), (at) => x[index[Math.floor(at / width)]! * width + (at % width)]!, 500);
    },
  };
}

function saeData(rows: number, width: number, features: number, bias: number) {
  const [x, encoder, decoder] = [inputs(rows * width, 11), inputs(features * width, 12), inputs(features * width, 13)];
  const codesOf = (r: number): number[] => Array.from({ length: features }, (_, f) => {
    let sum = bias;
    for (let c = 0; c < width; c++) sum += x[r * width + c]! * encoder[f * width + c]!;
    return Math.max(sum, 0);
  });
  const upload = (gpu: Gpu) => ({
    x: Tensor.from(gpu, x, [rows, width]), encoder: Tensor.from(gpu, encoder, [features, width]), encoderBias: Tensor.from(gpu, new Float32Array(features).fill(bias), [features]),
    decoder: Tensor.from(gpu, decoder, [features, width]), decoderBias: Tensor.from(gpu, new Float32Array(width), [width]),
  });
  return { x, encoder, decoder, codesOf, upload };
}

function encodeCase(rows: number, width: number, features: number, long = false): Case {
  return {
    kernel: 'SAE encode', shape: `${rows} rows, ${width} to ${features}`, long, flops: 2 * rows * width * features, bytes: 4 * (rows * width + features * width + rows * features),
    prepare(gpu) {
      const data = saeData(rows, width, features, -0.5);
      const lines = new Map<number, number[]>();
      return prepared(data.upload(gpu), (t) => {
        const { codes, counts } = saeEncode(t.x, t);
        counts.dispose();
        return codes;
      }, (at) => {
        const row = Math.floor(at / features);
        if (!lines.has(row)) lines.set(row, data.codesOf(row));
        return lines.get(row)![at % features]!;
      }, 30);
    },
  };
}

function decodeCase(rows: number, width: number, features: number, active: number): Case {
  return {
    kernel: 'SAE decode', shape: `${rows} rows, ${active} of ${features} active, to ${width}`,
    flops: 2 * rows * active * width, bytes: 4 * (rows * features + features * width + rows * width),
    prepare(gpu) {
      const data = saeData(rows, width, features, 0);
      const codes = new Float32Array(rows * features);
      for (let r = 0; r < rows; r++) for (let a = 0; a < active; a++) codes[r * features + ((r * 31 + a * Math.floor(features / active)) % features)] = 0.5 + a;
      return prepared({ ...data.upload(gpu), codes: Tensor.from(gpu, codes, [rows, features]) }, (t) => saeDecode(t.codes, t), (at) => {
        const [r, c] = [Math.floor(at / width), at % width];
        let sum = 0;
        for (let f = 0; f < features; f++) sum += codes[r * features + f]! * data.decoder[f * width + c]!;
        return sum;
      }, 100);
    },
  };
}

function greedyCase(rows: number, width: number, features: number, k: number): Case {
  return {
    kernel: 'greedy edit', shape: `${rows} rows, ${features} features of ${width}, k ${k}`, flops: 2 * rows * features * (width + 2 * k), bytes: 4 * rows * (2 * width + (2 + k) * features),
    prepare(gpu) {
      const [a, b, decoder] = [inputs(rows * width, 14), inputs(rows * width, 15), inputs(features * width, 16)];
      const [s, t] = [inputs(rows * features, 17), inputs(rows * features, 18)].map((x) => x.map((v) => Math.max(0, v - 0.8)));
      const tensors = { a: Tensor.from(gpu, a, [rows, width]), b: Tensor.from(gpu, b, [rows, width]), s: Tensor.from(gpu, s!, [rows, features]), t: Tensor.from(gpu, t!, [rows, features]), decoder: Tensor.from(gpu, decoder, [features, width]) };
      const gram = gramMatrix(tensors.decoder);
      const choose = (): { chosen: Tensor; moves: Tensor } => greedyChoose({ source: tensors.a, target: tensors.b, sourceCodes: tensors.s, targetCodes: tensors.t, decoder: tensors.decoder, gram }, k);
      return {
        run() {
          const { chosen, moves } = choose();
          chosen.dispose();
          moves.dispose();
        },
        // The first choice of each row must be the move that leaves the shortest residual.
        async check() {
          const { chosen, moves } = choose();
          const [got] = await Promise.all([chosen.readU32()]);
          chosen.dispose();
          moves.dispose();
          return relative(spread(rows, 50).map((r) => {
            const left = (f: number): number => {
              const move = t![r * features + f]! - s![r * features + f]!;
              let sum = 0;
              for (let c = 0; c < width; c++) sum += (a[r * width + c]! + move * decoder[f * width + c]! - b[r * width + c]!) ** 2;
              return sum;
            };
            const best = Math.min(...Array.from({ length: features }, (_, f) => left(f)));
            return [left(got[r * k]!), best] as const;
          }));
        },
        dispose() {
          gram?.dispose();
          Object.values(tensors).forEach((x) => x.dispose());
        },
      };
    },
  };
}

function adamCase(parameters: number, long = false): Case {
  return {
    kernel: 'Adam', shape: `${parameters.toLocaleString('en')} parameters`, long, flops: 12 * parameters, bytes: 28 * parameters,
    prepare(gpu) {
      const [p, g] = [inputs(parameters, 19), inputs(parameters, 20)];
      const make = (data: Float32Array): Tensor => Tensor.from(gpu, data, [1, parameters]);
      const tensors = { parameter: make(p), gradient: make(g), first: Tensor.zeros(gpu, [1, parameters]), second: Tensor.zeros(gpu, [1, parameters]), rate: Tensor.from(gpu, [1e-3], [1]) };
      return {
        run: () => adam(tensors, { ...adamDefaults, step: 1 }),
        // A first step from fresh moments moves each parameter by rate · g / (|g| + ε).
        async check() {
          const fresh = { ...tensors, parameter: make(p), first: Tensor.zeros(gpu, [1, parameters]), second: Tensor.zeros(gpu, [1, parameters]) };
          adam(fresh, { ...adamDefaults, step: 1 });
          const got = await fresh.parameter.read();
          for (const t of [fresh.parameter, fresh.first, fresh.second]) t.dispose();
          return relative(spread(parameters, 500).map((i) => [got[i]!, p[i]! - (1e-3 * g[i]!) / (Math.abs(g[i]!) + 1e-8)] as const));
        },
        dispose: () => Object.values(tensors).forEach((t) => t.dispose()),
      };
    },
  };
}

export function rowCases(): Case[] {
  return [
    attentionCase(64, 19, 4, 32), attentionCase(4, 128, 12, 64), attentionCase(1, 1024, 12, 64, true),
    layerNormCase(1216, 128), layerNormCase(1024, 768), softmaxCase(512, 1026), softmaxCase(32, 50257), argmaxCase(64, 1026), gatherCase(4096, 128, 2048),
    encodeCase(2000, 32, 256), encodeCase(256, 768, 6144), encodeCase(1024, 768, 24576, true), decodeCase(2000, 32, 256, 8), decodeCase(256, 768, 6144, 32),
    greedyCase(300, 32, 256, 8), adamCase(1_000_000), adamCase(16_000_000, true),
  ];
}
