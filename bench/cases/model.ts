/** Whole passes of GPT-2: forward, resumed after an edit, decoding with a cache; and what recording small work costs. */
import type { Gpu } from '../../src/gpu/index.ts';
import type { Edit, Run } from '../../src/model/index.ts';
import { Tensor, add } from '../../src/tensor/index.ts';
import { inputs, picks, relative, sample } from '../numbers.ts';
import type { ForwardWork } from '../peers/peer.ts';
import type { Case, Prepared } from './case.ts';
import { SIZES, fixture, forwardBytes, forwardFlops, type Fixture, type ModelName } from './models.ts';
import { logit, referenceFinal, type ReferenceEdit } from './reference.ts';

const TOLERANCE = 1e-4;
/** Longest prompt that the float64 reference follows to its end; of longer ones it follows the beginning, which depends on nothing after it. */
const REFERENCE_POSITIONS = 19;
const LOGITS_CHECKED = 300;

/** Random prompts [batch, length]; the last is the first again, so that both ends of a batch can be checked by one reference. */
function prompts(name: ModelName, batch: number, length: number): Uint32Array {
  const ids = picks(batch * length, SIZES[name].vocabulary, 41);
  // The same first prompt for every length and batch, so that one reference serves them all.
  ids.set(picks(length, SIZES[name].vocabulary, 40));
  if (batch > 1) ids.copyWithin((batch - 1) * length, 0, length);
  return ids;
}

/** References of prompts and edits that were asked for before. */
const finals = new WeakMap<Fixture, Map<string, Float64Array>>();

function finalOf(from: Fixture, tokens: Uint32Array, edits: readonly ReferenceEdit[], key: string): Float64Array {
  const known = finals.get(from) ?? new Map<string, Float64Array>();
  finals.set(from, known);
  const full = `${key} ${tokens.join()}`;
  const final = known.get(full) ?? referenceFinal(from.weights, from.sizes, tokens, edits);
  known.set(full, final);
  return final;
}

/** Pairs of our logits and the reference's at one position; `row` [vocabulary] of ours. */
function pairsAt(from: Fixture, row: Float32Array, final: Float64Array, position: number): (readonly [number | undefined, number])[] {
  const { width, vocabulary } = from.sizes;
  const here = final.subarray(position * width, (position + 1) * width);
  return sample(vocabulary, LOGITS_CHECKED).map((id) => [row[id], logit(from.weights, here, id)] as const);
}

/** What a steady-state run of the engine records and allocates. */
async function steadyState(gpu: Gpu, run: () => void): Promise<Record<string, number>> {
  await gpu.idle();
  const before = gpu.counters();
  const memory = gpu.memory();
  run();
  gpu.flush();
  const after = gpu.counters();
  const now = gpu.memory();
  await gpu.idle();
  return {
    dispatches: after.dispatches - before.dispatches, submits: after.submits - before.submits,
    'new buffers': Math.max(0, now.liveBuffers + now.pooledBuffers - memory.liveBuffers - memory.pooledBuffers),
  };
}

function forwardCase(name: ModelName, batch: number, length: number, { all = false, long = false } = {}): Case {
  const sizes = SIZES[name];
  const rows = batch * length;
  const logits = all ? rows : batch;
  const cost = { rows, attended: (batch * length * (length + 1)) / 2, narrow: logits, logits };
  return {
    group: 'model', kernel: 'forward pass', shape: `${name}, ${batch}×${length}, ${all ? 'all' : 'last'} logits`, long, tolerance: TOLERANCE,
    flops: forwardFlops(sizes, cost), bytes: forwardBytes(sizes, cost),
    ...(name === 'GPT-2 Small' && length <= 128 ? { peerWork: (gpu: Gpu) => forwardWork(gpu, name, batch, length, all) } : {}),
    async prepare(gpu) {
      const from = await fixture(gpu, name);
      const ids = prompts(name, batch, length);
      const tokens = Tensor.from(gpu, ids, [batch, length], 'u32');
      const run = (): void => from.model.run(tokens, { logits: all ? 'all' : 'last' }).dispose();
      const checked = Math.min(length, REFERENCE_POSITIONS);
      return {
        run,
        async read() {
          // Of a prompt too long for the reference the same pass is asked for a position that the reference reaches.
          const done = from.model.run(tokens, { logits: all ? 'all' : length > checked ? new Array<number>(batch).fill(checked - 1) : 'last' });
          return done.logits!.read().finally(() => done.dispose());
        },
        error(result) {
          const final = finalOf(from, ids.slice(0, checked), [], 'clean');
          const row = (prompt: number, position: number): Float32Array => result.subarray(((all ? prompt * length + position : prompt)) * sizes.vocabulary).subarray(0, sizes.vocabulary);
          const places = all ? sample(checked, 6) : [checked - 1];
          return relative([0, batch - 1].flatMap((prompt) => places.flatMap((position) => pairsAt(from, row(prompt, position), final, position))));
        },
        figures: () => steadyState(gpu, run),
        dispose: () => tokens.dispose(),
      };
    },
  };
}

