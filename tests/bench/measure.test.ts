/** How cases are measured: with cases and peers made up for it, on the real device. Nothing here depends on how long anything takes. */
import * as assert from 'uvu/assert';
import { Tensor, add } from '../../src/tensor/index.ts';
import type { Case, Prepared } from '../../bench/cases/index.ts';
import { LimitError } from '../../src/errors.ts';
import { measure, setsFor } from '../../bench/measure.ts';
import type { Peer, PeerRun, PeerWork } from '../../bench/peers/peer.ts';
import { runBench } from '../../bench/run.ts';
import { parseBench, type Where } from '../../bench/results.ts';
import { inAlternation, ourSide, reason } from '../../bench/versus.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';

const test = gpuSuite('measuring');
const CEILINGS = { copyGBps: 5, gflops: 50, f16Gflops: null, subgroupGops: null, dispatchesPerSecond: 1e5, source: 'timestamp' as const };
const SETTINGS = { samples: 2, budgetMs: 50 };
const SIZE = 1000;
const work: PeerWork = { op: 'softmax', rows: 1, width: SIZE, x: new Float32Array(SIZE) };

/** A case that adds two vectors of ones; `expected` is what its reference says comes out. */
function sums(expected = 2, changes: Partial<Case> = {}, more: Partial<Prepared> = {}): Case {
  return {
    group: 'kernels', kernel: 'sums', shape: `${SIZE}`, flops: SIZE, bytes: 12 * SIZE,
    prepare(gpu) {
      const ones = Tensor.from(gpu, new Float32Array(SIZE).fill(1), [SIZE]);
      const run = (): Tensor => add(ones, ones);
      return {
        run: () => run().dispose(),
        read: () => { const out = run(); return out.read().finally(() => out.dispose()); },
        error: (result) => Math.abs(result[SIZE - 1]! - expected) / expected,
        dispose: () => ones.dispose(),
        ...more,
      };
    },
    ...changes,
  };
}

/** A peer that notes what is done with it. */
function fakePeer(log: string[], changes: Partial<PeerRun> = {}, prepare?: () => Promise<PeerRun | null>): Peer {
  const run: PeerRun = {
    run: () => void log.push('run'), done: async () => void log.push('done'), read: async () => new Float32Array(SIZE).fill(2), transfers: null, dispose: () => void log.push('dispose'), ...changes,
  };
  return { name: 'fake', version: '1', prepare: prepare ?? (async () => run), dispose() {} };
}

test('a right result has a time and what follows from it', async () => {
  const row = await measure(await testGpu(), sums(), CEILINGS, SETTINGS);
  assert.ok(row.ms! > 0 && row.least! <= row.ms! && row.ms! <= row.most!);
  assert.ok(Math.abs(row.gbps! * row.ms! * 1e6 - 12 * SIZE) < 1e-6);
  assert.is(row.bound, 'memory');
  assert.is(row.share, row.gbps! / 5);
  assert.is(row.samples, 2);
  assert.is(row.error, 0);
  assert.ok(row.firstUseMs! > 0 && row.hostMs! >= 0);
  assert.is(row.wrong, undefined);
});

test('a wrong result prints no time, and peers are not asked', async () => {
  const log: string[] = [];
  const row = await measure(await testGpu(), sums(3, { peerWork: () => work }), CEILINGS, { ...SETTINGS, peers: [fakePeer(log)] });
  assert.match(row.wrong!, /relative error 3\.3e-1, at most 1e-5/);
  for (const name of ['ms', 'least', 'most', 'share', 'gflops', 'gbps', 'spread'] as const) assert.is(row[name], null, name);
  assert.equal(log, []);
});

test('NaN is wrong, and so is a failure half-way; what the adapter cannot hold is left out', async () => {
  const gpu = await testGpu();
  assert.match((await measure(gpu, sums(NaN), CEILINGS, SETTINGS)).wrong!, /NaN/);
  const failing = await measure(gpu, sums(2, {}, { figures: () => { throw new Error('first line\nsecond'); } }), CEILINGS, SETTINGS);
  assert.is(failing.wrong, 'first line');
  assert.is(failing.ms, null);
  const large = await measure(gpu, sums(2, { prepare: () => { throw new LimitError('too large'); } }), CEILINGS, SETTINGS);
  assert.is(large.skipped, 'too large');
  assert.is(large.wrong, undefined);
});

test('input sets take turns until they pass a cache', () => {
  assert.is(setsFor(1), 64);
  assert.is(setsFor(16 * 2 ** 20), 8);
  assert.is(setsFor(2 ** 30), 1);
});

