import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { SaeStep, type StepOptions } from '../../src/tensor/sae-step.ts';
import { saeEncode } from '../../src/tensor/sae-encode.ts';
import { compactRows, padRows, saeDecode, scaleRows, vec4s } from '../../src/tensor/sae.ts';
import { Tensor, type SaeWeights } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { referenceDecode, referenceEncode, referenceGradients, referenceLoss, type PlainSae } from '../support/sae.ts';

const test = gpuSuite('sae kernels');
const gpu = await testGpu();

function plain(features: number, width: number, seed: number, shift = -0.4): PlainSae {
  return {
    features, width,
    encoder: Float64Array.from(random(features * width, seed)),
    encoderBias: Float64Array.from(random(features, seed + 1), (v) => v + shift),
    decoder: Float64Array.from(random(features * width, seed + 2)),
    decoderBias: Float64Array.from(random(width, seed + 3)),
  };
}

function upload(saes: PlainSae[], batched: boolean): SaeWeights {
  const { features, width } = saes[0]!;
  const stack = (pick: (s: PlainSae) => Float64Array, shape: number[]): Tensor =>
    Tensor.from(gpu, Float32Array.from(saes.flatMap((s) => [...pick(s)])), batched ? [saes.length, ...shape] : shape);
  return {
    encoder: stack((s) => s.encoder, [features, width]), encoderBias: stack((s) => s.encoderBias, [features]),
    decoder: stack((s) => s.decoder, [features, width]), decoderBias: stack((s) => s.decoderBias, [width]),
  };
}

const rows64 = (x: Float32Array, n: number, d: number): Float64Array[] => Array.from({ length: n }, (_, r) => Float64Array.from(x.subarray(r * d, (r + 1) * d)));
const flat = (rows: ArrayLike<number>[]): number[] => rows.flatMap((r) => Array.from(r));

for (const [n, d, F] of [[1, 4, 4], [9, 32, 40], [33, 6, 13], [17, 5, 3], [8, 64, 130]] as const) {
  test(`encoder and decoder of [${n}, ${d}] with ${F} features`, () => gpu.scope(async () => {
    const sae = plain(F, d, n);
    const x = random(n * d, 7);
    const weights = upload([sae], false);
    const { codes, counts } = saeEncode(Tensor.from(gpu, x, [n, d]), weights);
    const expected = rows64(x, n, d).map((row) => referenceEncode(sae, row));
    const found = await codes.read();
    assert.ok(relativeError(found, flat(expected)) <= 1e-5);
    const active = expected.map((row) => row.filter((v) => v > 0).length);
    assert.equal([...await counts.readU32()], active);
    const decoded = await saeDecode(codes, weights).read();
    assert.ok(relativeError(decoded, flat(expected.map((f) => referenceDecode(sae, f)))) <= 1e-5);
  }));
}

test('no rows', () => gpu.scope(async () => {
  const weights = upload([plain(8, 4, 1)], false);
  const { codes, counts } = saeEncode(Tensor.empty(gpu, [0, 4]), weights);
  assert.equal([...codes.shape], [0, 8]);
  assert.equal([...counts.shape], [0]);
  assert.equal([...saeDecode(codes, weights).shape], [0, 4]);
}));

test('dictionaries in a batch choose their pools', () => gpu.scope(async () => {
  const [n, d, F] = [11, 8, 10];
  const saes = [plain(F, d, 1), plain(F, d, 20), plain(F, d, 40)];
  const pools = [random(n * d, 3), random(n * d, 4)];
  const x = Tensor.from(gpu, Float32Array.from(pools.flatMap((p) => [...p])), [2, n, d]);
  const { codes, counts } = saeEncode(x, upload(saes, true), [1, 0, 1]);
  const expected = saes.flatMap((sae, i) => rows64(pools[[1, 0, 1][i]!]!, n, d).map((row) => referenceEncode(sae, row)));
  assert.ok(relativeError(await codes.read(), flat(expected)) <= 1e-5);
  assert.equal([...await counts.readU32()], expected.map((row) => row.filter((v) => v > 0).length));
}));

