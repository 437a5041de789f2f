import * as assert from 'uvu/assert';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { SaeStep, type StepOptions } from '../../src/tensor/sae-step.ts';
import { padRows, partShape, saeParts, saeVariants, Tensor, vec4s, type SaePart, type SaeWeights } from '../../src/tensor/index.ts';
import { recordTopK } from '../../src/tensor/sae-variants/topk.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { dictionary64, forward64, gradients64, loss64, type Dictionary64, type Kind64, type Part64 } from '../support/sae-variants.ts';

const test = gpuSuite('kinds of sparse autoencoder');
const gpu = await testGpu();

const rows64 = (x: Float32Array, d: number): Float64Array[] => Array.from({ length: x.length / d }, (_, r) => Float64Array.from(x.subarray(r * d, (r + 1) * d)));

/** Two kinds' settings of each variant, for dictionaries side by side. */
const kinds: Record<string, Kind64[]> = {
  vanilla: [{ variant: 'vanilla', sparsity: 0.5 }, { variant: 'vanilla', sparsity: 2.5 }],
  gated: [{ variant: 'gated', sparsity: 0.5 }, { variant: 'gated', sparsity: 2.5 }],
  'gated, signed': [{ variant: 'gated', sparsity: 0.5, signed: true }, { variant: 'gated', sparsity: 2.5, signed: true }],
  topk: [{ variant: 'topk', sparsity: 3 }, { variant: 'topk', sparsity: 5 }],
  'topk, signed': [{ variant: 'topk', sparsity: 3, signed: true }, { variant: 'topk', sparsity: 5, signed: true }],
  batchtopk: [{ variant: 'batchtopk', sparsity: 2 }, { variant: 'batchtopk', sparsity: 4 }],
  jumprelu: [{ variant: 'jumprelu', sparsity: 0.5, bandwidth: 0.4 }, { variant: 'jumprelu', sparsity: 2.5, bandwidth: 0.4 }],
};
const withDead = (all: Kind64[], F: number, k: number): Kind64[] => all.map((kind, i) => ({
  ...kind, auxiliary: { k, coefficient: 0.7, dead: Array.from({ length: F }, (_, f) => (i === 0 ? f % 3 === 0 : f === 1)) },
}));

/** Where no jump or kink is crossed, the reference's gradients are the loss's slopes. */
for (const [name, [kind]] of Object.entries(kinds)) for (const auxiliary of kind!.variant.endsWith('topk') && !kind!.signed ? [false, true] : [false]) {
  test(`the reference gradient of ${name}${auxiliary ? ' with dead features' : ''} agrees with finite differences`, () => {
    const [n, d, F] = [7, 4, 9];
    const p = dictionary64(F, d, 11);
    const x = rows64(random(n * d, 5), d);
    const full = auxiliary ? withDead([kind!], F, 2)[0]! : kind!;
    const gradients = gradients64(p, x, full);
    for (const part of Object.keys(gradients) as Part64[]) {
      if (part === 'logThreshold') continue;
      for (let i = 0; i < p[part].length; i++) {
        const at = (delta: number): number => {
          const moved = { ...p, [part]: p[part].slice() };
          moved[part][i]! += delta;
          return loss64(moved, x, full, p);
        };
        const slope = (at(1e-6) - at(-1e-6)) / 2e-6;
        assert.ok(Math.abs(slope - gradients[part][i]!) < 2e-6, `${part}[${i}]: ${slope} against ${gradients[part][i]}`);
      }
    }
  });
}

test('the pseudo-gradient of a JumpReLU threshold is the slope of the loss expected over evenly spread inputs', () => {
  const [n, F] = [100001, 2];
  const p: Dictionary64 = { ...dictionary64(F, 1, 3), encoder: Float64Array.of(1, -0.8), encoderBias: Float64Array.of(0.1, 0.2), decoder: Float64Array.of(0.9, -0.7), decoderBias: Float64Array.of(0.05), logThreshold: Float64Array.of(Math.log(0.5), Math.log(0.3)) };
  const x = Array.from({ length: n }, (_, i) => Float64Array.of(-2 + (4 * i) / (n - 1)));
  const kind: Kind64 = { variant: 'jumprelu', sparsity: 0.3, bandwidth: 0.02 };
  const found = gradients64(p, x, kind).logThreshold;
  for (let f = 0; f < F; f++) {
    const at = (delta: number): number => loss64({ ...p, logThreshold: p.logThreshold.map((v, i) => (i === f ? v + delta : v)) }, x, kind);
    const slope = (at(0.02) - at(-0.02)) / 0.04;
    assert.ok(Math.abs(slope) > 0.01 && Math.abs(found[f]! / slope - 1) < 0.02, `${found[f]} against ${slope}`);
  }
});

