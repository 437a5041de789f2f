/** Does a model give the numbers that are known of it? Each known value is measured by itself; one that the model cannot give is not applicable, never passed. */
import { Tensor } from '../tensor/index.ts';
import type { Gpt2 } from './gpt2.ts';
import type { IoiPair, KnownInput, KnownValue } from './known-values.ts';
import type { Verified } from './verify.ts';

/** See verifyModel. */
export async function measureValues(model: Gpt2, values: readonly KnownValue[], onProgress?: (done: number, total: number) => void): Promise<Verified[]> {
  const found: Verified[] = [];
  // Many values are of the same prompts; what the model makes of these without any edit is found once.
  const runs = new Map<readonly IoiPair[], PairRuns>();
  const runsOf = (pairs: readonly IoiPair[]): PairRuns => {
    if (!runs.has(pairs)) runs.set(pairs, new PairRuns(model, pairs));
    return runs.get(pairs)!;
  };
  for (const [i, known] of values.entries()) {
    found.push(await verifyOne(model, known, runsOf));
    onProgress?.(i + 1, values.length);
  }
  return found;
}

async function verifyOne(model: Gpt2, known: KnownValue, runsOf: (pairs: readonly IoiPair[]) => PairRuns): Promise<Verified> {
  const { what, source } = known;
  const base = { what, source, expected: expectedOf(known), tolerance: 'tolerance' in known ? known.tolerance : null };
  const reason = hindrance(model, known);
  if (reason) return { ...base, measured: '', status: 'not applicable', reason };
  const measured = await measure(model, known, runsOf);
  const ok = 'tolerance' in known ? Math.abs((measured as number) - known.value) <= known.tolerance : String(measured) === base.expected;
  return { ...base, measured: typeof measured === 'number' ? String(Number(measured.toPrecision(8))) : measured, status: ok ? 'ok' : 'failed', reason: '' };
}

function expectedOf(known: KnownValue): string {
  if ('value' in known) return String(known.value);
  if (known.kind === 'next') return String(known.id);
  return known.kind === 'greedy text' ? known.text : known.ids.join(' ');
}

/** Why a model cannot give a value; empty where it can. */
function hindrance({ tokenizer, config }: Gpt2, known: KnownValue): string {
  const input = 'input' in known ? known.input : null;
  const reads = known.kind === 'ids' || known.kind === 'greedy text' || known.kind === 'indirect object' || (input !== null && 'text' in input);
  if (reads && !tokenizer) return 'there is no tokenizer.json';
  if (((input && 'bos' in input && input.bos) || known.kind === 'indirect object') && tokenizer?.bos == null) return 'the tokenizer has no beginning-of-sequence token';
  const [layer, head] = known.kind === 'previous token' ? [known.layer, known.head] : known.kind === 'indirect object' ? known.head ?? [0, 0] : [0, 0];
  if (layer >= config.layers || head >= config.heads) return `the model has ${config.layers} layers of ${config.heads} heads`;
  const ids = input && 'tokens' in input ? input.tokens : [];
  if (ids.some((id) => id >= config.vocabulary) || ('id' in known && known.id >= config.vocabulary)) return `the vocabulary has ${config.vocabulary} tokens`;
  if (known.kind === 'indirect object' && known.pairs.some(({ answers }) => answers.some((answer) => tokenizer!.encode(answer).length !== 1))) return 'the names are not single tokens';
  return '';
}

function idsOf({ tokenizer }: Gpt2, input: KnownInput): number[] {
  if ('tokens' in input) return [...input.tokens];
  return [...(input.bos ? [tokenizer!.bos!] : []), ...tokenizer!.encode(input.text)];
}

async function measure(model: Gpt2, known: KnownValue, runsOf: (pairs: readonly IoiPair[]) => PairRuns): Promise<number | string> {
  switch (known.kind) {
    case 'ids': return model.tokenizer!.encode(known.text).join(' ');
    case 'greedy': return (await model.generate(idsOf(model, known.input), { count: known.ids.length, temperature: 0 })).join(' ');
    case 'greedy text': return model.tokenizer!.decode(await model.generate(idsOf(model, known.input), { count: model.tokenizer!.encode(known.text).length, temperature: 0 }));
    case 'next': {
      const logits = await lastLogits(model, [idsOf(model, known.input)]);
      return String(logits.indexOf(logits.reduce((most, value) => Math.max(most, value), -Infinity)));
    }
    case 'logit': return (await lastLogits(model, [idsOf(model, known.input)]))[known.id]!;
    case 'loss': return loss(model, idsOf(model, known.input));
    case 'activation': return (await cached(model, [idsOf(model, known.input)], known.hook))[0]!;
    case 'previous token': {
      const ids = idsOf(model, known.input);
      const pattern = await cached(model, [ids], `blocks.${known.layer}.attn.hook_pattern`);
      const n = ids.length;
      let sum = 0;
      for (let query = 1; query < n; query++) sum += pattern[(known.head * n + query) * n + query - 1]!;
      return sum / (n - 1);
    }
    case 'indirect object': return indirectObject(runsOf(known.pairs), known);
  }
}

