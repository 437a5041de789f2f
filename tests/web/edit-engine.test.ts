/** Edits of one prompt as the page's worker makes them, against the same by hand. */
import * as assert from 'uvu/assert';
import { openSource } from '../../src/files/index.ts';
import { hookOf, parseSite } from '../../src/task/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { DictionaryEngine } from '../../src/web/engine/dictionaries.ts';
import type { EditAsked } from '../../src/web/engine/edit-facts.ts';
import { EditEngine } from '../../src/web/engine/edit.ts';
import { Session } from '../../src/web/engine/session.ts';
import type { Origin } from '../../src/web/protocol.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI, ROOT } from '../support/models.ts';

const test = gpuSuite('edit engine');
const gpu = await testGpu();
const near = (a: number | null, b: number, what: string): void => assert.ok(a !== null && Math.abs(a - b) <= 2e-3 * Math.max(1, Math.abs(b)), `${what}: ${a} is not ${b}`);

async function filesOf(folder: string, names: readonly string[]): Promise<Origin> {
  const source = openSource(folder);
  return { kind: 'files', name: folder, files: await Promise.all(names.map(async (path) => ({ path, file: new File([new Uint8Array(await source.bytes(path))], path) }))) };
}

async function withEdit(body: (edit: EditEngine, session: Session) => Promise<void>): Promise<void> {
  const session = new Session();
  (session as unknown as { opened: typeof gpu }).opened = gpu;
  const edit = new EditEngine(session);
  try {
    await session.load(await filesOf(IOI_MINI, ['config.json', 'model.safetensors', 'tokenizer.json', 'ioi.json']));
    const dictionaries = new DictionaryEngine(session);
    for (const name of ['z-L0H3-end', 'v-L0H3-s2']) await dictionaries.add(await filesOf(`${ROOT}/models/ioi-mini-saes/${name}`, ['cfg.json', 'sae_weights.safetensors']), name);
    await body(edit, session);
  } finally {
    session.drop();
  }
}

const noChange = { io: null, s: null, swap: false };

/** The logit difference of a prompt with an activation put in place, by a run of its own from the beginning. */
async function differenceWith({ model }: Session, tokens: readonly number[], answers: readonly [number, number], site: string, at: number, values: Float32Array): Promise<number> {
  const address = parseSite(site);
  const given = Tensor.from(gpu, values, [1, values.length]);
  const run = model.run([tokens], { edits: [{ hook: hookOf(address), head: address.head, positions: [at], values: given }] });
  const logits = await run.logits!.read();
  run.dispose();
  given.dispose();
  return logits[answers[0]]! - logits[answers[1]]!;
}

async function activationOf({ model }: Session, tokens: readonly number[], site: string, at: number): Promise<Float32Array> {
  const address = parseSite(site);
  const run = model.run([tokens], { logits: 'none', captures: [{ hook: hookOf(address), head: address.head, positions: [at] }] });
  const values = await run.captured[0]!.read() as Float32Array;
  run.captured[0]!.dispose();
  run.dispose();
  return values;
}

test('supervised codes are swapped, the true patch and the counterfactual stand beside it', () => withEdit(async (edit, session) => {
  const ioi = session.ioi!;
  const site = 'z@L0H3@end';
  const text = ioi.sample({ count: 1, seed: 3 }).texts[0]!;
  const { task, prompts } = ioi.read(text);
  const asked: EditAsked = { text: null, seed: 3, by: 'supervised', sites: [site], change: noChange, method: 'arithmetic' };
  const shown = await edit.show(asked);
  assert.is(shown.text, text);
  const { names } = ioi.grammar;
  const s = names.indexOf(shown.change!.s);
  assert.ok(s >= ioi.splits.counterfactualS[0] && shown.change!.io === '' && !shown.change!.swap, 'the usual change is of S');
  // a − u_old + u_new, on the CPU.
  const codes = await session.data.supervised(parseSite(site));
  const vectors = await codes.vectors.read() as Float32Array;
  const first = codes.terms.find(({ columns }) => columns.join() === 'S')!.first;
  const at = prompts.positions.end![0]!;
  const activation = await activationOf(session, prompts.tokens[0]!, site, at);
  const width = activation.length;
  const old = prompts.attributes.S!.ids[0]!;
  const moved = activation.map((value, i) => value - vectors[(first + old) * width + i]! + vectors[(first + s) * width + i]!);
  const answers = [prompts.correct[0]!, prompts.incorrect[0]!] as const;
  near(shown.edited.difference, await differenceWith(session, prompts.tokens[0]!, answers, site, at, moved), 'edited');
  near(shown.clean.difference, await differenceWith(session, prompts.tokens[0]!, answers, site, at, activation), 'clean');
  const other = task.rewrite(prompts, { s: shown.change!.s });
  assert.is(shown.counterfactualText, other.texts[0]);
  near(shown.patched!.difference, await differenceWith(session, prompts.tokens[0]!, answers, site, at, await activationOf(session, other.tokens[0]!, site, at)), 'patched');
  near(shown.counterfactual!.otherDifference, await differenceWith(session, other.tokens[0]!, [other.correct[0]!, other.incorrect[0]!], site, at, await activationOf(session, other.tokens[0]!, site, at)), 'counterfactual');
  assert.ok(shown.clean.divergence < 1e-12);
  assert.ok(shown.edited.divergence > 0.01, 'the edit moves the prediction');
  const again = await edit.show({ ...asked, text });
  assert.equal(again, shown, 'a typed sentence is the same as the sampled one');
}));