interface Stack { weights: SaeWeights; x: Tensor; pool: Tensor; mean: Tensor; sparsity: Tensor }

/** Dictionaries of one pool on the device, rows padded to whole vec4s. */
function upload(dictionaries: Dictionary64[], all: Kind64[], x: Float32Array): Stack {
  const { features, width } = dictionaries[0]!;
  const D = dictionaries.length;
  const make = (part: SaePart): Tensor => {
    const raw = Tensor.from(gpu, Float32Array.from(dictionaries.flatMap((p) => [...p[part as Part64]])), [D, ...partShape(part, { features, width })]);
    return ['encoder', 'decoder', 'decoderBias'].includes(part) ? padRows(raw) : raw;
  };
  return {
    weights: Object.fromEntries(saeParts(all[0]!.variant).map((part) => [part, make(part)])) as unknown as SaeWeights,
    x: padRows(Tensor.from(gpu, x, [1, x.length / width, width])), pool: Tensor.zeros(gpu, [D], 'u32'), mean: padRows(Tensor.from(gpu, random(width, 8), [1, width])),
    sparsity: Tensor.from(gpu, all.map((kind) => kind.sparsity), [D]),
  };
}

function optionsOf({ variant, signed, bandwidth, auxiliary }: Kind64): StepOptions {
  return { variant, signed, bandwidth, auxiliary: auxiliary ? { k: auxiliary.k, coefficient: auxiliary.coefficient } : undefined };
}

function close(name: string, found: ArrayLike<number>, wanted: ArrayLike<number>, most = 1e-5): void {
  const error = relativeError(found, wanted);
  assert.ok(error <= most, `${name}: ${error}`);
}

/** A step's gradients, counts and sums against the reference. */
async function checkStep(all: Kind64[], [n, d, F]: readonly [number, number, number], how: StepOptions, x = random(n * d, 6)): Promise<void> {
  const dictionaries = all.map((_, i) => dictionary64(F, d, 3 + 27 * i, -0.1 - 0.4 * i));
  const { weights, x: input, pool, mean, sparsity } = upload(dictionaries, all, x);
  const D = all.length;
  const width = vec4s(d) * 4;
  const step = new SaeStep(gpu, { dictionaries: D, features: F, width, maxRows: n + 5 }, { ...optionsOf(all[0]!), ...how });
  try {
    if (all[0]!.auxiliary) step.dead.write(Uint32Array.from(all.flatMap((kind) => kind.auxiliary!.dead.map(Number))));
    const [totals, auxiliary] = [Tensor.zeros(gpu, [D, 4]), Tensor.zeros(gpu, [D, 4])];
    step.train(input, pool, weights, sparsity, n, { mean, totals, auxiliary });
    const data = rows64(x, d);
    const expected = dictionaries.map((p, i) => gradients64(p, data, all[i]!));
    for (const part of saeParts(all[0]!.variant)) {
      const found = await step.gradients[part]!.read();
      const wide = ['encoder', 'decoder', 'decoderBias'].includes(part);
      const cut = wide ? Array.from({ length: found.length / width * d }, (_, i) => found[Math.floor(i / d) * width + (i % d)]!) : found;
      close(part, cut, expected.flatMap((g) => [...g[part as Part64]]));
    }
    const outs = dictionaries.map((p, i) => forward64(p, data, all[i]!));
    const count = (codes: number[][], f: number): number => codes.filter((row) => row[f] !== 0).length;
    assert.equal([...await step.fired.readU32()], outs.flatMap(({ codes }) => Array.from({ length: F }, (_, f) => count(codes, f))));
    const sum = (codes: number[][]): number => codes.flat().reduce((a, b) => a + b, 0);
    const active = (codes: number[][]): number => codes.flat().filter((v) => v !== 0).length;
    const [sums, more] = [await totals.read(), await auxiliary.read()];
    for (const [i, p] of dictionaries.entries()) {
      const { codes, gates, dead } = outs[i]!;
      const alone: Kind64 = { variant: 'topk', sparsity: F, signed: true };
      const squares = (c: number[][]): number => data.reduce((s, row, r) => s + row.reduce((a, v, k) => a + (c[r]!.reduce((b, code, f) => b + code * p.decoder[f * d + k]!, p.decoderBias[k]! - v)) ** 2, 0), 0);
      close('sums', sums.subarray(i * 4, i * 4 + 3), [squares(codes), sum(codes), active(codes)]);
      if (alone && all[i]!.variant === 'gated') close('sums of gates', more.subarray(i * 4, i * 4 + 3), [squares(gates), sum(gates), active(gates)]);
      if (all[i]!.auxiliary) {
        const joined = codes.map((row, r) => row.map((v, f) => v + dead[r]![f]!));
        close('sums of dead features', more.subarray(i * 4, i * 4 + 3), [squares(joined), sum(dead), active(dead)]);
      }
    }
    if (all[0]!.variant === 'batchtopk') {
      close('smallest kept', await step.batchThreshold.read(), outs.map(({ codes }) => Math.min(...codes.flat().filter((v) => v > 0))));
    }
  } finally {
    step.dispose();
  }
}