test('windows of rows change nothing', async () => {
  const { openGpu } = await import('../../src/node.ts');
  const small = await openGpu({ windowBytes: 4096 });
  const [n, d, F] = [150, 4, 12];
  const sae = plain(F, d, 5);
  const x = random(n * d, 8);
  const results = await Promise.all([gpu, small].map((device) => device.scope(async () => {
    const make = (v: Float64Array, shape: number[]): Tensor => Tensor.from(device, Float32Array.from(v), shape);
    const weights = { encoder: make(sae.encoder, [F, d]), encoderBias: make(sae.encoderBias, [F]), decoder: make(sae.decoder, [F, d]), decoderBias: make(sae.decoderBias, [d]) };
    const { codes, counts } = saeEncode(Tensor.from(device, x, [n, d]), weights);
    const decoded = saeDecode(codes, weights);
    return [[...await codes.read()], [...await counts.readU32()], [...await decoded.read()]];
  })));
  assert.equal(results[1], results[0]);
  small.destroy();
});

test('shapes that do not fit are refused', () => gpu.scope(() => {
  const weights = upload([plain(8, 4, 1)], false);
  assert.throws(() => saeEncode(Tensor.zeros(gpu, [3, 5]), weights), (e: unknown) => e instanceof ShapeError && /\[3, 5\].*\[8, 4\]/.test(e.message));
  assert.throws(() => saeDecode(Tensor.zeros(gpu, [3, 5]), weights), (e: unknown) => e instanceof ShapeError);
  assert.throws(() => saeEncode(Tensor.zeros(gpu, [3, 4]), { ...weights, encoderBias: Tensor.zeros(gpu, [7]) }), (e: unknown) => e instanceof ShapeError);
}));

test('compaction lists what is not zero, in order', () => gpu.scope(async () => {
  const [rows, width] = [13, 11];
  const x = random(rows * width, 2).map((v) => (v > 0.3 ? v : 0));
  const { index, value, counts } = compactRows(Tensor.from(gpu, x, [rows, width]));
  const [i, v, c] = [await index.readU32(), await value.read(), await counts.readU32()];
  for (let r = 0; r < rows; r++) {
    const expected = [...x.subarray(r * width, (r + 1) * width)].flatMap((value, column) => (value !== 0 ? [[column, value]] : []));
    assert.equal(c[r], expected.length);
    assert.equal(expected.map((_, s) => [i[r * width + s], v[r * width + s]]), expected);
  }
}));

test('rows are scaled to lengths', () => gpu.scope(async () => {
  const x = random(15, 4);
  x.fill(0, 5, 10);
  const lengths = Float32Array.of(2, 3, 0.5);
  const out = await scaleRows(Tensor.from(gpu, x, [3, 5]), Tensor.from(gpu, lengths, [3])).read();
  const norm = (v: Float32Array, r: number): number => Math.hypot(...v.subarray(r * 5, r * 5 + 5));
  assert.ok(Math.abs(norm(out, 0) - 2) < 1e-6 && Math.abs(norm(out, 2) - 0.5) < 1e-6);
  assert.is(norm(out, 1), 0);
  assert.ok(Math.abs(out[0]! / out[1]! - x[0]! / x[1]!) < 1e-5);
  const unit = await scaleRows(Tensor.from(gpu, x, [3, 5])).read();
  assert.ok(Math.abs(norm(unit, 0) - 1) < 1e-6);
}));

test('the reference gradient agrees with finite differences', () => {
  const [n, d, F] = [7, 4, 6];
  const sae = plain(F, d, 11, 0);
  const x = rows64(random(n * d, 5), n, d);
  const gradients = referenceGradients(sae, x, 0.7);
  for (const part of ['encoder', 'encoderBias', 'decoder', 'decoderBias'] as const) {
    for (let i = 0; i < sae[part].length; i++) {
      const h = 1e-6;
      const at = (delta: number): number => {
        const moved = { ...sae, [part]: sae[part].slice() };
        moved[part][i]! += delta;
        return referenceLoss(moved, x, 0.7);
      };
      const slope = (at(h) - at(-h)) / (2 * h);
      assert.ok(Math.abs(slope - gradients[part][i]!) < 1e-6, `${part}[${i}]: ${slope} against ${gradients[part][i]}`);
    }
  }
});