async function forwardWork(gpu: Gpu, name: ModelName, batch: number, length: number, all: boolean): Promise<ForwardWork> {
  const { layers, heads, width, mlpWidth, vocabulary, epsilon } = SIZES[name];
  return {
    op: 'forward', batch, positions: length, lastOnly: !all, layers, heads, model: width, hidden: mlpWidth, vocabulary, epsilon,
    tokens: Int32Array.from(prompts(name, batch, length)), weights: (await fixture(gpu, name)).weights,
  };
}

interface EditedHead { layer: number; head: number }
interface Resumed { what: string; heads: EditedHead[]; position: number; long?: boolean }

/** Edits of heads' outputs z at one position of every prompt: resumed from a kept clean run, against running everything anew. */
function resumedCase(name: ModelName, batch: number, length: number, { what, heads, position, long = false }: Resumed): Case {
  const sizes = SIZES[name];
  const d = sizes.width / sizes.heads;
  const first = Math.min(...heads.map((h) => h.layer));
  const carried = batch * (length - position);
  const attended = (batch * (length * (length + 1) - position * (position + 1))) / 2;
  const cost = { rows: carried, attended, from: first, narrow: batch, logits: batch };
  return {
    group: 'model', kernel: 'resumed run', shape: `${name}, ${batch}×${length}, ${what}`, long, tolerance: TOLERANCE,
    // The first block begins after its queries, keys and values: those are kept.
    flops: forwardFlops(sizes, cost) - 6 * carried * sizes.width ** 2, bytes: forwardBytes(sizes, cost),
    async prepare(gpu) {
      const from = await fixture(gpu, name);
      const ids = prompts(name, batch, length);
      const tokens = Tensor.from(gpu, ids, [batch, length], 'u32');
      const values = heads.map((_, i) => inputs(batch * d, 50 + i));
      // Both ends of the batch get the same edit, as they have the same tokens.
      for (const v of values) if (batch > 1) v.copyWithin((batch - 1) * d, 0, d);
      const tensors = values.map((v) => Tensor.from(gpu, v, [batch, d]));
      const edits = heads.map(({ layer, head }, i): Edit => ({ hook: `blocks.${layer}.attn.hook_z`, head, positions: position, values: tensors[i]! }));
      const clean: Run = from.model.run(tokens, { keep: true });
      const resumed = (): Run => from.model.run(tokens, { resume: clean, edits });
      return {
        run: () => resumed().dispose(),
        async read() {
          const run = resumed();
          return run.logits!.read().finally(() => run.dispose());
        },
        error(result) {
          const own = heads.map(({ layer, head }, i): ReferenceEdit => ({ layer, head, position, values: values[i]!.subarray(0, d) }));
          const final = finalOf(from, ids.slice(0, length), own, what);
          return relative([0, batch - 1].flatMap((prompt) => pairsAt(from, result.subarray(prompt * sizes.vocabulary, (prompt + 1) * sizes.vocabulary), final, length - 1)));
        },
        against: { 'full run': () => from.model.run(tokens, { edits }).dispose() },
        figures: () => steadyState(gpu, () => resumed().dispose()),
        dispose() {
          clean.dispose();
          for (const tensor of [tokens, ...tensors]) tensor.dispose();
        },
      };
    },
  };
}

