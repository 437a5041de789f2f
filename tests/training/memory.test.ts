/** What a run is said to take beforehand is what it takes; and dictionaries that no binding holds whole are trained, stopped and resumed as others are. */
import * as assert from 'uvu/assert';
import { suite } from 'uvu';
import { LimitError } from '../../src/errors.ts';
import { openGpu, type Gpu } from '../../src/node.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { stepMemory } from '../../src/tensor/sae-memory.ts';
import { SaeStep } from '../../src/tensor/sae-step.ts';
import { groupJobs } from '../../src/training/plan.ts';
import { checkSettings, runMemory, trainSaes, type SaeJob, type TrainOptions, type TrainSettings, type TrainVariant } from '../../src/training/index.ts';
import { sizeClass } from '../../src/gpu/index.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = suite('memory of training, and wide dictionaries');

const jobOf = (data: SaeJob['data'], variant: TrainVariant, seed = 1): SaeJob => ({ name: `${variant} ${seed}`, data, variant, seed, ...(variant.endsWith('topk') ? { k: 4 } : { l1: 0.3 }) });

/** Live bytes and peak of a run, beside what its device held before. */
async function measured(gpu: Gpu, variants: readonly TrainVariant[], [examples, width]: readonly [number, number], options: TrainOptions): Promise<{ found: number; said: number }> {
  const data = gpu.keep(Tensor.from(gpu, random(examples * width, 5), [examples, width]));
  const jobs = variants.map((variant, i) => jobOf(data, variant, i));
  await gpu.trim();
  const { saes } = await trainSaes(gpu, jobs, options);
  const found = gpu.memory().peak - sizeClass(data.byteLength);
  for (const sae of saes) sae.dispose();
  data.dispose();
  const { onStep, ...settings } = options;
  return { found, said: runMemory(jobs, checkSettings(settings as Partial<TrainSettings>), { ...gpu.limits, software: gpu.software }).total };
}

/** A device for each, because a peak stays. */
for (const [name, variants, sizes, options, windowBytes] of [
  ['vanilla and topk', ['vanilla', 'vanilla', 'topk'], [700, 64], { features: 1024 }, undefined],
  ['gated and jumprelu at an odd width', ['gated', 'jumprelu'], [300, 30], { features: 700, deadAfter: 500 }, undefined],
  ['frozen and free topk, balanced', ['frozen', 'topk'], [500, 48], { features: 900, topkDecoder: 'free', encoderStart: 'balanced' }, undefined],
  ['a vanilla one in windows', ['vanilla'], [300, 64], { features: 1500, encoderStart: 'balanced' }, 131072],
  ['a topk one in windows', ['topk'], [300, 64], { features: 1500 }, 131072],
] as const) {
  test(`the formula is within a tenth of what a run takes: ${name}`, async () => {
    const gpu = await openGpu({ windowBytes });
    const { found, said } = await measured(gpu, variants, sizes, { batch: 100, epochs: 2, resampleAt: [0.5], ...options } as TrainOptions);
    gpu.destroy();
    assert.ok(Math.abs(said / found - 1) < 0.1, `${said} bytes were said, ${found} found: ${said / found}`);
  });
}

test('the list of a step\'s buffers is that of its constructor', async () => {
  const small = await openGpu({ windowBytes: 32768 });
  for (const variant of ['vanilla', 'gated', 'topk', 'batchtopk', 'jumprelu'] as const) for (const [D, F, n] of [[3, 64, 10], [1, 600, 20]] as const) for (const software of [true, false]) {
    const sizes = { dictionaries: D, features: F, width: 16, maxRows: n };
    const auxiliary = variant.endsWith('topk');
    const before = small.memory().live;
    const step = new SaeStep(small, sizes, { variant, software, ...(auxiliary ? { auxiliary: { k: 3, coefficient: 1 } } : {}) });
    assert.is(step.featureWindows.length > 1, D === 1);
    const said = Object.values(stepMemory(sizes, { variant, auxiliary }, small.limits, software)).flat().reduce((sum, count) => sum + sizeClass(4 * count), 0);
    assert.is(said, small.memory().live - before, `${variant}, ${D} of ${F}, software ${software}`);
    step.dispose();
  }
  small.destroy();
});

