import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { installPeers } from '../../bench/install.mjs';
import { openPeers } from '../../bench/peers/index.ts';
import type { Peer, PeerWork } from '../../bench/peers/peer.ts';
import { random, relativeError } from '../support/numbers.ts';
import { testGpu } from '../support/gpu.ts';
import { reference } from './peer-reference.ts';

const test = suite('peers');
const NAMES = ['@jax-js/jax', '@tensorflow/tfjs-backend-webgpu', 'onnxruntime-web', 'onnxruntime-node'];
let peers: Peer[] = [];

test.before(async () => {
  // Says what is wrong where there is no registry.
  await installPeers();
  const opened = await openPeers(await testGpu());
  assert.equal(opened.missing, []);
  peers = opened.peers;
});
test.after(async () => { for (const peer of peers) await peer.dispose(); });

const matmul = (batch: number, m: number, k: number, n: number, transposeA = false, transposeB = false): PeerWork =>
  ({ op: 'matmul', batch, m, k, n, transposeA, transposeB, a: random(batch * m * k, 1), b: random(batch * k * n, 2) });

function forward(lastOnly: boolean): PeerWork {
  const [layers, heads, model, hidden, vocabulary, batch, positions] = [2, 2, 16, 64, 37, 2, 11];
  const weights = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  const add = (name: string, shape: number[], scale = 0.3, offset = 0): void => {
    weights.set(name, { shape, data: random(shape, weights.size + 1).map((x) => x * scale + offset) });
  };
  add('wte.weight', [vocabulary, model]);
  add('wpe.weight', [40, model]);
  const norm = (name: string): void => { add(`${name}.weight`, [model], 0.2, 1); add(`${name}.bias`, [model]); };
  const linear = (name: string, from: number, to: number): void => { add(`${name}.weight`, [from, to]); add(`${name}.bias`, [to]); };
  for (let layer = 0; layer < layers; layer++) {
    const name = (part: string): string => `h.${layer}.${part}`;
    norm(name('ln_1')); linear(name('attn.c_attn'), model, 3 * model); linear(name('attn.c_proj'), model, model);
    norm(name('ln_2')); linear(name('mlp.c_fc'), model, hidden); linear(name('mlp.c_proj'), hidden, model);
  }
  norm('ln_f');
  const tokens = Int32Array.from({ length: batch * positions }, (_, i) => (i * 7) % vocabulary);
  return { op: 'forward', batch, positions, lastOnly, layers, heads, model, hidden, vocabulary, epsilon: 1e-5, tokens, weights };
}

const WORKS: [string, PeerWork][] = [
  ['matmul 7×33×21', matmul(1, 7, 33, 21)],
  ['matmul 1×64×100', matmul(1, 1, 64, 100)],
  ['matmul 5×19×13, b transposed', matmul(1, 5, 19, 13, false, true)],
  ['matmul 5×19×13, a transposed', matmul(1, 5, 19, 13, true)],
  ['matmul 3 × 9×17×11', matmul(3, 9, 17, 11)],
  ['matmul 3 × 9×17×11, a transposed', matmul(3, 9, 17, 11, true)],
  ['matmul 3 × 9×17×11, b transposed', matmul(3, 9, 17, 11, false, true)],
  ['attention 2 × 45 positions', { op: 'attention', batch: 2, positions: 45, heads: 3, width: 16, qkv: random(2 * 45 * 3 * 3 * 16, 3) }],
  ['layer norm', { op: 'layer-norm', rows: 13, width: 37, epsilon: 1e-5, x: random(13 * 37, 4), gamma: random(37, 5), beta: random(37, 6) }],
  ['softmax', { op: 'softmax', rows: 9, width: 51, x: random(9 * 51, 7) }],
  ['Adam', { op: 'adam', parameters: 1003, parameter: random(1003, 8), gradient: random(1003, 9) }],
  ['forward', forward(false)],
  ['forward, last position', forward(true)],
  ['SAE step', { op: 'sae-step', dictionaries: 3, rows: 10, width: 6, features: 14, l1: 0.01, x: random(3 * 10 * 6, 10), encoder: random(3 * 14 * 6, 11), decoder: random(3 * 14 * 6, 12) }],
];

test('all engines open, with their versions', () => {
  assert.equal(peers.map(({ name }) => name), NAMES);
  for (const { version } of peers) assert.match(version, /^\d+\.\d+\.\d+/);
});

for (const [title, work] of WORKS) {
  test(`${title}: every engine that can gives the reference's result`, async () => {
    const expected = reference(work);
    for (const peer of peers) {
      if (peer.name === 'onnxruntime-node' && work.op === 'forward') {
        await peer.prepare(work).then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /upload all weights/));
        continue;
      }
      const run = await peer.prepare(work);
      if (!run) {
        assert.ok(peer.name.startsWith('onnxruntime') && work.op === 'sae-step', `${peer.name} has a way to do ${title}`);
        continue;
      }
      try {
        assert.is(run.transfers === null, peer.name !== 'onnxruntime-node', peer.name);
        await run.run();
        await run.done();
        // Twice: runs start from the same state.
        for (let turn = 0; turn < 2; turn++) {
          const error = relativeError(await run.read(), expected);
          assert.ok(error < 2e-5, `${peer.name}: relative error ${error}`);
        }
      } finally {
        await run.dispose();
      }
    }
  });
}

test('names choose, and unknown ones are named', async () => {
  const { peers: none, missing } = await openPeers(await testGpu(), ['no-such-engine']);
  assert.equal(none, []);
  assert.is(missing[0]!.name, 'no-such-engine');
  assert.match(missing[0]!.why, /jax/);
});

test.run();
