import * as assert from 'uvu/assert';
import { openSafetensors } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { GPT2_SMALL_VALUES, Gpt2, verifyModel, type IoiPair, type KnownValue } from '../../src/model/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { referenceRun, referenceWeights } from '../support/reference-gpt2.ts';

const test = gpuSuite('verification of a model');
const gpu = await testGpu();

const source = directorySource(IOI_MINI);
const weights = await referenceWeights(await openSafetensors(source));
const text = 'Mary and John went to the park. John gave a book to';
const pairs: IoiPair[] = [['Mary', 'John'], ['Amy', 'Brian']].map(([io, s]) => ({
  prompts: [`${io} and ${s} went to the park. ${s} gave a book to`, `${io} and ${s} went to the park. ${io} gave a book to`], answers: [` ${io}`, ` ${s}`],
}));

/** What the model is known for, computed in float64 by the reference. */
async function knownValues(model: Gpt2): Promise<KnownValue[]> {
  const { config, tokenizer } = model;
  const ids = (input: string): number[] => [tokenizer!.bos!, ...tokenizer!.encode(input)];
  const run = (tokens: number[], edit?: Parameters<typeof referenceRun>[3]) => referenceRun(weights, config, tokens, edit);
  const V = config.vocabulary;
  const last = (found: ReturnType<typeof run>): Float64Array => found.get('logits')!.data.slice(-V);
  const most = (logits: Float64Array): number => logits.indexOf(logits.reduce((a, b) => Math.max(a, b), -Infinity));
  const tokens = ids(text);
  const whole = run(tokens);
  const greedy: number[] = [];
  for (let i = 0; i < 3; i++) greedy.push(most(last(run([...tokens, ...greedy]))));
  const logits = whole.get('logits')!.data;
  const loss = tokens.slice(1).reduce((sum, id, at) => {
    const row = logits.subarray(at * V, (at + 1) * V);
    return sum + Math.log(row.reduce((total, value) => total + Math.exp(value), 0)) - row[id]!;
  }, 0) / (tokens.length - 1);
  const n = tokens.length;
  const pattern = whole.get('blocks.1.attn.hook_pattern')!.data;
  const previous = Array.from({ length: n - 1 }, (_, i) => pattern[(2 * n + i + 1) * n + i]!).reduce((a, b) => a + b, 0) / (n - 1);
  // Each prompt of a pair, patched from the other.
  const sides = pairs.flatMap(({ prompts: [a, b], answers: [x, y] }) => [{ clean: a, other: b, right: x, wrong: y }, { clean: b, other: a, right: y, wrong: x }]);
  const difference = (right: string, wrong: string, found: ReturnType<typeof run>): number => last(found)[tokenizer!.encode(right)[0]!]! - last(found)[tokenizer!.encode(wrong)[0]!]!;
  const mean = (of: (side: (typeof sides)[number]) => number): number => sides.reduce((sum, side) => sum + of(side), 0) / sides.length;
  const clean = mean((side) => difference(side.right, side.wrong, run(ids(side.clean))));
  const corrupted = mean((side) => difference(side.right, side.wrong, run(ids(side.other))));
  const d = config.width / config.heads;
  const patched = mean((side) => {
    const z = run(ids(side.clean)).get('blocks.0.attn.hook_z')!.data;
    return difference(side.right, side.wrong, run(ids(side.other), (hook, { data }) => {
      if (hook === 'blocks.0.attn.hook_z') for (let i = 0; i < data.length; i++) if (Math.floor(i / d) % config.heads === 3) data[i] = z[i]!;
    }));
  });
  const common = { what: 'known', source: 'reference' };
  const input = { text, bos: true };
  return [
    { ...common, kind: 'ids', text, ids: tokens.slice(1) },
    { ...common, kind: 'greedy', input: { tokens }, ids: greedy },
    { ...common, kind: 'greedy text', input, text: tokenizer!.decode(greedy) },
    { ...common, kind: 'next', input, id: greedy[0]! },
    { ...common, kind: 'loss', input, value: loss, tolerance: 1e-4 },
    { ...common, kind: 'activation', input, hook: 'blocks.1.hook_mlp_out', value: whole.get('blocks.1.hook_mlp_out')!.data[0]!, tolerance: 1e-4 },
    { ...common, kind: 'logit', input, id: 7, value: last(whole)[7]!, tolerance: 1e-3 },
    { ...common, kind: 'previous token', input, layer: 1, head: 2, value: previous, tolerance: 1e-4 },
    { ...common, kind: 'indirect object', pairs, value: clean, tolerance: 1e-3 },
    { ...common, kind: 'indirect object', pairs, corrupted: true, value: corrupted, tolerance: 1e-3 },
    { ...common, kind: 'indirect object', pairs, head: [0, 3], value: (patched - corrupted) / (clean - corrupted), tolerance: 1e-3 },
  ];
}

/** The same value, a little off. */
function perturbed(known: KnownValue): KnownValue {
  if ('value' in known) return { ...known, value: known.value + 3 * known.tolerance };
  if (known.kind === 'next') return { ...known, id: known.id + 1 };
  if (known.kind === 'greedy text') return { ...known, text: `${known.text} and` };
  return { ...known, ids: known.ids.map((id, i) => (i === 1 ? id + 1 : id)) };
}

test('values that an independent program computed pass, and fail when they are a little off', async () => {
  const model = await Gpt2.load(gpu, source);
  const known = await knownValues(model);
  const right = await verifyModel(model, known);
  assert.equal(right.map(({ status }) => status), known.map(() => 'ok'), JSON.stringify(right));
  assert.ok(known.some((value) => value.kind === 'indirect object' && value.head && Math.abs(value.value) > 0.1));
  const wrong = await verifyModel(model, known.map(perturbed));
  assert.equal(wrong.map(({ status }) => status), known.map(() => 'failed'), JSON.stringify(wrong));
  model.dispose();
});

test('what another model cannot give is not applicable, and nothing of GPT-2 Small passes on it by chance', async () => {
  const model = await Gpt2.load(gpu, source);
  const rows = await verifyModel(model, GPT2_SMALL_VALUES);
  assert.is(rows.length, GPT2_SMALL_VALUES.length);
  assert.is(rows.filter(({ status }) => status === 'ok').length, 0);
  const absent = rows.filter(({ status }) => status === 'not applicable');
  assert.ok(absent.some(({ reason }) => /layers/.test(reason)) && absent.some(({ reason }) => /vocabulary/.test(reason)));
  assert.ok(absent.every(({ reason, measured }) => reason !== '' && measured === ''));
  model.dispose();
});

test.run();
