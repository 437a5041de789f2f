/** How often features were active, as dictionaries trained on rounds of examples say: the shares of the last round, with the weights as they are then. */
import * as assert from 'uvu/assert';
import { saeFiles, type Sae } from '../../src/dictionary/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { trainSaes, StreamedExamples, type ActivationStream, type SaeJob } from '../../src/training/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('frequencies of features');
const gpu = await testGpu();
const [examples, width, features] = [96, 6, 24];

/** Another distribution in every round. */
const round = (number: number): Float32Array => random(examples * width, 50 + number).map((v, i) => 3 * v + ((i + number) % width === 0 ? 2 : 0));

function streamOf(data: StreamedExamples): ActivationStream {
  return {
    async fill(number, put) {
      for (let at = 0; at < examples; at += 32) {
        const rows = Tensor.from(gpu, round(number).slice(at * width, (at + 32) * width), [32, width]);
        put(data, rows, at);
        rows.dispose();
      }
    },
    state: (number) => ({ number }),
    restore: () => {},
  };
}

/** Share of the examples on which each feature's code is not 0. */
async function shares(sae: Sae, values: Float32Array): Promise<number[]> {
  const codes = await gpu.scope(() => sae.encode({ activations: Tensor.from(gpu, values, [examples, width]) }).read());
  return Array.from({ length: features }, (_, f) => Array.from({ length: examples }, (__, r) => (codes[r * features + f] !== 0 ? 1 : 0)).reduce<number>((a, b) => a + b, 0) / examples);
}

const near = (found: ArrayLike<number>, expected: readonly number[]): void => expected.forEach((share, f) => assert.ok(Math.abs(found[f]! - share) <= 1.01 / examples, `feature ${f}: ${found[f]} is not ${share}`));

test('frequencies are those of the last round, in snapshots those of the round that ended; of a tensor there are none', async () => {
  const data = new StreamedExamples(examples, width);
  const kinds: Pick<SaeJob, 'variant' | 'l1' | 'k'>[] = [{ l1: 1.5 }, { variant: 'topk', k: 3 }, { variant: 'batchtopk', k: 3 }];
  const jobs = kinds.map((kind, i): SaeJob => ({ name: `job ${i}`, data, seed: i, learningRate: 0.02, ...kind }));
  const settings = { features, epochs: 3, batch: 24, resampleAt: [], seed: 1 };
  let snapshots = 0;
  const { saes } = await trainSaes(gpu, jobs, {
    ...settings, stream: streamOf(data), snapshotEpochs: [2],
    onSnapshot: async (_epoch, own) => {
      for (const sae of own) {
        near(sae.frequencies!, await shares(sae, round(1)));
        snapshots++;
        sae.dispose();
      }
    },
  });
  assert.is(snapshots, 3);
  for (const sae of saes) {
    const [last, before] = [await shares(sae, round(2)), await shares(sae, round(1))];
    near(sae.frequencies!, last);
    assert.is(sae.metadata['sparsity_examples'], examples);
    assert.ok(last.some((share) => share > 0) && last.some((share) => share < 0.5) && last.some((share, f) => Math.abs(share - before[f]!) > 3 / examples), 'rounds differ');
    assert.ok('sparsity.safetensors' in await saeFiles(sae));
    sae.dispose();
  }
  const still = Tensor.from(gpu, round(0), [examples, width]);
  const { saes: [own] } = await trainSaes(gpu, [{ name: 'a', data: still, l1: 1, seed: 1 }], settings);
  assert.is(own!.frequencies, null);
  assert.equal(Object.keys(await saeFiles(own!)), ['cfg.json', 'sae_weights.safetensors']);
  for (const one of [own!, still]) one.dispose();
});

test.run();
