import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { FileError, UsageError } from '../../src/errors.ts';
import { directoryStore } from '../../src/node.ts';
import { memorySource } from '../../src/files/index.ts';
import { loadSae } from '../../src/dictionary/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { parseLogLine, trainSaes, trainSweep, type SweepManifest, type SweepPlan } from '../../src/training/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('sweep');
const gpu = await testGpu();

const [n, d] = [48, 6];

function plan(over: Partial<SweepPlan> = {}): SweepPlan {
  return {
    sites: [1, 2].map((seed) => ({ name: `site${seed}`, activations: Tensor.from(gpu, random(n * d, seed), [n, d]), metadata: { hook_name: `hook${seed}` } })),
    variants: [{ variant: 'vanilla', values: [0.1, 0.5] }, { variant: 'topk', values: [3], learningRate: 2e-3 }, { variant: 'frozen', values: [0.2] }],
    settings: { features: 12, epochs: 6, batch: 16, learningRate: 5e-3, warmupSteps: 2, resampleAt: [0.5], seed: 3 },
    snapshotEpochs: [1, 3, 6],
    ...over,
  };
}

const content = (files: ReadonlyMap<string, Uint8Array>): Record<string, string> =>
  Object.fromEntries([...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, bytes]) => [path, Buffer.from(bytes).toString('latin1')]));

const manifestOf = (store: MemoryStore): SweepManifest => JSON.parse(new TextDecoder().decode(store.files.get('manifest/manifest.json')));

test('a sweep leaves every dictionary, the snapshots, a log and a manifest', () => gpu.scope(async () => {
  const store = new MemoryStore();
  const given = plan();
  const steps: [number, number][] = [];
  const { finished, manifest } = await trainSweep(gpu, given, store, { onStep: (done, total) => steps.push([done, total]) });
  assert.ok(finished);
  assert.equal(manifestOf(store), JSON.parse(JSON.stringify(manifest)));
  assert.equal(steps.at(-1), [18, 18]);
  const folders = ['site1', 'site2'].flatMap((site) => ['l1_0.1', 'l1_0.5', 'topk_k_3', 'frozen_l1_0.2'].map((end) => `${site}_${end}`));
  assert.equal(manifest.entries.map(({ path }) => path), [
    ...folders.map((f) => `snapshots/1/${f}`), ...folders.map((f) => `snapshots/3/${f}`), ...folders.map((f) => `dictionaries/${f}`),
  ]);
  assert.equal(manifest.entries.map(({ path }) => path).filter((path) => !store.files.has(`${path}/cfg.json`) || !store.files.has(`${path}/sae_weights.safetensors`)), []);
  const [entry] = manifest.entries.filter(({ path }) => path === 'dictionaries/site2_topk_k_3');
  assert.equal({ ...entry, figures: entry!.figures.k }, { name: 'topk site2 k=3', site: 'site2', variant: 'topk', sparsity: 3, epoch: 6, finished: true, path: 'dictionaries/site2_topk_k_3', figures: 3 });
  assert.ok(Math.abs(entry!.figures.l0 - 3) < 0.5);
  const log = new TextDecoder().decode(store.files.get('log/metrics.jsonl')).trim().split('\n').map((line) => parseLogLine(line));
  assert.is(log.length, 8 * 6);
  assert.equal(log.filter(({ variant, epoch }) => variant === 'topk' && epoch === 2).map(({ learning_rate }) => learning_rate), [2e-3, 2e-3]);

  // A dictionary is the one that a run by itself makes, and comes back from its files.
  const data = given.sites[1]!.activations;
  const alone = await trainSaes(gpu, [{ name: 'vanilla x', data, l1: 0.5, seed: 3 }], given.settings!);
  const files = Object.fromEntries(['cfg.json', 'sae_weights.safetensors'].map((file) => [file, store.files.get(`dictionaries/site2_l1_0.5/${file}`)!]));
  const sae = await loadSae(gpu, memorySource(files), { hookName: 'hook2', width: d });
  assert.equal([...await sae.weights.encoder.read()], [...await alone.saes[0]!.weights.encoder.read()]);
  assert.is(sae.name, 'vanilla site2 λ=0.5');
  for (const one of [sae, ...alone.saes]) one.dispose();
}));

test('memory cuts a sweep into runs, and no dictionary depends on the cut', () => gpu.scope(async () => {
  const [whole, cut] = [new MemoryStore(), new MemoryStore()];
  const given = plan();
  await trainSweep(gpu, given, whole);
  const totals: number[] = [];
  await trainSweep(gpu, { ...given, memoryBytes: 30000 }, cut, { onStep: (_, total) => totals.push(total) });
  const { runs } = manifestOf(cut).plan;
  assert.ok(runs.length > 1 && runs.length < 8, `${runs.length} runs`);
  assert.is(totals[0], runs.length * 18);
  const dictionaries = (store: MemoryStore): Record<string, string> => content(new Map([...store.files].filter(([path]) => /^(dictionaries|snapshots)/.test(path))));
  assert.equal(dictionaries(cut), dictionaries(whole));
  const sorted = (store: MemoryStore): string[] => new TextDecoder().decode(store.files.get('log/metrics.jsonl')).split('\n').sort();
  assert.equal(sorted(cut), sorted(whole));
}));