const shapes = [[9, 8, 24], [31, 6, 50], [5, 5, 7], [12, 132, 70], [3, 80, 1100]] as const;
for (const [name, all] of Object.entries(kinds)) {
  if (name === 'vanilla') continue; // in sae.test.ts
  const both = all[0]!.variant.endsWith('topk');
  for (const path of both ? ['sparse', 'dense'] as const : ['dense'] as const) for (const software of [true, false]) {
    test(`gradients of two ${name} dictionaries, ${path}, as for a ${software ? 'CPU driver' : 'GPU'}`, () => gpu.scope(async () => {
      for (const shape of software ? shapes : shapes.slice(1, 4)) await checkStep(all, shape, { path, software });
    }));
    if (both && !all[0]!.signed) {
      test(`gradients of two ${name} dictionaries with dead features, ${path}, as for a ${software ? 'CPU driver' : 'GPU'}`, () => gpu.scope(async () => {
        for (const shape of shapes.slice(0, 2)) await checkStep(withDead(all, shape[2], 3), shape, { path, software });
      }));
    }
  }
}

test('of equal codes a batch keeps those of the first rows, and a row those of the first features', () => gpu.scope(async () => {
  const [n, d, F] = [12, 4, 10];
  const once = random(4 * d, 6);
  // Every row three times: somewhere among equals the limit falls.
  const x = Float32Array.from([...once, ...once, ...once]);
  for (const software of [true, false]) {
    for (const k of [1, 2, 3]) await checkStep([{ variant: 'batchtopk', sparsity: k }, { variant: 'batchtopk', sparsity: k + 1 }], [n, d, F], { software }, x);
  }
}));

test('the largest of rows, whatever numbers they hold', () => gpu.scope(async () => {
  const tiny = 1.2e-38;
  // Below the normal numbers WGSL lets a device read zero, and SwiftShader does.
  const normal = (v: number): number => (Math.abs(v) < 2 ** -126 ? 0 : Math.fround(v));
  const special = [0, -0, 1, -1, 1, 1, 2 ** -9, 2 ** 5, 2 ** 6, 3e38, -3e38, tiny, 1 + 2 ** -23, 1 - 2 ** -24, 0.5, 0.5, 0.5, -1, -1, 1e-20, 77, 1];
  const wide = 300;
  const rows = [special, special.map((v) => -v), special.map(() => 0), special.map(() => 0.25), special.map((_, i) => i), special.map((_, i) => -i * 1e-9), special.map((v) => Math.abs(v) * 1e-5)]
    .map((row) => Array.from({ length: wide }, (_, i) => normal(i < 44 ? row[i % row.length]! : (i % 7) * 1e-3 * row[i % 22]!)));
  for (const signed of [true, false]) for (const software of [true, false]) for (const k of [1, 2, 6, 29, 150, 299, 300, 500]) {
    const values = Tensor.from(gpu, rows.flat(), [1, rows.length, wide]);
    recordTopK(gpu, { dictionaries: 1, rows: rows.length, features: wide, first: 0 }, { values, k: Tensor.from(gpu, [k], [1]) }, signed, software);
    const found = await values.read();
    const expected = rows.flatMap((row) => {
      const from = signed ? row : row.map((v) => Math.max(v, 0));
      const kept = new Set(from.map((v, i) => [v, i] as const).sort((a, b) => b[0] - a[0] || Number(Object.is(a[0], -0)) - Number(Object.is(b[0], -0)) || a[1] - b[1]).slice(0, k).map(([, i]) => i));
      return from.map((v, i) => (kept.has(i) ? v : 0));
    });
    const wrong = expected.findIndex((v, i) => v !== found[i]);
    assert.is(wrong, -1, `signed ${signed}, software ${software}, k ${k}: ${found[wrong]} instead of ${expected[wrong]} at ${wrong}`);
  }
}));