const wide = { features: 400, batch: 30, epochs: 4, resampleAt: [0.5], learningRate: 3e-3, clipNorm: 5, deadAfter: 100, l1WarmupSteps: 3 } as const;

test('a run in windows comes to what one without does, and goes on from a checkpoint bit for bit', async () => {
  const [whole, small] = [await openGpu(), await openGpu({ windowBytes: 32768 })];
  const values = random(90 * 24, 9);
  for (const variant of ['vanilla', 'batchtopk'] as const) {
    const run = async (gpu: Gpu, options: TrainOptions = {}): Promise<{ weights: Record<string, readonly number[]>; loss: number; checkpoint: Uint8Array | null }> => {
      const data = gpu.keep(Tensor.from(gpu, values, [90, 24]));
      const { saes, final, checkpoint } = await trainSaes(gpu, [jobOf(data, variant)], { ...wide, ...options });
      const weights = Object.fromEntries(await Promise.all(Object.entries(saes[0]!.weights).map(async ([part, t]) => [part, [...await (t as Tensor).read()]] as const)));
      saes[0]!.dispose();
      data.dispose();
      return { weights, loss: final[0]!.loss, checkpoint };
    };
    const [one, cut] = [await run(whole, { epochs: 2, resampleAt: [] }), await run(small, { epochs: 2, resampleAt: [] })];
    for (const [part, expected] of Object.entries(one.weights)) {
      // Adam's first steps have the length of the rate whatever a gradient's, so that rounding near zero can turn a few.
      const off = expected.filter((v, i) => Math.abs(v - cut.weights[part]![i]!) > 1e-4).length;
      assert.ok(off <= 0.01 * expected.length, `${variant} ${part}: ${off} of ${expected.length} differ, by ${relativeError(cut.weights[part]!, expected)} in all`);
    }
    assert.ok(Math.abs(cut.loss / one.loss - 1) < 1e-3, `${variant}: loss ${cut.loss} instead of ${one.loss}`);
    const straight = await run(small);
    const stop = new AbortController();
    const half = await run(small, { signal: stop.signal, onStep: (done) => { if (done >= 4) stop.abort(); } });
    assert.ok(half.checkpoint);
    const resumed = await run(small, { resume: half.checkpoint! });
    assert.equal(resumed.weights, straight.weights, variant);
  }
  whole.destroy();
  small.destroy();
});

test('what is read back in parts is what was written', async () => {
  const small = await openGpu({ windowBytes: 4096 });
  const values = random(50001, 3);
  const tensor = Tensor.from(small, values, [50001]);
  const [found, again] = [tensor.read(), tensor.read()];
  // Recorded after the reads: not to be seen by them.
  small.clear(tensor, tensor.byteLength);
  assert.equal(await found, values);
  assert.equal(await again, values);
  assert.ok((await tensor.read()).every((v) => v === 0));
  tensor.dispose();
  small.destroy();
});

test('a dictionary of 131,072 features is cut, unless a buffer cannot hold a matrix', () => {
  const data = { shape: [1000, 768], size: 768000 } as unknown as SaeJob['data'];
  const limits = { bindingBytes: 128 * 2 ** 20, bufferBytes: 2 ** 31 };
  for (const [features, batches] of [[12288, [[0, 1]]], [131072, [[0], [1]]]] as const) assert.equal(groupJobs(limits, [0, 1].map((seed) => jobOf(data, 'vanilla', seed)), features, 256), [{ jobs: [0, 1], batches }]);
  assert.throws(() => groupJobs({ ...limits, bufferBytes: 2 ** 28 }, [jobOf(data, 'vanilla')], 131072, 256), (e: unknown) => e instanceof LimitError && /vanilla 1.*402653184 bytes.*268435456/.test(e.message));
  const { total, terms } = runMemory([jobOf(data, 'vanilla')], checkSettings({ features: 131072, batch: 256 }), { ...limits, software: true });
  assert.ok(total > 8 * 402653184 && total < 12 * 402653184);
  assert.is(terms.reduce((sum, { bytes }) => sum + bytes, 0), total);
});

test.run();
