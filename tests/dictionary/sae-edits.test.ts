import * as assert from 'uvu/assert';
import { UsageError } from '../../src/errors.ts';
import { Sae, WEIGHT_THRESHOLD, type EditOptions } from '../../src/dictionary/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('edits with SAEs');
const gpu = await testGpu();
const [n, d, F] = [23, 6, 17];
const values = { S: 5, Pos: 2 };

const parts = { encoder: random(F * d, 1), encoderBias: random(F, 2).map((v) => v / 4), decoder: random(F * d, 3), decoderBias: random(d, 4).map((v) => v / 4) };
const sae = new Sae('vanilla', {
  encoder: gpu.keep(Tensor.from(gpu, parts.encoder, [F, d])), encoderBias: gpu.keep(Tensor.from(gpu, parts.encoderBias, [F])),
  decoder: gpu.keep(Tensor.from(gpu, parts.decoder, [F, d])), decoderBias: gpu.keep(Tensor.from(gpu, parts.decoderBias, [d])),
});
const [a, b] = [random(n * d, 5), random(n * d, 6)];
// What a dictionary makes at its first greedy edit and keeps.
gpu.scope(() => sae.edit({ activations: Tensor.from(gpu, a, [n, d]), attributes: {} }, { activations: Tensor.from(gpu, b, [n, d]), attributes: {} }, { attributes: [], k: 1 }));
const labels = (seed: number) => Object.fromEntries(Object.entries(values).map(([name, count], i) => [name, Uint32Array.from(random(n, seed + i), (v) => Math.min(count - 1, Math.floor(((v + 1) / 2) * count)))]));
const [old, fresh] = [labels(10), labels(20)];
/** A permutation of the features for each value. */
const rankings = Object.fromEntries(Object.entries(values).map(([name, count], i) => [name, Array.from({ length: count }, (_, value) => {
  const order = random(F, 30 + 7 * i + value);
  return Array.from({ length: F }, (_, f) => f).sort((x, y) => order[y]! - order[x]!);
})]));

/** Codes, and weights per unit of code, of example r. */
function read(x: Float32Array, r: number): { codes: number[]; unit: number[] } {
  const row = Array.from({ length: d }, (_, k) => x[r * d + k]!);
  const codes = Array.from({ length: F }, (_, f) => Math.max(0, row.reduce((sum, v, k) => sum + (v - parts.decoderBias[k]!) * parts.encoder[f * d + k]!, parts.encoderBias[f]!)));
  const signal = row.map((_, k) => codes.reduce((sum, code, f) => sum + code * parts.decoder[f * d + k]!, 0));
  const square = signal.reduce((sum, v) => sum + v * v, 0);
  return { codes, unit: codes.map((_, f) => signal.reduce((sum, v, k) => sum + v * parts.decoder[f * d + k]!, 0) / square) };
}

/** The edited activation and the weight removed, from the change of every code. */
function applied(r: number, change: (f: number) => number, removed: (f: number) => boolean): { row: number[]; weight: number } {
  const { codes, unit } = read(a, r);
  return {
    row: Array.from({ length: d }, (_, k) => a[r * d + k]! + codes.reduce((sum, _, f) => sum + change(f) * parts.decoder[f * d + k]!, 0)),
    weight: codes.reduce((sum, code, f) => sum + (removed(f) ? code * unit[f]! : 0), 0),
  };
}

async function check(options: EditOptions, expected: (r: number) => { row: number[]; weight: number }): Promise<void> {
  await gpu.scope(async () => {
    const tensors = Object.fromEntries(Object.entries(rankings).map(([name, lists]) => [name, Tensor.from(gpu, Uint32Array.from(lists.flat()), [lists.length, F])]));
    const side = (x: Float32Array, attributes: Record<string, Uint32Array>) => ({ activations: Tensor.from(gpu, x, [n, d]), attributes });
    const { activations, weightRemoved } = sae.edit(side(a, old), side(b, fresh), { ...options, rankings: tensors });
    const [found, weights] = [await activations.read(), await weightRemoved.read()];
    for (let r = 0; r < n; r++) {
      const { row, weight } = expected(r);
      row.forEach((value, k) => assert.ok(Math.abs(found[r * d + k]! - value) < 2e-5, `${r} ${k}: ${found[r * d + k]} is not ${value}`));
      assert.ok(Number.isNaN(weight) ? Number.isNaN(weights[r]!) : Math.abs(weights[r]! - weight) < 2e-5, `${r}: weight ${weights[r]} is not ${weight}`);
    }
  });
}