test('two sides take turns, each waited for', async () => {
  const log: string[] = [];
  let clock = 0;
  const side = (name: string, ms: number) => ({ start: () => { log.push(name); clock += ms; }, done: async () => { log.push(`${name}.`); } });
  const { a, b } = await inAlternation(side('A', 20), side('B', 40), { samples: 3, budgetMs: 1000, now: () => clock });
  // One run each to see how long they take, then twice as many as pass the clock's grain, three times in turn.
  assert.equal(log.join(' '), `A A. B B. ${Array.from({ length: 3 }, () => 'A A A. B B B.').join(' ')}`);
  assert.is(a.ms, 20);
  assert.is(b.ms, 40);
});

test('a peer is checked, then timed in turns with ours', async () => {
  const log: string[] = [];
  const row = await measure(await testGpu(), sums(2, { peerWork: () => work }), CEILINGS, { ...SETTINGS, peers: [fakePeer(log)] });
  const { fake } = row.peers;
  assert.ok(fake!.ms! >= 0 && fake!.ours! > 0);
  assert.is(fake!.ratio, fake!.ms! / fake!.ours!);
  assert.is(fake!.error, 0);
  assert.is(fake!.transfers, null);
  assert.equal(log.slice(0, 2), ['run', 'done']);
  assert.is(log.at(-1), 'dispose');
});

test('a peer that must move bytes is compared with ours moving as many', async () => {
  const gpu = await testGpu();
  const moved: string[] = [];
  const prepared = { run: () => void moved.push('run') };
  const [upload, download] = [gpu.upload.bind(gpu), gpu.download.bind(gpu)];
  gpu.upload = (target, data, offset) => { moved.push(`up ${data.byteLength}`); upload(target, data, offset); };
  gpu.download = (source, bytes) => { moved.push(`down ${bytes}`); return download(source, bytes); };
  const side = ourSide(gpu, prepared, { upload: 4000, download: 800 });
  try {
    await side.start(0);
    await side.start(1);
    await side.done();
  } finally {
    side.dispose();
    Object.assign(gpu, { upload, download });
  }
  assert.equal(moved, ['up 4000', 'run', 'down 800', 'up 4000', 'run', 'down 800']);
  const row = await measure(gpu, sums(2, { peerWork: () => work }), CEILINGS, { ...SETTINGS, peers: [fakePeer([], { transfers: { upload: 4000, download: 4000 } })] });
  assert.equal(row.peers.fake!.transfers, { upload: 4000, download: 4000 });
  assert.ok(row.peers.fake!.ratio !== null);
});

test('a peer that is wrong, unable or throws is named with its reason, and the run goes on', async () => {
  const gpu = await testGpu();
  const outcome = async (peer: Peer) => {
    const row = await measure(gpu, sums(2, { peerWork: () => work }), CEILINGS, { ...SETTINGS, peers: [peer] });
    assert.ok(row.ms! > 0);
    return row.peers.fake!;
  };
  const wrong = await outcome(fakePeer([], { read: async () => new Float32Array(SIZE).fill(5) }));
  assert.match(wrong.skipped!, /wrong result: relative error 1\.5e\+0/);
  assert.is(wrong.ms, null);
  assert.is((await outcome(fakePeer([], {}, async () => null))).skipped, 'has no way to do this');
  assert.is((await outcome(fakePeer([], {}, async () => { throw new Error('out of ideas\n at x'); }))).skipped, 'out of ideas');
  assert.is((await outcome(fakePeer([], { run: () => { throw new Error('no kernel'); } }))).skipped, 'no kernel');
  assert.ok((await outcome(fakePeer([], { dispose: () => { throw new Error('late'); } }))).ms !== null);
  assert.is(reason('x'.repeat(300)).length, 160);
});

test('other ways of this engine are timed in turns with the row', async () => {
  let ran = 0;
  const row = await measure(await testGpu(), sums(2, {}, { against: { 'the long way': () => void ran++ } }), CEILINGS, SETTINGS);
  assert.ok(ran > 2);
  assert.ok(row.against['the long way']!.ratio !== null);
});

const WHERE: Where = { kind: 'node', name: 'Node', version: '0', platform: 'test' };

test('a run gives a result that fits its schema; one that is stopped keeps what it has', async () => {
  const gpu = await testGpu();
  const stop = new AbortController();
  const options = { where: WHERE, version: 'test', samples: 1, full: false, names: [] };
  const whole = await runBench(gpu, { ...options, cases: [sums(), sums(3)] });
  assert.equal(parseBench(JSON.parse(JSON.stringify(whole))).rows.map((r) => r.wrong === undefined), [true, false]);
  assert.ok(whole.ceilings.copyGBps > 0 && whole.ceilings.gflops > 0 && whole.ceilings.dispatchesPerSecond > 0);
  const never = sums(2, { prepare: () => new Promise<Prepared>(() => stop.abort()) });
  const cut = await runBench(gpu, { ...options, cases: [sums(), never, sums()], signal: stop.signal });
  assert.is(cut.interrupted, true);
  assert.is(cut.rows.length, 1);
});

test.run();
