import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { formsGram, greedyApply, greedyChoose, greedyWeightRemoved, type GreedyProblem } from '../../src/tensor/greedy.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('greedy edit');
const gpu = await testGpu();
const NONE = 0xffffffff;

/** A problem of n prompts in plain numbers; about `share` of the codes are active. */
interface Plain { n: number; d: number; F: number; source: number[][]; target: number[][]; alpha: number[][]; beta: number[][]; decoder: number[][] }

function problem(n: number, d: number, F: number, seed: number, share = 0.4): Plain {
  const matrix = (rows: number, columns: number, from: number): number[][] => {
    const values = random(rows * columns, from);
    return Array.from({ length: rows }, (_, r) => [...values.subarray(r * columns, (r + 1) * columns)]);
  };
  const codes = (from: number): number[][] => matrix(n, F, from).map((row) => row.map((v) => Math.fround(v > 1 - 2 * share ? v + 1 : 0)));
  const decoder = matrix(F, d, seed).map((row) => row.map((v) => Math.fround(v / Math.hypot(...row))));
  return { n, d, F, source: matrix(n, d, seed + 1), target: matrix(n, d, seed + 2), alpha: codes(seed + 3), beta: codes(seed + 4), decoder };
}

function upload(p: Plain): GreedyProblem {
  return {
    source: Tensor.from(gpu, p.source.flat(), [p.n, p.d]), target: Tensor.from(gpu, p.target.flat(), [p.n, p.d]),
    sourceCodes: Tensor.from(gpu, p.alpha.flat(), [p.n, p.F]), targetCodes: Tensor.from(gpu, p.beta.flat(), [p.n, p.F]),
    decoder: Tensor.from(gpu, p.decoder.flat(), [p.F, p.d]),
  };
}

/** ‖target − source − Σ_{j in set} (β_j − α_j) d_j‖² */
function distance(p: Plain, r: number, set: readonly number[]): number {
  let sum = 0;
  for (let k = 0; k < p.d; k++) {
    let v = p.target[r]![k]! - p.source[r]![k]!;
    for (const j of set) v -= (p.beta[r]![j]! - p.alpha[r]![j]!) * p.decoder[j]![k]!;
    sum += v * v;
  }
  return sum;
}

/** The greedy edit as the paper tells it: every candidate's residual formed and measured. */
function bruteForce(p: Plain, r: number, k: number): number[] {
  const taken: number[] = [];
  for (let round = 0; round < k; round++) {
    let best = distance(p, r, taken);
    let pick = -1;
    for (let j = 0; j < p.F; j++) {
      if (taken.includes(j)) continue;
      const left = distance(p, r, [...taken, j]);
      if (left < best - 1e-12) [best, pick] = [left, j];
    }
    if (pick < 0) break;
    taken.push(pick);
  }
  return taken;
}

function* subsets(items: readonly number[], k: number): Generator<number[]> {
  yield [];
  if (k === 0) return;
  for (const [i, item] of items.entries()) for (const rest of subsets(items.slice(i + 1), k - 1)) yield [item, ...rest];
}

async function choose(p: Plain, k: number, gram?: null): Promise<number[][]> {
  return gpu.scope(async () => {
    const { chosen } = greedyChoose({ ...upload(p), ...(gram === null ? { gram } : {}) }, k);
    const all = await chosen.readU32();
    return Array.from({ length: p.n }, (_, r) => [...all.subarray(r * k, (r + 1) * k)].filter((j) => j !== NONE));
  });
}

for (const [n, d, F, k] of [[5, 8, 20, 16], [3, 5, 7, 16], [9, 32, 60, 8], [4, 6, 1, 2]] as const) {
  for (const gram of [undefined, null] as const) {
    test(`brute force, ${F} features of width ${d}, k = ${k}${gram === null ? ', without a Gram matrix' : ''}`, async () => {
      const p = problem(n, d, F, n * 100);
      const found = await choose(p, k, gram);
      for (let r = 0; r < n; r++) assert.equal(found[r], bruteForce(p, r, k), `prompt ${r}`);
    });
  }
}

test('one feature: the same as exhaustive search, always', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const p = problem(6, 6, 12, seed * 7);
    const found = await choose(p, 1);
    for (let r = 0; r < p.n; r++) {
      const best = Math.min(...[...subsets([...p.decoder.keys()], 1)].map((set) => distance(p, r, set)));
      assert.ok(Math.abs(distance(p, r, found[r]!) - best) < 1e-6);
    }
  }
});

test('up to three features: never better than exhaustive search, and sometimes worse', async () => {
  let worse = 0;
  for (const k of [2, 3]) {
    for (let seed = 1; seed <= 6; seed++) {
      const p = problem(6, 4, 10, seed * 13 + k);
      const found = await choose(p, k);
      for (let r = 0; r < p.n; r++) {
        const best = Math.min(...[...subsets([...p.decoder.keys()], k)].map((set) => distance(p, r, set)));
        const greedy = distance(p, r, found[r]!);
        assert.ok(greedy >= best - 1e-6, `${greedy} is better than the best, ${best}`);
        if (greedy > best + 1e-4) worse++;
      }
    }
  }
  assert.ok(worse > 0);
});