test('killed after any write, a sweep goes on to the same bytes', () => gpu.scope(async () => {
  const given = plan({ memoryBytes: 30000 });
  const whole = new MemoryStore();
  const watching = { checkpointEvery: 4 };
  await trainSweep(gpu, given, whole, watching);
  const expected = content(whole.files);
  const kills = [0, 2, 9, 20, Math.floor(whole.writes / 2), whole.writes - 12, whole.writes - 1];
  for (const kill of kills) {
    const broken = new MemoryStore(new Map(), kill);
    let caught: unknown;
    await trainSweep(gpu, given, broken, watching).catch((error) => { caught = error; });
    assert.match(String(caught), /killed/);
    // Another attempt that does not get far either, with another idea of how much memory there is.
    const again = new MemoryStore(broken.files, 7);
    await trainSweep(gpu, given, again, watching).catch(() => {});
    const last = new MemoryStore(broken.files);
    const { finished } = await trainSweep(gpu, { ...given, ...(kill > 0 ? { memoryBytes: 1e9 } : {}) }, last, watching);
    assert.ok(finished);
    assert.equal(content(last.files), expected, `killed after ${kill} of ${whole.writes} writes`);
  }
}));

test('stopped by its signal, it loses no step; what is finished is not made again', () => gpu.scope(async () => {
  const given = plan({ memoryBytes: 30000 });
  const whole = new MemoryStore();
  await trainSweep(gpu, given, whole);
  const total = manifestOf(whole).plan.runs.length * 18;
  const store = new MemoryStore();
  let last = 0;
  for (let stops = 0; ; stops++) {
    const stop = new AbortController();
    const before = last;
    let first = -1;
    const { finished } = await trainSweep(gpu, given, store, {
      signal: stop.signal,
      onStep: (done) => {
        if (first < 0) first = done;
        if (done >= before + 7) stop.abort();
        last = done;
      },
    });
    assert.ok(first > before, 'steps were lost');
    if (finished) {
      assert.ok(stops >= 3);
      break;
    }
    assert.ok(stops < total);
  }
  assert.equal(content(store.files), content(whole.files));
  const { writes } = store;
  await trainSweep(gpu, given, store, { onStep: () => assert.unreachable('trained again') });
  assert.ok(store.writes - writes <= 2);
}));

test('a store of another sweep is refused by what differs', () => gpu.scope(async () => {
  const store = new MemoryStore();
  const stop = new AbortController();
  stop.abort();
  const given = plan();
  await trainSweep(gpu, given, store, { signal: stop.signal });
  const refused = async (other: SweepPlan, message: RegExp): Promise<void> => {
    let caught: unknown;
    await trainSweep(gpu, other, store, { signal: stop.signal }).catch((error) => { caught = error; });
    assert.ok(caught instanceof UsageError && message.test(caught.message), String(caught));
  };
  await refused({ ...given, settings: { ...given.settings!, batch: 12 } }, /another sweep: batch \(16 there, 12 here\)$/);
  await refused({ ...given, sites: [given.sites[0]!, { ...given.sites[1]!, activations: given.sites[0]!.activations }] }, /sites or their data$/);
  await refused({ ...given, variants: given.variants.slice(1) }, /dictionaries/);
  await refused({ ...given, snapshotEpochs: [2] }, /snapshots \(1,3 there, 2 here\)$/);
  store.files.set('manifest/manifest.json', new TextEncoder().encode('{"format": 1}'));
  let caught: unknown;
  await trainSweep(gpu, given, store).catch((error) => { caught = error; });
  assert.ok(caught instanceof FileError);
}));

test('a directory as a store', async () => {
  const root = mkdtempSync(join(tmpdir(), 'diffract-store-'));
  try {
    const store = directoryStore(join(root, 'deep', 'store'));
    const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
    assert.is(await store.has('a/b'), false);
    assert.is(await store.get('a/b/x'), null);
    await store.put('a/b', { x: bytes('one'), y: bytes('two') });
    assert.is(await store.has('a/b'), true);
    assert.equal(await store.get('a/b/x'), bytes('one'));
    // A file that is there is replaced, another one stays.
    await store.put('a/b', { x: bytes('three') });
    assert.equal([await store.get('a/b/x'), await store.get('a/b/y')], [bytes('three'), bytes('two')]);
    await store.append('log/l', 'a\n');
    await store.append('log/l', 'b\n');
    assert.equal(await store.get('log/l'), bytes('a\nb\n'));
    const folder = join(root, 'deep', 'store', 'a', 'b');
    assert.equal(readdirSync(folder).sort(), ['x', 'y']);
    assert.ok(statSync(join(folder, 'x')).isFile() && existsSync(join(root, 'deep', 'store', 'log', 'l')));
    for (const attempt of [store.get('../x'), store.put('..', {}), store.append('/x', ''), store.get('a/b')]) {
      let caught: unknown;
      await attempt.catch((error) => { caught = error; });
      assert.ok(caught instanceof FileError, String(caught));
    }
    writeFileSync(join(root, 'file'), '');
    let caught: unknown;
    await directoryStore(join(root, 'file')).put('a', { x: bytes('') }).catch((error) => { caught = error; });
    assert.ok(caught instanceof FileError && /cannot write/.test(caught.message));
    assert.is(readFileSync(join(root, 'file'), 'utf8'), '');
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test.run();