test('by interpretations: the best ranked active features of the old values go, those of the new ones come', async () => {
  for (const [attributes, k] of [[['S'], 2], [['S'], 5], [['Pos', 'S'], 4], [['S', 'Pos'], 11], [['Pos', 'S'], 3], [['Pos'], 2 * F]] as [string[], number][]) {
    await check({ attributes, k, features: 'aware' }, (r) => {
      const pick = (x: Float32Array, ids: Record<string, Uint32Array>) => {
        const { codes } = read(x, r);
        return new Set(attributes.flatMap((name) => rankings[name]![ids[name]![r]!]!.filter((f) => codes[f]! > 0).slice(0, Math.floor(k / 2 / attributes.length))));
      };
      const [gone, come] = [pick(a, old), pick(b, fresh)];
      const [from, to] = [read(a, r).codes, read(b, r).codes];
      return applied(r, (f) => (come.has(f) ? to[f]! : 0) - (gone.has(f) ? from[f]! : 0), (f) => gone.has(f));
    });
  }
});

test('by weights: features that weigh more than the threshold in one of the two alone take the target\'s code', async () => {
  let some = 0;
  await check({ attributes: ['S'], k: 0, features: 'threshold' }, (r) => {
    const [from, to] = [read(a, r), read(b, r)];
    const heavy = ({ codes, unit }: typeof from, f: number) => codes[f]! * unit[f]! > WEIGHT_THRESHOLD;
    const changed = (f: number) => heavy(from, f) !== heavy(to, f);
    some += from.codes.filter((_, f) => changed(f)).length;
    return applied(r, (f) => (changed(f) ? to.codes[f]! - from.codes[f]! : 0), changed);
  });
  assert.ok(some > 0);
});

test('towards the reconstruction: the moves that bring the source\'s reconstruction nearest to the target\'s, one after the other', async () => {
  await check({ attributes: ['S'], k: 3, features: 'reconstruction' }, (r) => {
    const [from, to] = [read(a, r).codes, read(b, r).codes];
    const move = (f: number) => Array.from({ length: d }, (_, k) => (to[f]! - from[f]!) * parts.decoder[f * d + k]!);
    let left = Array.from({ length: d }, (_, k) => from.reduce((sum, _, f) => sum + move(f)[k]!, 0));
    const taken = new Set<number>();
    for (let round = 0; round < 3; round++) {
      const after = (f: number) => left.reduce((sum, v, k) => sum + (v - move(f)[k]!) ** 2, 0);
      const free = from.map((_, f) => f).filter((f) => !taken.has(f) && from[f] !== to[f]).sort((x, y) => after(x) - after(y));
      if (free.length === 0 || after(free[0]!) >= left.reduce((sum, v) => sum + v * v, 0)) break;
      taken.add(free[0]!);
      left = left.map((v, k) => v - move(free[0]!)[k]!);
    }
    assert.ok(taken.size > 0);
    return applied(r, (f) => (taken.has(f) ? to[f]! - from[f]! : 0), (f) => taken.has(f));
  });
});

test('many edits at once are the same numbers as each by itself', () => gpu.scope(async () => {
  const tensors = Object.fromEntries(Object.entries(rankings).map(([name, lists]) => [name, Tensor.from(gpu, Uint32Array.from(lists.flat()), [lists.length, F])]));
  const side = (x: Float32Array, attributes: Record<string, Uint32Array>) => ({ activations: Tensor.from(gpu, x, [n, d]), attributes });
  const [source, target] = [side(a, old), side(b, fresh)];
  const options = (['agnostic', 'reconstruction', 'aware', 'threshold'] as const).flatMap((features) => [6, 0, 1, 3].map((k): EditOptions => ({ attributes: ['S'], k, features, rankings: tensors })));
  const together = sae.edits(source, target, options);
  const seen = new Set<string>();
  for (const [i, option] of options.entries()) {
    const alone = sae.edit(source, target, option);
    const found = await together[i]!.activations.read();
    assert.equal(found, await alone.activations.read(), JSON.stringify(option.features));
    assert.equal(await together[i]!.weightRemoved.read(), await alone.weightRemoved.read());
    if (option.k === 0 && option.features !== 'threshold') assert.equal([...found], [...a]);
    seen.add(found.join());
  }
  assert.ok(seen.size > 8, `${seen.size} distinct edits`);
}));

test('an edit by interpretations needs rankings', () => gpu.scope(() => {
  const side = { activations: Tensor.from(gpu, a, [n, d]), attributes: old };
  assert.throws(() => sae.edit(side, side, { attributes: ['S'], k: 2, features: 'aware' }), (error: Error) => error instanceof UsageError && /needs rankings/.test(error.message));
}));

test.run();