const variants: StepOptions[] = [
  { path: 'sparse' }, { path: 'dense' }, { path: 'sparse', software: !gpu.software }, { path: 'dense', software: !gpu.software },
];
for (const [n, d, F] of [[9, 8, 24], [31, 32, 50], [16, 4, 3], [5, 6, 7], [3, 80, 1100], [40, 132, 70]] as const) for (const variant of variants) {
  test(`gradients of two dictionaries of ${F} features on [${n}, ${d}], ${JSON.stringify(variant)}`, () => gpu.scope(async () => {
    const saes = [plain(F, d, 3, -0.1), plain(F, d, 30, -1.2)];
    const l1 = [0.5, 2.5];
    const x = random(n * d, 6);
    const width = vec4s(d) * 4;
    const raw = upload(saes, true);
    const weights = { encoder: padRows(raw.encoder), encoderBias: raw.encoderBias, decoder: padRows(raw.decoder), decoderBias: padRows(raw.decoderBias) };
    const input = padRows(Tensor.from(gpu, x, [1, n, d]));
    const pool = Tensor.from(gpu, Uint32Array.of(0, 0), [2]);
    const mean = padRows(Tensor.from(gpu, random(d, 8), [1, d]));
    // Room for more rows than are used, so that strides differ from sizes.
    const step = new SaeStep(gpu, { dictionaries: 2, features: F, width, maxRows: n + 5 }, variant);
    try {
      const totals = Tensor.zeros(gpu, [2, 4]);
      step.train(input, pool, weights, Tensor.from(gpu, l1, [2]), n, { mean, totals });
      const data = rows64(x, n, d);
      const expected = saes.map((sae, i) => referenceGradients(sae, data, l1[i]!));
      const cut = (v: Float32Array, rows: number): number[] => Array.from({ length: rows * d }, (_, i) => v[Math.floor(i / d) * width + (i % d)]!);
      const close = (name: string, found: ArrayLike<number>, wanted: number[]): void => {
        const error = relativeError(found, wanted);
        assert.ok(error <= 1e-5, `${name}: ${error}`);
      };
      close('encoder', cut(await step.gradients.encoder.read(), 2 * F), expected.flatMap((g) => [...g.encoder]));
      close('encoder bias', await step.gradients.encoderBias.read(), expected.flatMap((g) => [...g.encoderBias]));
      close('decoder', cut(await step.gradients.decoder.read(), 2 * F), expected.flatMap((g) => [...g.decoder]));
      close('decoder bias', cut(await step.gradients.decoderBias.read(), 2), expected.flatMap((g) => [...g.decoderBias]));
      const codes = saes.map((sae) => data.map((row) => referenceEncode(sae, row)));
      assert.equal([...await step.fired.readU32()], codes.flatMap((c) => Array.from({ length: F }, (_, f) => c.filter((row) => row[f]! > 0).length)));
      const sums = await totals.read();
      const center = random(d, 8);
      for (const [i, sae] of saes.entries()) {
        const l1Sum = codes[i]!.reduce((s, row) => s + row.reduce((a, b) => a + b, 0), 0);
        const loss = referenceLoss(sae, data, 0) * n;
        const spread = data.reduce((s, row) => s + row.reduce((a, v, k) => a + (v - center[k]!) ** 2, 0), 0);
        close('sums', sums.subarray(i * 4, i * 4 + 4), [loss, l1Sum, codes[i]!.reduce((s, row) => s + row.filter((v) => v > 0).length, 0), spread]);
      }
    } finally {
      step.dispose();
    }
  }));
}

/** A batch of random dictionaries, each with a pool of its own. */
function stacked(D: number, n: number, d: number, F: number): { x: Tensor; pool: Tensor; l1: Tensor; mean: Tensor; weights: SaeWeights } {
  return {
    x: Tensor.from(gpu, random(D * n * d, 3), [D, n, d]), pool: Tensor.from(gpu, Uint32Array.from({ length: D }, (_, i) => i), [D]),
    l1: Tensor.from(gpu, Float32Array.from({ length: D }, (_, i) => 0.1 * (i + 1)), [D]), mean: Tensor.from(gpu, random(D * d, 4), [D, d]),
    weights: upload(Array.from({ length: D }, (_, i) => plain(F, d, 10 * i + 1)), true),
  };
}

/** Bits of all that a step gives. */
async function stepBits(step: SaeStep, totals: Tensor): Promise<number[][]> {
  const read = await Promise.all([...Object.values(step.gradients) as Tensor[], totals, step.fired].map((t) => t.readU32()));
  return read.map((words) => [...words]);
}