test('with orthogonal features greedy is exhaustive search for any k', async () => {
  const p = problem(8, 6, 6, 3, 0.8);
  p.decoder = p.decoder.map((_, j) => Array.from({ length: 6 }, (_, k) => (j === k ? 1 : 0)));
  for (const k of [2, 3]) {
    const found = await choose(p, k);
    for (let r = 0; r < p.n; r++) {
      const best = Math.min(...[...subsets([...p.decoder.keys()], k)].map((set) => distance(p, r, set)));
      assert.ok(Math.abs(distance(p, r, found[r]!) - best) < 1e-5);
    }
  }
});

test('a shorter edit is the beginning of a longer one; a round never makes it worse; no feature twice', async () => {
  const p = problem(7, 10, 30, 5);
  const [long, short] = [await choose(p, 16), await choose(p, 4)];
  for (let r = 0; r < p.n; r++) {
    assert.equal(long[r]!.slice(0, 4), short[r]);
    assert.is(new Set(long[r]).size, long[r]!.length);
    for (let i = 0; i < long[r]!.length; i++) assert.ok(distance(p, r, long[r]!.slice(0, i + 1)) <= distance(p, r, long[r]!.slice(0, i)) + 1e-6);
  }
});

test('the edited activation and the weight removed', () => gpu.scope(async () => {
  const [n, k] = [6, 4];
  const p = problem(n, 9, 15, 77, 0.3);
  p.alpha[2]!.fill(0);
  const on = upload(p);
  const choice = greedyChoose(on, k);
  const edited = await greedyApply(on.source, on.decoder, choice).read();
  const weights = await greedyWeightRemoved(on.sourceCodes, on.decoder, choice).read();
  const moves = await choice.moves.read();
  for (let r = 0; r < n; r++) {
    const taken = bruteForce(p, r, k);
    const expected = p.source[r]!.map((v, c) => v + taken.reduce((sum, j) => sum + (p.beta[r]![j]! - p.alpha[r]![j]!) * p.decoder[j]![c]!, 0));
    assert.ok(relativeError(edited.subarray(r * p.d, (r + 1) * p.d), expected) <= 1e-5);
    for (let i = 0; i < k; i++) assert.ok(Math.abs(moves[r * k + i]! - (i < taken.length ? p.beta[r]![taken[i]!]! - p.alpha[r]![taken[i]!]! : 0)) < 1e-6);
    const signal = Array.from({ length: p.d }, (_, c) => p.alpha[r]!.reduce((sum, f, j) => sum + f * p.decoder[j]![c]!, 0));
    const square = signal.reduce((sum, v) => sum + v * v, 0);
    const weight = taken.reduce((sum, j) => sum + p.alpha[r]![j]! * p.decoder[j]!.reduce((s, v, c) => s + v * signal[c]!, 0) / square, 0);
    if (r === 2) assert.ok(Number.isNaN(weights[r]!));
    else assert.ok(Math.abs(weights[r]! - weight) < 1e-5, `${weights[r]} is not ${weight}`);
  }
}));

test('the first rounds of a longer edit, applied and weighed, are the shorter edit', () => gpu.scope(async () => {
  const on = upload(problem(7, 10, 30, 5));
  const long = greedyChoose(on, 16);
  for (const k of [0, 1, 4, 16]) {
    const short = greedyChoose(on, k);
    assert.equal(await greedyApply(on.source, on.decoder, long, k).read(), await greedyApply(on.source, on.decoder, short).read());
    assert.equal(await greedyWeightRemoved(on.sourceCodes, on.decoder, long, k).read(), await greedyWeightRemoved(on.sourceCodes, on.decoder, short).read());
  }
  assert.throws(() => greedyApply(on.source, on.decoder, long, 17), (e: unknown) => e instanceof ShapeError);
}));

test('nothing to do: k = 0, no prompts, equal codes', () => gpu.scope(async () => {
  const p = problem(3, 4, 6, 9);
  const on = upload(p);
  const none = greedyChoose(on, 0);
  assert.equal([...none.chosen.shape], [3, 0]);
  assert.equal([...await greedyApply(on.source, on.decoder, none).read()], p.source.flat());
  const same = greedyChoose({ ...on, targetCodes: on.sourceCodes }, 2);
  assert.ok([...await same.chosen.readU32()].every((j) => j === NONE));
  const empty = greedyChoose(upload({ ...problem(0, 4, 6, 1) }), 2);
  assert.equal([...empty.chosen.shape], [0, 2]);
}));

test('a Gram matrix is formed while it is small', () => {
  const limits = { bindingBytes: 128 * 2 ** 20 } as typeof gpu.limits;
  assert.ok(formsGram({ limits }, 4096));
  assert.not.ok(formsGram({ limits }, 24576));
  assert.not.ok(formsGram({ limits: { ...limits, bindingBytes: 1024 } }, 32));
});

test('shapes that do not fit are refused', () => gpu.scope(() => {
  const on = upload(problem(3, 4, 6, 9));
  assert.throws(() => greedyChoose({ ...on, target: Tensor.zeros(gpu, [3, 5]) }, 2), (e: unknown) => e instanceof ShapeError);
  assert.throws(() => greedyChoose(on, 1.5), (e: unknown) => e instanceof ShapeError);
}));

test.run();
