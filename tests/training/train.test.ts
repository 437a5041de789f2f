import * as assert from 'uvu/assert';
import { FileError, LimitError, NumberError, UsageError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import { trainSaes, type LogRecord, type SaeJob, type TrainOptions } from '../../src/training/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('training');
const gpu = await testGpu();

/** Examples that are sums of few of `atoms` directions, so that there is something to find. */
function sparseData(n: number, d: number, atoms: number, seed: number): Float32Array {
  const directions = random(atoms * d, seed);
  const picks = random(n * 3, seed + 1);
  const out = new Float32Array(n * d);
  for (let r = 0; r < n; r++) {
    for (let i = 0; i < 3; i++) {
      const atom = Math.min(atoms - 1, Math.floor((picks[r * 3 + i]! + 1) / 2 * atoms));
      for (let k = 0; k < d; k++) out[r * d + k]! += 3 * directions[atom * d + k]!;
    }
  }
  return out;
}

const [n, d] = [90, 10];
const quick: TrainOptions = { features: 24, epochs: 12, batch: 32, learningRate: 5e-3, warmupSteps: 5, seed: 4 };

/** Three jobs, two of them on the same data. */
function jobs(): SaeJob[] {
  const [a, b] = [Tensor.from(gpu, sparseData(n, d, 12, 1), [n, d]), Tensor.from(gpu, sparseData(n, d, 6, 50), [n, d])];
  return [{ name: 'vanilla a', data: a, l1: 0.3, seed: 1 }, { name: 'vanilla b', data: b, l1: 0.1, seed: 2 }, { name: 'vanilla c', data: a, l1: 1, seed: 3, learningRate: 2e-3 }];
}

/** Bytes of the trained weights of every job; disposes the dictionaries. */
async function bytesOf(result: Awaited<ReturnType<typeof trainSaes>>): Promise<string[]> {
  const out: string[] = [];
  for (const sae of result.saes) {
    const parts = await Promise.all(Object.values(sae.weights).map((t: Tensor) => t.read()));
    out.push(parts.map((part) => Buffer.from(part.buffer).toString('base64')).join('|'));
    sae.dispose();
  }
  return out;
}

const run = (list: SaeJob[], options: TrainOptions = {}): ReturnType<typeof trainSaes> => trainSaes(gpu, list, { ...quick, ...options });

test('the same seed gives the same bytes, another seed others', () => gpu.scope(async () => {
  const list = jobs();
  const first = await bytesOf(await run(list));
  assert.equal(await bytesOf(await run(list)), first);
  const other = await bytesOf(await run(list.map((job) => ({ ...job, seed: job.seed + 10 }))));
  other.forEach((bytes, i) => assert.not.equal(bytes, first[i]));
}));

test('alone, in a batch, and in batches cut small, a dictionary comes out the same', () => gpu.scope(async () => {
  const list = jobs();
  const together = await bytesOf(await run(list));
  for (const [i, job] of list.entries()) assert.equal(await bytesOf(await run([job])), [together[i]]);
  const small = await openGpu({ windowBytes: 4 * 90 * 24 });
  const moved = await Promise.all(list.map(async (job) => ({ ...job, data: Tensor.from(small, await (job.data as Tensor).read(), [n, d]) })));
  const cut = await bytesOf(await trainSaes(small, moved, quick));
  assert.equal(cut, together);
  small.destroy();
}));

test('both paths find the same dictionary but for rounding, and each goes on from its own checkpoints only', () => gpu.scope(async () => {
  const list = jobs().slice(0, 1);
  const weights = async (options: TrainOptions): Promise<Float32Array> => {
    const { saes: [sae] } = await run(list, { epochs: 2, resampleAt: [], ...options });
    return sae!.weights.decoder.read().finally(() => sae!.dispose());
  };
  const [sparse, dense, auto] = [await weights({ path: 'sparse' }), await weights({ path: 'dense' }), await weights({})];
  assert.equal(auto, dense);
  assert.ok(relativeError(sparse, dense) < 1e-4);
  for (const path of ['sparse', 'dense'] as const) {
    const expected = await bytesOf(await run(list, { path }));
    let saved: Uint8Array | null = null;
    await bytesOf(await run(list, { path, checkpointEvery: 11, onCheckpoint: (bytes) => { saved ??= bytes; } }));
    assert.equal(await bytesOf(await run(list, { path, resume: saved! })), expected);
    const other = path === 'sparse' ? 'dense' : 'sparse';
    let caught: unknown;
    await run(list, { path: other, resume: saved! }).catch((error) => { caught = error; });
    assert.ok(caught instanceof UsageError && caught.message.includes(`path (${path} there, ${other} here)`), String(caught));
  }
}));

test('a run finds sparse codes that explain the data', () => gpu.scope(async () => {
  const [job] = jobs();
  const logs: LogRecord[] = [];
  const result = await run([{ ...job!, l1: 0.05 }], { epochs: 300, onLog: ([record]) => { logs.push(record!); } });
  const [final] = result.final;
  for (const sae of result.saes) {
    const norms = await gpu.scope(async () => {
      const rows = await sae.weights.decoder.read();
      return Array.from({ length: 24 }, (_, f) => Math.hypot(...rows.subarray(f * d, (f + 1) * d)));
    });
    for (const norm of norms) assert.ok(Math.abs(norm - 1) < 1e-5);
    sae.dispose();
  }
  assert.ok(result.finished && result.checkpoint === null && result.step === result.steps);
  assert.is(logs.length, 300);
  assert.ok(logs.at(-1)!.loss < 0.2 * logs[0]!.loss);
  assert.ok(final!.explained_variance > 0.95, `explained ${final!.explained_variance}`);
  assert.ok(final!.l0 > 0.5 && final!.l0 < 12, `L0 ${final!.l0}`);
  // Over an epoch the log averages weights as they change; at the end they hardly do.
  assert.ok(Math.abs(logs.at(-1)!.loss - final!.loss) < 0.05 * final!.loss + 1e-3);
  for (const { loss, mse, l1_loss } of logs) assert.ok(Math.abs(loss - mse - l1_loss) < 1e-9);
}));

for (const stopAt of [1, 7, 18]) {
  test(`stopped after step ${stopAt} and resumed, a run ends with the same bytes`, () => gpu.scope(async () => {
    const list = jobs();
    const whole: LogRecord[][] = [];
    const expected = await bytesOf(await run(list, { onLog: (records) => { whole.push(records); } }));
    let saved: Uint8Array | null = null;
    await bytesOf(await run(list, { checkpointEvery: stopAt, onCheckpoint: (bytes) => { saved ??= bytes; } }));
    assert.is((await readCheckpoint(saved!)).step, stopAt);
    const rest: LogRecord[][] = [];
    assert.equal(await bytesOf(await run(list, { resume: saved!, onLog: (records) => { rest.push(records); } })), expected);
    // The epoch that the stop cut in two is logged as if it had not been.
    assert.equal(rest, whole.slice(whole.length - rest.length));
  }));
}

test('an abort stops before the next step with a checkpoint to go on from', () => gpu.scope(async () => {
  const list = jobs();
  const expected = await bytesOf(await run(list));
  const stop = new AbortController();
  const stopped = await run(list, { signal: stop.signal, onStep: (done) => { if (done >= 8) stop.abort(); } });
  assert.ok(!stopped.finished && stopped.step < stopped.steps && stopped.step >= 8);
  await bytesOf(stopped);
  assert.equal(await bytesOf(await run(list, { resume: stopped.checkpoint! })), expected);
}));

test('checkpoints are taken when they are due, and change nothing', () => gpu.scope(async () => {
  const list = jobs();
  const expected = await bytesOf(await run(list));
  const due = [3, 4, 11];
  const taken: number[] = [];
  const checkpointDue = (step: number): boolean => due.includes(step);
  assert.equal(await bytesOf(await run(list, { checkpointDue, onCheckpoint: (_, step) => { taken.push(step); } })), expected);
  assert.equal(taken, due);
}));

test('a checkpoint of another run is refused, field by field; a broken one as a file', () => gpu.scope(async () => {
  const list = jobs();
  let saved: Uint8Array | null = null;
  await bytesOf(await run(list, { checkpointEvery: 5, onCheckpoint: (bytes) => { saved ??= bytes; } }));
  const refused = async (attempt: () => Promise<unknown>, ...words: string[]): Promise<void> => {
    let caught: unknown;
    await attempt().catch((error) => { caught = error; });
    assert.ok(caught instanceof UsageError, String(caught));
    for (const word of words) assert.ok((caught as Error).message.includes(word), `${word} is not in: ${(caught as Error).message}`);
  };
  await refused(() => run(list, { resume: saved!, batch: 31, seed: 5 }), 'batch (32 there, 31 here)', 'seed (4 there, 5 here)');
  await refused(() => run([list[0]!, { ...list[1]!, l1: 9 }, list[2]!], { resume: saved! }), 'l1 of vanilla b (0.1 there, 9 here)');
  await refused(() => run(list.slice(0, 2), { resume: saved! }), 'number of dictionaries (3 there, 2 here)');
  await refused(() => run([{ ...list[0]!, data: list[1]!.data }, list[1]!, list[2]!], { resume: saved! }), 'data of vanilla a');
  // How often a run reports is its own affair.
  await bytesOf(await run(list, { resume: saved!, logEvery: 3 }));
  for (const bytes of [saved!.subarray(0, 2000), new Uint8Array([1, 2, 3])]) {
    let caught: unknown;
    await run(list, { resume: bytes }).catch((error) => { caught = error; });
    assert.ok(caught instanceof FileError, String(caught));
  }
}));

test('dead features come back to life', () => gpu.scope(async () => {
  const [job] = jobs();
  const logs: LogRecord[] = [];
  const options = { epochs: 60, features: 48, learningRate: 2e-2, resampleAt: [0.5], warmupSteps: 3, onLog: ([record]: LogRecord[]) => { logs.push(record!); } };
  await bytesOf(await run([{ ...job!, l1: 2 }], options));
  assert.ok(logs[29]!.dead_fraction > 0.1, `${logs[29]!.dead_fraction} dead before`);
  assert.ok(logs[30]!.dead_fraction < 0.5 * logs[29]!.dead_fraction, `${logs[30]!.dead_fraction} dead after ${logs[29]!.dead_fraction}`);
}));

test('bad data and bad numbers stop a run, and nothing leaks', () => gpu.scope(async () => {
  const caught = async (attempt: () => Promise<unknown>): Promise<Error> => attempt().then(() => new Error('nothing was thrown'), (error) => error as Error);
  const data = random(n * d, 1);
  data[17] = NaN;
  const broken = await caught(() => run([{ name: 'vanilla x', data: Tensor.from(gpu, data, [n, d]), l1: 1, seed: 1 }]));
  assert.ok(broken instanceof NumberError && /vanilla x/.test(broken.message));
  const zero = await caught(() => run([{ name: 'vanilla z', data: Tensor.zeros(gpu, [n, d]), l1: 1, seed: 1 }]));
  assert.ok(zero instanceof NumberError && /zero/.test(zero.message));
  const wild = await caught(() => run([jobs()[0]!, { ...jobs()[1]!, name: 'vanilla wild', learningRate: 1e30 }]));
  assert.ok(wild instanceof NumberError && /vanilla wild.*step \d+/.test(wild.message), wild.message);
}));

test('a dictionary beyond the adapter is refused', async () => {
  const small = await openGpu({ windowBytes: 4096 });
  const data = Tensor.from(small, random(90 * 10, 1), [90, 10]);
  let caught: unknown;
  await trainSaes(small, [{ name: 'vanilla big', data, l1: 1, seed: 1 }], { ...quick, features: 4096 }).catch((error) => { caught = error; });
  assert.ok(caught instanceof LimitError && /vanilla big: needs \d+ bytes.*allows 4096/.test(caught.message), String(caught));
  assert.is(small.memory().liveBuffers, 1);
  small.destroy();
});

test.run();
