/**
 * Training on text from end to end: text is read, cut into tokens and packed, the model runs on it as deep as the site needs, and a dictionary
 * learns from the activations, without the loss of dead features, which a row of its own would be. Steady state: the first round, in which
 * everything is compiled and measured, is left out.
 */
import type { Gpu } from '../../src/gpu/index.ts';
import { memorySource, readDocuments } from '../../src/files/index.ts';
import { packDefaults, TextActivations, TokenRows, trainSaes, type PackState, type StreamSite } from '../../src/training/index.ts';
import { picks, relative } from '../numbers.ts';
import type { Case } from './case.ts';
import { fixture, SIZES } from './models.ts';

const CONTEXT = 128;
const K = 32;
/** Rounds that are timed. */
const ROUNDS = 2;
/** Tokens of a document of the text, and documents. */
const DOCUMENT = 300;
const DOCUMENTS = 200;
const TOLERANCE = 1e-4;

interface TextCase {
  site: StreamSite;
  /** Whole blocks that the site needs, and whether it is the z of the next one. */
  blocks: number;
  z: boolean;
  width: number;
  features: number;
  /** Tokens of a step, and steps of a round. */
  batch: number;
  steps: number;
  long?: boolean;
}

/** Seconds of a round's parts. */
interface Split { wall: number; model: number; text: number }

/** Operations of so many tokens in rows of CONTEXT. */
function passFlops({ blocks, z }: TextCase, tokens: number): number {
  const { width: D, mlpWidth: M } = SIZES['GPT-2 Small'];
  const attention = tokens * 3 * D * D + tokens * (CONTEXT + 1) * D;
  return 2 * (blocks * (attention + tokens * (D * D + 2 * D * M)) + (z ? attention : 0));
}

/** Of a step: the encoder is dense; decoder, the codes' gradient and those of both matrices follow the active features. */
function stepFlops({ width, features }: TextCase, tokens: number): number {
  return 2 * tokens * width * (features + 4 * K);
}

/** Of the steps of a round: Adam reads and writes every parameter, its gradient and its moments. */
function stepBytes({ width, features, steps }: TextCase): number {
  return steps * 28 * (2 * features * width + features + width);
}

function textCase(item: TextCase): Case {
  const { site, width, features, batch, steps, long = false } = item;
  const tokens = batch * steps;
  return {
    group: 'training', kernel: 'training on text', long, tolerance: TOLERANCE,
    shape: `${width} to ${features}, top ${K}, at ${site.hook}${site.head === undefined ? '' : `.${site.head}`} of GPT-2 Small, ${batch} tokens a step`,
    flops: passFlops(item, tokens) + stepFlops(item, tokens), bytes: stepBytes(item),
    async prepare(gpu: Gpu) {
      const { model } = await fixture(gpu, 'GPT-2 Small');
      const { tokenizer } = (await fixture(gpu, 'ioi-mini')).model;
      if (!tokenizer) throw new Error('the embedded model has no tokenizer');
      const ids = picks(DOCUMENTS * DOCUMENT, SIZES['ioi-mini'].vocabulary, 51);
      const lines = Array.from({ length: DOCUMENTS }, (_, i) => JSON.stringify({ text: tokenizer.decode([...ids.subarray(i * DOCUMENT, (i + 1) * DOCUMENT)]) }));
      const source = memorySource({ 'text.jsonl': new TextEncoder().encode(`${lines.join('\n')}\n`) });
      const bos = model.config.bos!;
      const open = (state?: PackState): TokenRows => new TokenRows((from) => readDocuments([{ source, path: 'text.jsonl' }], {}, from), { ...packDefaults, context: CONTEXT, bos, separator: bos },
        { state, vocabulary: model.config.vocabulary, encode: (text) => tokenizer.encode(text) });
      const streamOf = (examples: number): TextActivations => new TextActivations(model, { sites: [site], examples, open, special: [bos], batch: Math.max(1, Math.round(batch / CONTEXT)) });
      let split: Split = { wall: 0, model: 0, text: 0 };
      let bytes = 0;
      return {
        // The check runs this first; a few steps compile all there is.
        run: async () => { await train(1); },
        async read() {
          const rows: Promise<Float32Array>[] = [];
          await streamOf(CONTEXT).fill(0, (_, values) => rows.push(values.read()));
          return (await rows[0])!;
        },
        async error(result) {
          const row = [...(await open().read())!];
          const run = model.run([row], { cache: site.hook, logits: 'none' });
          const all = await run.get(site.hook).read();
          run.dispose();
          const stride = all.length / CONTEXT;
          const counted = row.flatMap((id, at) => (id === bos ? [] : [at]));
          return relative(counted.flatMap((at, i) => Array.from({ length: width }, (_, c) => [result[i * width + c], all[at * stride + (site.head ?? 0) * (site.head === undefined ? 0 : width) + c]!] as const)));
        },
        async time() {
          split = await train(ROUNDS);
          return (split.wall / ROUNDS) * 1000;
        },
        figures(ms, ceilings) {
          const [model, text] = [split.model / ROUNDS, split.text / ROUNDS];
          const step = ms / 1000 - model - text;
          const share = (seconds: number): number => (100_000 * seconds) / ms;
          const ofCeiling = (flops: number, bytes: number, seconds: number): number => (100 * Math.max(flops / (ceilings.gflops * 1e9), bytes / (ceilings.copyGBps * 1e9))) / seconds;
          return {
            'tokens a second': (1000 * tokens) / ms, '% of time: model': share(model), '% of time: dictionary': share(step), '% of time: waiting for text': share(text),
            '% of ceiling: model': ofCeiling(passFlops(item, tokens), 0, model), '% of ceiling: dictionary': ofCeiling(stepFlops(item, tokens), stepBytes(item), step),
            'MB at most on the device, beside the models': bytes / 1e6,
          };
        },
        dispose() {},
      };

      /** Trains through `rounds` rounds after a first one, and tells how long they took. */
      async function train(rounds: number): Promise<Split> {
        const stream = streamOf(tokens);
        const before = gpu.memory().live;
        const at: Split[] = [];
        const { saes } = await trainSaes(gpu, [{ name: 'sae', variant: 'topk', data: stream.data[0]!, k: K, seed: 1 }], {
          features, batch, epochs: rounds + 1, resampleAt: [], warmupSteps: 0, learningRate: 1e-4, auxiliaryCoefficient: 0, centre: true, stream,
          onLog() { at.push({ wall: performance.now() / 1000, model: stream.seconds.model, text: stream.seconds.text }); },
          onStep() { bytes = Math.max(bytes, gpu.memory().live - before); },
        });
        for (const sae of saes) sae.dispose();
        const [first, last] = [at[0]!, at.at(-1)!];
        return { wall: last.wall - first.wall, model: last.model - first.model, text: last.text - first.text };
      }
    },
  };
}

export function textTrainingCases(): Case[] {
  return [
    textCase({ site: { hook: 'blocks.0.attn.hook_z', head: 1 }, blocks: 0, z: true, width: 64, features: 8192, batch: 1024, steps: 4 }),
    textCase({ site: { hook: 'blocks.0.hook_resid_post' }, blocks: 1, z: false, width: 768, features: 24576, batch: 1024, steps: 2, long: true }),
    textCase({ site: { hook: 'blocks.0.hook_resid_post' }, blocks: 1, z: false, width: 768, features: 131072, batch: 256, steps: 2, long: true }),
  ];
}