test('a step in windows, again, and of a dictionary alone gives the same bits', async () => {
  const { openGpu } = await import('../../src/node.ts');
  const small = await openGpu({ windowBytes: 45056 });
  const [D, n, d, F] = [6, 33, 16, 64];
  for (const variant of saeVariants) {
    if (variant === 'vanilla') continue; // in sae.test.ts
    const all = Array.from({ length: D }, (_, i): Kind64 => ({ variant, sparsity: 1 + i, bandwidth: 0.3 }));
    const auxiliary = variant.endsWith('topk') ? { k: 4, coefficient: 1 } : undefined;
    const options = { ...optionsOf(all[0]!), auxiliary };
    const dictionaries = all.map((_, i) => dictionary64(F, d, 10 * i + 1));
    const x = random(n * d, 3);
    const dead = Uint32Array.from({ length: D * F }, (_, i) => Number(i % 5 === 0));
    const bits = async (device: typeof gpu, first: number, count: number): Promise<number[][]> => device.scope(async () => {
      const at = upload(dictionaries.slice(first, first + count), all.slice(first, first + count), x);
      const move = async (t: Tensor): Promise<Tensor> => Tensor.from(device, t.dtype === 'u32' ? await t.readU32() : await t.read(), t.shape);
      const weights = Object.fromEntries(await Promise.all(Object.entries(at.weights).map(async ([part, t]) => [part, await move(t as Tensor)]))) as unknown as SaeWeights;
      const step = new SaeStep(device, { dictionaries: count, features: F, width: d, maxRows: n }, options);
      if (device === small) assert.ok(step.windows.length > 1);
      if (auxiliary) step.dead.write(dead.subarray(first * F, (first + count) * F));
      const [pool, sparsity, input] = [await move(at.pool), await move(at.sparsity), await move(at.x)];
      step.train(input, pool, weights, sparsity, n);
      const read = await Promise.all([...Object.values(step.gradients) as Tensor[], step.fired, ...(variant === 'batchtopk' ? [step.batchThreshold] : [])].map((t) => t.readU32()));
      step.dispose();
      return read.map((words) => [...words]);
    });
    await gpu.scope(async () => {
      const expected = await bits(gpu, 0, D);
      assert.equal(await bits(gpu, 0, D), expected);
      const alone = await bits(gpu, 4, 1);
      alone.forEach((part, i) => assert.equal(part, expected[i]!.slice(4 * part.length, 5 * part.length)));
      // Uploads for the other device go through this one.
      assert.equal(await bits(small, 0, D), expected);
    });
  }
  small.destroy();
});

test('a step allocates nothing', () => gpu.scope(async () => {
  const [n, d, F] = [20, 8, 24];
  for (const [kind] of Object.values(kinds)) {
    const { weights, x, pool, mean, sparsity } = upload([dictionary64(F, d, 1)], [kind!], random(n * d, 3));
    const [totals, auxiliary] = [Tensor.zeros(gpu, [1, 4]), Tensor.zeros(gpu, [1, 4])];
    const step = new SaeStep(gpu, { dictionaries: 1, features: F, width: d, maxRows: n }, { ...optionsOf(kind!), ...(kind!.variant.endsWith('topk') ? { auxiliary: { k: 2, coefficient: 1 } } : {}) });
    await gpu.prepare(step.pipelines());
    const run = (rows: number): void => {
      step.train(x, pool, weights, sparsity, rows, { mean, totals, auxiliary });
      step.markDead();
    };
    run(n);
    await gpu.idle();
    const memory = gpu.memory();
    for (const rows of [n, n - 1, 7]) run(rows);
    assert.equal(gpu.memory(), memory);
    step.dispose();
  }
}));

