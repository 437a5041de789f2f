/** Activations on text: those of the model at every token that counts, in rounds that can be made again; and training on them that goes on bit for bit. */
import * as assert from 'uvu/assert';
import { UnknownSiteError, UsageError } from '../../src/errors.ts';
import { memorySource, readDocuments } from '../../src/files/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { openSource } from '../../src/node.ts';
import { packDefaults, TextActivations, TokenRows, trainSaes, type PackSettings, type PackState, type SaeJob, type StreamSite, type TextActivationsOptions, type TrainOptions } from '../../src/training/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('activations on text');
const gpu = await testGpu();
const SITES: StreamSite[] = [{ hook: 'blocks.1.hook_resid_post' }, { hook: 'blocks.0.attn.hook_z', head: 2 }];
const BOS = 1;
const documents = Array.from({ length: 30 }, (_, i) => Array.from(random(5 + (i * 7) % 23, i), (value) => 2 + Math.floor(Math.abs(value) * 90)));
const text = memorySource({ 'a.json': new TextEncoder().encode(JSON.stringify(documents)) });
const pack: PackSettings = { ...packDefaults, context: 12, bos: BOS, separator: BOS, heldOut: 0 };

/** The examples of a round as they come, site by site. */
async function roundOf(stream: TextActivations, number: number): Promise<Float32Array[]> {
  const out = stream.data.map(({ size }) => new Float32Array(size).fill(NaN));
  const parts: { site: number; at: number; values: Promise<Float32Array> }[] = [];
  await stream.fill(number, (data, rows, at) => parts.push({ site: stream.data.indexOf(data), at: at * rows.shape[1]!, values: rows.read() }));
  for (const { site, at, values } of parts) out[site]!.set(await values, at);
  return out;
}

async function open(own: Partial<TextActivationsOptions> = {}, settings = pack): Promise<{ model: Gpt2; stream: TextActivations }> {
  const model = await Gpt2.load(gpu, openSource('models/ioi-mini'));
  const rows = (state?: PackState) => new TokenRows((from) => readDocuments([{ source: text, path: 'a.json' }], {}, from), settings, { state, vocabulary: model.config.vocabulary });
  return { model, stream: new TextActivations(model, { sites: SITES, examples: 64, open: rows, special: [BOS], batch: 3, ...own }) };
}

test('a round holds what the model computes at every token that counts, in the order of the text', async () => {
  const { model, stream } = await open();
  const data = await roundOf(stream, 0);
  const reader = new TokenRows((from) => readDocuments([{ source: text, path: 'a.json' }], {}, from), pack);
  const expected: number[][][] = SITES.map(() => []);
  const { heads, headWidth, width } = model.config;
  while (expected[0]!.length < 64) {
    const row = [...(await reader.read())!];
    // One row at a time, every hook by itself.
    for (const [i, { hook, head }] of SITES.entries()) {
      const run = model.run([row], { cache: hook });
      const values = await run.get(hook).read();
      row.forEach((id, t) => {
        if (id === BOS) return;
        expected[i]!.push([...(head === undefined ? values.subarray(t * width, (t + 1) * width) : values.subarray((t * heads + head) * headWidth, (t * heads + head + 1) * headWidth))]);
      });
      run.dispose();
    }
  }
  for (const [i, values] of data.entries()) {
    expected[i]!.slice(0, 64).flat().forEach((value, at) => assert.ok(Math.abs(value - values[at]!) < 1e-4 * Math.max(1, Math.abs(value)), `${SITES[i]!.hook} ${at}: ${values[at]} ${value}`));
  }
  model.dispose();
});

test('rounds follow one another through the text and begin it again; any of them is made again to the bit', async () => {
  const { model, stream } = await open();
  const rounds: Float32Array[] = [];
  const states: string[] = [];
  for (let round = 0; round < 8; round++) {
    states.push(JSON.stringify(stream.state(round)));
    rounds.push((await roundOf(stream, round))[0]!);
    assert.is(JSON.stringify(stream.state(round)), states[round]);
  }
  assert.ok(stream.passes > 1, `${stream.passes} passes`);
  assert.is(stream.tokens.counted, 8 * 64);
  for (const round of [0, 3, 7]) {
    const { model: other, stream: again } = await open();
    again.restore(JSON.parse(states[round]!));
    assert.equal((await roundOf(again, round))[0], rounds[round], `round ${round}`);
    other.dispose();
  }
  model.dispose();
});

test('training on a stream, interrupted anywhere, ends with the bits of one that was not', async () => {
  const settings: TrainOptions = { features: 16, epochs: 5, batch: 16, warmupSteps: 4, resampleAt: [0.4], seed: 3 };
  const run = async (options: Partial<TrainOptions>) => {
    const { model, stream } = await open({ sites: SITES.slice(1) });
    const jobs: SaeJob[] = [{ name: 'a', data: stream.data[0]!, l1: 0.5, seed: 1 }, { name: 'b', variant: 'topk', data: stream.data[0]!, k: 3, seed: 2 }];
    const result = await trainSaes(gpu, jobs, { ...settings, stream, ...options });
    const bits = await Promise.all(result.saes.flatMap(({ weights }) => [weights.encoder, weights.decoder, weights.encoderBias, weights.decoderBias].map((tensor) => tensor.read())));
    for (const sae of result.saes) sae.dispose();
    model.dispose();
    return { ...result, bits };
  };
  const whole = await run({});
  assert.is(whole.steps, 20);
  // In a round, at the end of one (where the next is yet to be read), and in the last.
  for (const at of [2, 4, 8, 17]) {
    let checkpoint: Uint8Array | null = null;
    await run({ checkpointEvery: at, onCheckpoint: (bytes, step) => { if (step === at) checkpoint = bytes; } });
    const resumed = await run({ resume: checkpoint! });
    assert.equal(resumed.bits, whole.bits, `from step ${at}`);
    assert.equal(resumed.final, whole.final);
  }
  // The examples are fresh in every round: what was learnt is not what one round alone teaches.
  const { model, stream } = await open({ sites: SITES.slice(1) });
  const [first] = await roundOf(stream, 0);
  const still = Tensor.from(gpu, first!, stream.data[0]!.shape);
  const one = await trainSaes(gpu, [{ name: 'a', data: still, l1: 0.5, seed: 1 }], settings);
  assert.not.equal(await one.saes[0]!.weights.encoder.read(), whole.bits[0]);
  one.saes[0]!.dispose();
  still.dispose();
  model.dispose();
});

test('hooks without tokens or heads, too little text, and checkpoints without a place are refused', async () => {
  const { model, stream } = await open();
  const make = (site: StreamSite) => () => new TextActivations(model, { sites: [site], examples: 8, open: () => assert.unreachable() as never, batch: 1 });
  await refusal(make({ hook: 'blocks.9.hook_resid_post' }), UnknownSiteError);
  assert.match(await refusal(make({ hook: 'blocks.0.hook_resid_post', head: 1 }), UsageError), /has no heads/);
  assert.match(await refusal(make({ hook: 'blocks.0.attn.hook_pattern' }), UsageError), /no activation for each token/);
  assert.match(await refusal(() => stream.restore(undefined), UsageError), /does not say where reading/);
  model.dispose();
  const short = await open({}, { ...pack, context: 200, concatenate: false });
  assert.match(await refusal(() => short.stream.fill(0, () => {}), UsageError), /does not fill one row of tokens/);
  short.model.dispose();
});

test.run();