async function cached(model: Gpt2, tokens: readonly number[][], hook: string): Promise<Float32Array> {
  return model.gpu.scope(async () => {
    const run = model.run(tokens, { cache: hook, logits: 'none' });
    const values = await run.get(hook).read();
    run.dispose();
    return values;
  });
}

async function lastLogits(model: Gpt2, tokens: readonly number[][], options: Parameters<Gpt2['run']>[1] = {}): Promise<Float32Array> {
  return model.gpu.scope(async () => {
    const run = model.run(tokens, options);
    const values = await run.logits!.read();
    run.dispose();
    return values;
  });
}

/** Mean over positions of −log p(next token). */
async function loss(model: Gpt2, ids: number[]): Promise<number> {
  const { vocabulary } = model.config;
  const logits = await lastLogits(model, [ids], { logits: 'all' });
  let sum = 0;
  for (let at = 0; at + 1 < ids.length; at++) {
    const row = logits.subarray(at * vocabulary, (at + 1) * vocabulary);
    const most = row.reduce((highest, value) => Math.max(highest, value), -Infinity);
    sum += most + Math.log(row.reduce((total, value) => total + Math.exp(value - most), 0)) - row[ids[at + 1]!]!;
  }
  return sum / (ids.length - 1);
}

/** Prompts of every pair in both orders, each beside the one that it is patched from, and what the model makes of them: found when first asked for, then kept. */
class PairRuns {
  readonly model: Gpt2;
  readonly clean: number[][];
  readonly other: number[][];
  /** ids of each prompt's right and wrong answer */
  private readonly answers: number[][];
  private readonly kept = new Map<string, Promise<unknown>>();

  constructor(model: Gpt2, pairs: readonly IoiPair[]) {
    const { tokenizer } = model;
    const ids = (text: string): number[] => [tokenizer!.bos!, ...tokenizer!.encode(text)];
    this.model = model;
    this.clean = pairs.flatMap(({ prompts }) => prompts.map(ids));
    this.other = pairs.flatMap(({ prompts }) => [ids(prompts[1]), ids(prompts[0])]);
    this.answers = pairs.flatMap(({ answers: [a, b] }) => [[a, b], [b, a]]).map((both) => both.map((name) => tokenizer!.encode(name!)[0]!));
  }

  /** Mean logit difference of the prompts as they are, or of those that they are patched from. */
  plain(of: 'clean' | 'other'): Promise<number> {
    return this.once(of, () => this.difference(this[of]));
  }

  /** The output of all heads of a layer on the clean prompts, [prompts, positions, heads, head width]. */
  z(layer: number): Promise<Float32Array> {
    return this.once(`z${layer}`, () => cached(this.model, this.clean, `blocks.${layer}.attn.hook_z`));
  }

  /** Mean logit difference of tokens in place of the clean prompts. */
  async difference(tokens: number[][], options: Parameters<Gpt2['run']>[1] = {}): Promise<number> {
    const { vocabulary } = this.model.config;
    const logits = await lastLogits(this.model, tokens, options);
    return this.answers.reduce((sum, [right, wrong], i) => sum + logits[i * vocabulary + right!]! - logits[i * vocabulary + wrong!]!, 0) / this.answers.length;
  }

  private once<T>(key: string, make: () => Promise<T>): Promise<T> {
    if (!this.kept.has(key)) this.kept.set(key, make());
    return this.kept.get(key) as Promise<T>;
  }
}

/** Mean logit difference, or with a head the share of it that the head's output on the clean prompts brings back. */
async function indirectObject(runs: PairRuns, { corrupted = false, head }: { corrupted?: boolean; head?: readonly [number, number] }): Promise<number> {
  if (!head) return runs.plain(corrupted ? 'other' : 'clean');
  const { model: { gpu, config: { heads, headWidth } }, clean, other } = runs;
  const [full, none, z] = [await runs.plain('clean'), await runs.plain('other'), await runs.z(head[0])];
  const rows = z.length / (heads * headWidth);
  const own = new Float32Array(rows * headWidth);
  for (let row = 0; row < rows; row++) own.set(z.subarray((row * heads + head[1]) * headWidth, (row * heads + head[1] + 1) * headWidth), row * headWidth);
  const values = Tensor.from(gpu, own, [clean.length, rows / clean.length, headWidth]);
  try {
    return (await runs.difference(other, { edits: [{ hook: `blocks.${head[0]}.attn.hook_z`, head: head[1], values }] }) - none) / (full - none);
  } finally {
    values.dispose();
  }
}