test('losses without gradients, by the batch or by the running threshold', () => gpu.scope(async () => {
  const [n, d, F] = [14, 8, 20];
  const x = random(n * d, 3);
  for (const all of Object.values(kinds)) {
    const { variant } = all[0]!;
    const dictionaries = [dictionary64(F, d, 1), dictionary64(F, d, 2)];
    const { weights, x: input, pool, mean, sparsity } = upload(dictionaries, all, x);
    const step = new SaeStep(gpu, { dictionaries: 2, features: F, width: d, maxRows: n }, optionsOf(all[0]!));
    const counts = async (how: Parameters<SaeStep['losses']>[6]): Promise<number[]> => {
      const losses = step.losses(input, pool, weights, mean, n, true, how);
      const found = await losses.read();
      losses.dispose();
      return Array.from({ length: 2 * n }, (_, i) => found[i * 4 + 2]!);
    };
    const wanted = dictionaries.flatMap((p, i) => forward64(p, rows64(x, d), all[i]!).codes.map((row) => row.filter((v) => v !== 0).length));
    assert.equal(await counts({ sparsity }), wanted);
    const more = step.auxiliaryLosses(n);
    assert.is(more !== null, variant === 'gated');
    if (more) {
      const gates = dictionaries.flatMap((p, i) => forward64(p, rows64(x, d), all[i]!).gates.map((row) => row.reduce((a, b) => a + b, 0)));
      const found = await more.read();
      close('gates', Array.from({ length: 2 * n }, (_, i) => found[i * 4 + 1]!), gates);
      more.dispose();
    }
    if (variant === 'topk') assert.throws(() => step.losses(input, pool, weights, mean, n, false), (e: unknown) => e instanceof ShapeError && /active features/.test(e.message));
    if (variant === 'batchtopk') {
      const threshold = Tensor.from(gpu, [0.7, -1], [2]);
      const above = dictionaries.flatMap((p, i) => forward64(p, rows64(x, d), all[i]!).pre.map((row) => row.filter((v) => v > [0.7, 0][i]!).length));
      assert.equal(await counts({ threshold }), above);
    }
    step.dispose();
  }
}));

test('λ goes with the length of the inputs: inputs, biases and λ times c are the same problem, its loss times c²', () => gpu.scope(async () => {
  const [n, d, F, c] = [14, 8, 20, 3.5];
  const x = random(n * d, 3);
  const kind: Kind64 = { variant: 'vanilla', sparsity: 0.8 };
  const p = dictionary64(F, d, 1);
  const scaled = { ...p, encoderBias: p.encoderBias.map((v) => c * v), decoderBias: p.decoderBias.map((v) => c * v) };
  const loss = async (own: Dictionary64, factor: number): Promise<number> => {
    const { weights, x: input, pool, mean } = upload([own], [kind], x.map((v) => factor * v));
    const step = new SaeStep(gpu, { dictionaries: 1, features: F, width: d, maxRows: n }, optionsOf(kind));
    const losses = step.losses(input, pool, weights, mean, n, false, {});
    const found = await losses.read();
    losses.dispose();
    step.dispose();
    return Array.from({ length: n }, (_, i) => found[i * 4]! + factor * kind.sparsity * found[i * 4 + 1]!).reduce((a, b) => a + b) / n;
  };
  const [small, large] = [await loss(p, 1), await loss(scaled, c)];
  close('loss', [large], [c ** 2 * small]);
  close('reference', [small], [loss64(p, rows64(x, d), kind, p)]);
}));

test('running thresholds begin with the first batch and follow the others', () => gpu.scope(async () => {
  const step = new SaeStep(gpu, { dictionaries: 3, features: 4, width: 4, maxRows: 2 }, { variant: 'batchtopk' });
  const running = Tensor.from(gpu, [-1, -1, 0.5], [3]);
  for (const [batch, expected] of [[[0.25, -1, 1], [0.25, -1, 0.6]], [[0.5, 2, -1], [0.3, 2, 0.6]]] as const) {
    step.batchThreshold.write(batch);
    step.updateThreshold(running, 0.2);
    close('running', await running.read(), expected, 1e-6);
  }
  step.dispose();
}));

test('dead features are marked, and settings out of place are refused', () => gpu.scope(async () => {
  const sizes = { dictionaries: 1, features: 4, width: 4, maxRows: 2 };
  const step = new SaeStep(gpu, sizes, { variant: 'topk', auxiliary: { k: 2, coefficient: 1 } });
  assert.equal([...await step.dead.readU32()], [0, 0, 0, 0]);
  step.fired.write(Uint32Array.of(3, 0, 1, 0));
  step.markDead();
  assert.equal([...await step.dead.readU32()], [0, 1, 0, 1]);
  step.dispose();
  const refused = (options: StepOptions, words: RegExp): void => assert.throws(() => new SaeStep(gpu, sizes, options), (e: unknown) => e instanceof UsageError && words.test(e.message));
  refused({ variant: 'gated', path: 'sparse' }, /sparse path.*gated/);
  refused({ variant: 'jumprelu', path: 'sparse' }, /sparse path.*jumprelu/);
  refused({ variant: 'vanilla', auxiliary: { k: 1, coefficient: 1 } }, /not vanilla/);
  refused({ variant: 'topk', auxiliary: { k: 0, coefficient: 1 } }, /k is 0/);
  refused({ variant: 'topk', auxiliary: { k: 1, coefficient: -1 } }, /coefficient is -1/);
}));

test.run();