test('an SAE edits towards the counterfactual at the sites that it reads; the others are named', () => withEdit(async (edit) => {
  const asked: EditAsked = { text: null, seed: 3, by: 'sae', sites: ['z@L0H3@end', 'z@L0H0@end'], change: noChange, dictionary: null, features: 'agnostic', k: 1 };
  const one = await edit.show(asked);
  assert.equal([one.sites.map(({ site }) => site), one.left.map(({ site }) => site)], [['z@L0H3@end'], ['z@L0H0@end']]);
  assert.match(one.left[0]!.why, /no dictionary/);
  const many = await edit.show({ ...asked, k: 16 });
  const distance = ({ edited, patched }: typeof one): number => Math.abs(edited.difference! - patched!.difference!);
  assert.ok(distance(many) <= distance(one) + 0.3, `more features come closer: ${distance(many)} and ${distance(one)}`);
  assert.ok(one.sites[0]!.moved > 0.05);
}));

test('features are removed, scaled and added by hand', () => withEdit(async (edit, session) => {
  const asked = { text: null, seed: 3, by: 'hand' as const, dictionary: 'z-L0H3-end', token: null };
  const clean = await edit.show({ ...asked, changes: [] });
  assert.is(clean.edited.divergence < 1e-9 && clean.sites[0]!.moved < 1e-6, true, 'nothing changes');
  const [heaviest, second] = clean.active;
  const { dictionary } = session.dictionary('z-L0H3-end').loaded;
  const idle = [...Array(dictionary.features).keys()].find((feature) => !clean.active.some((one) => one.feature === feature))!;
  const changes = [{ feature: heaviest!.feature, how: 'remove' as const, value: 0 }, { feature: second!.feature, how: 'scale' as const, value: 3 }, { feature: idle, how: 'add' as const, value: 2 }];
  const shown = await edit.show({ ...asked, changes });
  const directions = dictionary.directions!(changes.map(({ feature }) => feature));
  const d = await directions.read() as Float32Array;
  directions.dispose();
  const { tokens, correct, incorrect, positions } = session.ioi!.sample({ count: 1, seed: 3 });
  const at = positions.end![0]!;
  const activation = await activationOf(session, tokens[0]!, 'z@L0H3@end', at);
  const deltas = [-heaviest!.code, 2 * second!.code, 2];
  const moved = activation.map((value, i) => deltas.reduce((sum, delta, row) => sum + delta * d[row * activation.length + i]!, value));
  near(shown.edited.difference, await differenceWith(session, tokens[0]!, [correct[0]!, incorrect[0]!], 'z@L0H3@end', at, moved), 'by hand');
  assert.is(shown.token, at);
  const elsewhere = await edit.show({ ...asked, text: 'the old man', changes: [], token: 1 });
  assert.equal([elsewhere.token, elsewhere.task, elsewhere.clean.difference], [1, null, null]);
}));

test('what does not go together is refused with the reason', () => withEdit(async (edit) => {
  const refused = async (asked: EditAsked): Promise<string> => edit.show(asked).then(() => 'not refused', (error: Error) => error.message);
  const base = { text: null, seed: 0, by: 'supervised' as const, sites: ['z@L0H3@end'], change: noChange, method: 'arithmetic' as const };
  assert.match(await refused({ ...base, text: 'the old man went to the park' }), /none of the task's 125 names is in it/);
  assert.match(await refused({ ...base, change: { ...noChange, s: 'Zebulon' } }), /Zebulon is none of the task's 125 names/);
  assert.match(await refused({ ...base, sites: ['z@L9H3@end'] }), /layers 0 to 3/);
  assert.match(await refused({ ...base, sites: ['z@L0H3@middle'] }), /unknown position "middle"/);
  assert.match(await refused({ ...base, sites: [] }), /choose a site/);
  assert.match(await refused({ ...base, by: 'sae', dictionary: null, features: 'agnostic', k: 4, sites: ['q@L0H0@io'] }), /nothing can be edited: q@L0H0@io: no dictionary/);
  const hand = { text: null, seed: 0, by: 'hand' as const, dictionary: 'z-L0H3-end', token: null };
  assert.match(await refused({ ...hand, changes: [{ feature: 256, how: 'remove', value: 0 }] }), /features 0 to 255/);
  assert.match(await refused({ ...hand, token: 99, changes: [] }), /there is no token 99/);
  assert.match(await refused({ ...hand, dictionary: 'gone', changes: [] }), /there is no dictionary gone/);
}));

test.run();