for (const path of ['sparse', 'dense'] as const) for (const software of [true, false]) {
  test(`a step in windows, and of each dictionary alone, gives the same bits: ${path}, as ${software ? 'for a CPU driver' : 'for a GPU'}`, () => gpu.scope(async () => {
    const [D, n, d, F] = [10, 33, 16, 64];
    const { x, pool, l1, mean, weights } = stacked(D, n, d, F);
    const options = { path, software };
    const totals = Tensor.zeros(gpu, [D, 4]);
    const whole = new SaeStep(gpu, { dictionaries: D, features: F, width: d, maxRows: n }, options);
    whole.train(x, pool, weights, l1, n, { mean, totals });
    assert.is(whole.windows.length, 1);
    const expected = await stepBits(whole, totals);
    whole.dispose();

    const { openGpu } = await import('../../src/node.ts');
    const small = await openGpu({ windowBytes: 45056 });
    const move = async (t: Tensor): Promise<Tensor> => Tensor.from(small, t.dtype === 'u32' ? await t.readU32() : await t.read(), t.shape);
    const there = Object.fromEntries(await Promise.all(Object.entries(weights).map(async ([part, t]: [string, Tensor]) => [part, await move(t)]))) as unknown as SaeWeights;
    const step = new SaeStep(small, { dictionaries: D, features: F, width: d, maxRows: n }, options);
    assert.ok(step.windows.length > 2);
    const sums = Tensor.zeros(small, [D, 4]);
    step.train(await move(x), await move(pool), there, await move(l1), n, { mean: await move(mean), totals: sums });
    assert.equal(await stepBits(step, sums), expected);
    small.destroy();

    const one = new SaeStep(gpu, { dictionaries: 1, features: F, width: d, maxRows: n + 7 }, options);
    for (const i of [0, 7]) {
      const cut = (t: Tensor): Tensor => t.rows(i, 1);
      const own = Object.fromEntries(Object.entries(weights).map(([part, t]: [string, Tensor]) => [part, cut(t)])) as unknown as SaeWeights;
      const alone = Tensor.zeros(gpu, [1, 4]);
      gpu.clear(one.fired, one.fired.byteLength);
      one.train(cut(x), Tensor.from(gpu, Uint32Array.of(0), [1]), own, cut(l1), n, { mean: cut(mean), totals: alone });
      const bits = await stepBits(one, alone);
      bits.forEach((part, p) => assert.equal(part, expected[p]!.slice(i * part.length, (i + 1) * part.length)));
    }
    one.dispose();
  }));

  test(`a step allocates nothing and is few dispatches: ${path}, as ${software ? 'for a CPU driver' : 'for a GPU'}`, () => gpu.scope(async () => {
    const [D, n, d, F] = [3, 20, 8, 24];
    const { x, pool, l1, mean, weights } = stacked(D, n, d, F);
    const totals = Tensor.zeros(gpu, [D, 4]);
    const step = new SaeStep(gpu, { dictionaries: D, features: F, width: d, maxRows: n }, { path, software });
    const run = (rows: number): void => step.train(x, pool, weights, l1, rows, { mean, totals });
    run(n);
    await gpu.idle();
    const [memory, { dispatches }] = [gpu.memory(), gpu.counters()];
    run(n);
    assert.equal(gpu.memory(), memory);
    assert.ok(gpu.counters().dispatches - dispatches <= 12, `${gpu.counters().dispatches - dispatches} dispatches`);
    for (const rows of [n - 1, 7, n]) run(rows);
    assert.equal(gpu.memory(), memory);
    step.dispose();
  }));
}

test('losses and counts of activity without a gradient', () => gpu.scope(async () => {
  const [D, n, d, F] = [2, 9, 8, 20];
  const { x, pool, mean, weights, l1 } = stacked(D, n, d, F);
  const seen: number[][] = [];
  for (const path of ['sparse', 'dense'] as const) {
    const step = new SaeStep(gpu, { dictionaries: D, features: F, width: d, maxRows: n + 1 }, { path });
    const losses = step.losses(x, pool, weights, mean, n, true);
    assert.equal([...losses.shape], [D, n, 4]);
    seen.push([...await losses.read()]);
    losses.dispose();
    const counted = [...await step.fired.readU32()];
    step.losses(x, pool, weights, mean, n, false).dispose();
    assert.equal([...await step.fired.readU32()], counted);
    gpu.clear(step.fired, step.fired.byteLength);
    step.train(x, pool, weights, l1, n);
    assert.equal([...await step.fired.readU32()], counted);
    step.dispose();
  }
  assert.ok(relativeError(seen[0]!, seen[1]!) <= 1e-5);
}));

test.run();
