/** The kernels of sparse autoencoders: encode, sparse decode, the greedy edit of codes. */
import { Tensor, greedyChoose, gramMatrix, saeDecode, saeEncode } from '../../src/tensor/index.ts';
import { inputs, relative, sample } from '../numbers.ts';
import { inTurns, sampled, type Case } from './case.ts';

/** Dense codes: f = ReLU((x − b_dec) W_enc + b_enc), with the number of active ones of each row. */
function encodeCase(rows: number, width: number, features: number, long = false): Case {
  return {
    group: 'kernels', kernel: 'SAE encode', shape: `${rows} rows, ${width} to ${features}`, long,
    flops: 2 * rows * width * features, bytes: 4 * (rows * width + features * width + rows * features),
    prepare(gpu, sets) {
      const [x, encoder] = [inputs(rows * width, 11), inputs(features * width, 12)];
      const bias = -0.5;
      return {
        ...inTurns(sets, () => ({
          x: Tensor.from(gpu, x, [rows, width]), encoder: Tensor.from(gpu, encoder, [features, width]), encoderBias: Tensor.from(gpu, new Float32Array(features).fill(bias), [features]),
          // Shapes must fit; encoding reads neither, but for the decoder's bias.
          decoder: Tensor.empty(gpu, [features, width]), decoderBias: Tensor.zeros(gpu, [width]),
        }), (t) => {
          const { codes, counts } = saeEncode(t.x, t);
          counts.dispose();
          return codes;
        }),
        error: sampled(rows * features, 300, (at) => {
          const [r, f] = [Math.floor(at / features), at % features];
          let sum = bias;
          for (let c = 0; c < width; c++) sum += x[r * width + c]! * encoder[f * width + c]!;
          return Math.max(sum, 0);
        }),
      };
    },
  };
}

/** From dense codes of which few are not zero: they must be read, the rest follows the active ones. */
function decodeCase(rows: number, width: number, features: number, active: number): Case {
  return {
    group: 'kernels', kernel: 'SAE decode', shape: `${rows} rows, ${active} of ${features} active, to ${width}`,
    flops: 2 * rows * active * width, bytes: 4 * (rows * features + Math.min(rows * active, features) * width + rows * width),
    prepare(gpu, sets) {
      const decoder = inputs(features * width, 13);
      const codes = new Float32Array(rows * features);
      for (let r = 0; r < rows; r++) for (let a = 0; a < active; a++) codes[r * features + ((r * 31 + a * Math.floor(features / active)) % features)] = 0.5 + a / active;
      return {
        ...inTurns(sets, () => ({
          codes: Tensor.from(gpu, codes, [rows, features]), decoder: Tensor.from(gpu, decoder, [features, width]), decoderBias: Tensor.zeros(gpu, [width]),
          encoder: Tensor.empty(gpu, [features, width]), encoderBias: Tensor.zeros(gpu, [features]),
        }), (t) => saeDecode(t.codes, t)),
        error: sampled(rows * width, 100, (at) => {
          const [r, c] = [Math.floor(at / width), at % width];
          let sum = 0;
          for (let f = 0; f < features; f++) sum += codes[r * features + f]! * decoder[f * width + c]!;
          return sum;
        }),
      };
    },
  };
}

function greedyCase(rows: number, width: number, features: number, k: number, long = false): Case {
  return {
    group: 'kernels', kernel: 'greedy edit', shape: `${rows} rows, ${features} features of ${width}, k ${k}`, long,
    flops: 2 * rows * features * (width + 2 * k), bytes: 4 * (rows * (2 * width + 2 * features + 2 * k) + features * width),
    prepare(gpu) {
      const [a, b, decoder] = [inputs(rows * width, 14), inputs(rows * width, 15), inputs(features * width, 16)];
      const [s, t] = [17, 18].map((seed) => inputs(rows * features, seed).map((v) => Math.max(0, v - 0.8))) as [Float32Array, Float32Array];
      const tensors = { a: Tensor.from(gpu, a, [rows, width]), b: Tensor.from(gpu, b, [rows, width]), s: Tensor.from(gpu, s, [rows, features]), t: Tensor.from(gpu, t, [rows, features]), decoder: Tensor.from(gpu, decoder, [features, width]) };
      const gram = gramMatrix(tensors.decoder);
      const choose = (): { chosen: Tensor; moves: Tensor } => greedyChoose({ source: tensors.a, target: tensors.b, sourceCodes: tensors.s, targetCodes: tensors.t, decoder: tensors.decoder, gram }, k);
      return {
        run() {
          const { chosen, moves } = choose();
          chosen.dispose();
          moves.dispose();
        },
        async read() {
          const { chosen, moves } = choose();
          return chosen.readU32().then((ids) => Float32Array.from(ids)).finally(() => {
            chosen.dispose();
            moves.dispose();
          });
        },
        // The first choice of each row must be the move that leaves the shortest residual.
        error: (chosen) => relative(sample(rows, 50).map((r) => {
          const left = (f: number): number => {
            const move = t[r * features + f]! - s[r * features + f]!;
            let sum = 0;
            for (let c = 0; c < width; c++) sum += (a[r * width + c]! + move * decoder[f * width + c]! - b[r * width + c]!) ** 2;
            return sum;
          };
          let best = Infinity;
          for (let f = 0; f < features; f++) best = Math.min(best, left(f));
          return [left(chosen[r * k]!), best] as const;
        })),
        dispose() {
          gram?.dispose();
          for (const tensor of Object.values(tensors)) tensor.dispose();
        },
      };
    },
  };
}

export function saeCases(): Case[] {
  return [
    encodeCase(2000, 64, 512), encodeCase(256, 768, 6144), encodeCase(512, 768, 24576, true), encodeCase(4096, 768, 24576, true),
    ...[8, 32, 128].map((active) => decodeCase(512, 768, 24576, active)), decodeCase(2000, 64, 512, 8),
    greedyCase(300, 64, 512, 8), greedyCase(500, 768, 24576, 8, true),
  ];
}