/** Greedy decoding with a cache of keys and values: one token at a time, each read back before the next. */
function decodeCase(name: ModelName, prompt: number, count: number, long = false): Case {
  const sizes = SIZES[name];
  const cost = { rows: 1, attended: prompt + count / 2, narrow: 1, logits: 1 };
  return {
    group: 'model', kernel: 'decoding', shape: `${name}, a token after ${prompt} to ${prompt + count}`, long, tolerance: TOLERANCE,
    note: 'by the wall clock; the first use is the whole generation',
    flops: forwardFlops(sizes, cost), bytes: forwardBytes(sizes, cost),
    async prepare(gpu) {
      const from = await fixture(gpu, name);
      const ids = Array.from(picks(prompt, sizes.vocabulary, 42));
      let promptMs = 0;
      const generate = async (onToken?: () => void): Promise<number[]> => from.model.generate(ids, { count: count + 1, onToken });
      const prepared: Prepared = {
        run: async () => void await generate(),
        read: async () => Float32Array.from(await generate()),
        // Held against the full pass over the same tokens, itself checked: by how much the token taken falls short of the likeliest.
        async error(result) {
          const whole = [...ids, ...result];
          const run = from.model.run([whole], { logits: 'all' });
          const logits = await run.logits!.read().finally(() => run.dispose());
          return Math.max(...Array.from(result, (id, i) => {
            const row = logits.subarray((prompt - 1 + i) * sizes.vocabulary, (prompt + i) * sizes.vocabulary);
            const most = row.reduce((a, b) => Math.max(a, b));
            return (most - row[id]!) / Math.abs(most);
          }));
        },
        async time() {
          const stamps: number[] = [performance.now()];
          await generate(() => void stamps.push(performance.now()));
          promptMs = stamps[1]! - stamps[0]!;
          return (stamps.at(-1)! - stamps[1]!) / (stamps.length - 2);
        },
        figures: (ms) => ({ 'tokens a second': 1000 / ms, 'ms to the first token': promptMs }),
        dispose() {},
      };
      return prepared;
    },
  };
}

/** Recording: many dispatches with next to nothing to do, each with a tensor of its own, in one submit. */
function recordingCase(count: number): Case {
  const size = 256;
  return {
    group: 'model', kernel: 'recording', shape: `a dispatch of ${size} sums, of ${count.toLocaleString('en')} in one submit`,
    // The work is nothing beside the recording: no ceiling of the arithmetic or the memory says anything here.
    flops: 0, bytes: 0,
    note: 'by the wall clock: recording, submitting and running',
    prepare(gpu) {
      const [x, y] = [inputs(size, 61), inputs(size, 62)];
      const [a, b] = [Tensor.from(gpu, x, [size]), Tensor.from(gpu, y, [size])];
      const run = (): void => add(a, b).dispose();
      return {
        run,
        async read() {
          const sum = add(a, b);
          return sum.read().finally(() => sum.dispose());
        },
        error: (result) => relative(sample(size, size).map((i) => [result[i], x[i]! + y[i]!] as const)),
        async time() {
          await gpu.idle();
          const start = performance.now();
          for (let i = 0; i < count; i++) run();
          await gpu.idle();
          return (performance.now() - start) / count;
        },
        async figures(ms) {
          return { 'dispatches a second': 1000 / ms, ...await steadyState(gpu, () => { for (let i = 0; i < count; i++) run(); }) };
        },
        dispose() {
          a.dispose();
          b.dispose();
        },
      };
    },
  };
}

/** The name movers and their backups in the published circuit of GPT-2 Small (Wang et al. 2022, arXiv 2211.00593), layers 9 to 11. */
const NAME_MOVERS: EditedHead[] = ([[9, 6], [9, 9], [10, 0], [9, 0], [9, 7], [10, 1], [10, 2], [10, 6], [10, 10], [11, 2], [11, 9]] as const).map(([layer, head]) => ({ layer, head }));

export function modelCases(): Case[] {
  const last = 18;
  return [
    forwardCase('ioi-mini', 64, 19), forwardCase('GPT-2 Small', 1, 19), forwardCase('GPT-2 Small', 1, 128, { all: true }),
    forwardCase('GPT-2 Small', 64, 19, { long: true }), forwardCase('GPT-2 Small', 8, 1024, { long: true }),
    resumedCase('ioi-mini', 64, 19, { what: 'name movers’ z at the last position', heads: [{ layer: 2, head: 0 }, { layer: 2, head: 1 }, { layer: 3, head: 2 }], position: last }),
    resumedCase('ioi-mini', 64, 19, { what: 'one head’s z of layer 0 at position 4', heads: [{ layer: 0, head: 1 }], position: 4 }),
    resumedCase('GPT-2 Small', 8, 19, { what: 'name movers’ z at the last position', heads: NAME_MOVERS, position: last }),
    resumedCase('GPT-2 Small', 64, 19, { what: 'name movers’ z at the last position', heads: NAME_MOVERS, position: last, long: true }),
    resumedCase('GPT-2 Small', 64, 19, { what: 'one head’s z of layer 9 at the last position', heads: [{ layer: 9, head: 9 }], position: last, long: true }),
    resumedCase('GPT-2 Small', 64, 19, { what: 'one head’s z of layer 2 at position 10', heads: [{ layer: 2, head: 3 }], position: 10, long: true }),
    decodeCase('ioi-mini', 12, 16), decodeCase('GPT-2 Small', 19, 16),
    recordingCase(1000),
  ];
}
