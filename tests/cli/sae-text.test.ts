/** On which tokens a dictionary is judged: packed as its training says, documents that it never saw, and no more than were asked for. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MOST_TOKENS, packingFor, SaeText, type SaeTextFlags } from '../../src/cli/sae-text.ts';
import { TextSource, textFiles } from '../../src/cli/text-source.ts';
import { UsageError } from '../../src/errors.ts';
import type { Gpt2 } from '../../src/model/index.ts';
import '../../src/node.ts';
import { refusal } from '../support/refusal.ts';

const test = suite<{ folder: string; text: string }>('text of a dictionary');
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'diffract-judged-'));
  context.text = join(context.folder, 'books.jsonl');
  writeFileSync(context.text, Array.from({ length: 60 }, (_, i) => `${JSON.stringify({ input_ids: Array.from({ length: 5 + (i % 4) }, () => i + 1) })}\n`).join(''));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const model = { config: { context: 16, vocabulary: 100, bos: 99 }, tokenizer: null } as unknown as Gpt2;
const plain: SaeTextFlags = { bos: true, concat: true };

async function rowsOf(text: SaeText): Promise<number[][]> {
  const rows: number[][] = [];
  const { stream } = text;
  for await (const row of typeof stream === 'function' ? stream() : stream) rows.push(Array.from(row));
  assert.is(text.prompts, rows.length);
  return rows;
}

test('the held-out part as training packs it is read where the text is the one that was trained on, byte for byte the same rows', async ({ text }) => {
  const files = await textFiles([text]);
  for (const flags of [{ bos: true, concat: true }, { bos: false, concat: true }, { bos: true, concat: false }]) {
    const trained = new TextSource(model, files, { ...flags, text: ['/elsewhere/books.jsonl'], context: 6, heldOut: 0.3 }, 11);
    const [held, rows] = [trained.open('held-out'), [] as number[][]];
    for (let row = await held.read(); row; row = await held.read()) rows.push([...row]);
    assert.ok(rows.length > 3);
    const packing = packingFor(model, { ...plain, text: [text] }, JSON.parse(JSON.stringify(trained.metadata())), { files });
    assert.is(packing.text!.part, 'held-out');
    assert.is(packingFor(model, { ...plain, text: [text], heldOut: 0 }, trained.metadata(), { files }).text!.part, 'all');
    assert.equal(packing.exclude, trained.special);
    assert.equal(await rowsOf(new SaeText(model, packing, { files }, {} as SaeTextFlags)), rows);
  }
});

test('on other text all is read; flags go before what training did; a separator of its own or none', async ({ text }) => {
  const files = await textFiles([text]);
  const metadata = { context_size: 8, prepend_bos: false, dataset_path: 'other.jsonl', held_out: 0.2, held_out_seed: 3, sequence_separator_token: null, exclude_special_tokens: [7, 8] };
  const flags = { ...plain, text: [text] };
  const own = packingFor(model, flags, metadata, { files });
  assert.equal([own.context, own.bos, own.exclude, own.text!.part, own.text!.seed, own.text!.flags.heldOut, own.text!.flags.separatorToken], [8, false, [7, 8], 'all', 3, 0.2, null]);
  assert.equal((await rowsOf(new SaeText(model, own, { files }, plain)))[0], [1, 1, 1, 1, 1, 2, 2, 2]);
  assert.equal((await rowsOf(new SaeText(model, packingFor(model, flags, { ...metadata, sequence_separator_token: 50 }, { files }), { files }, plain)))[0], [1, 1, 1, 1, 1, 50, 2, 2]);
  const given = packingFor(model, { ...flags, context: 4, part: 'train', seed: 5, heldOut: 0.5 }, metadata, { files });
  assert.equal([given.context, given.text!.part, given.text!.seed, given.text!.flags.heldOut], [4, 'train', 5, 0.5]);
  // What says nothing of itself, and a context that the model has no room for.
  const bare = packingFor(model, flags, {}, { files });
  assert.equal([bare.context, bare.bos, bare.exclude, bare.text!.part], [16, true, [99], 'all']);
  assert.is(packingFor(model, flags, { context_size: 1024 }, { files }).context, 16);
});

test('no more than so many prompts or tokens; too little text is refused, and says of which part', async ({ text }) => {
  const files = await textFiles([text]);
  const packing = packingFor(model, { ...plain, text: [text], context: 8 }, {}, { files });
  const limited = (limits: Partial<SaeTextFlags>): SaeText => new SaeText(model, packing, { files }, { ...plain, ...limits });
  assert.equal([limited({}).limit, limited({ prompts: 3 }).limit, limited({ tokensCount: 31 }).limit, limited({ prompts: 9, tokensCount: 31 }).limit], [MOST_TOKENS / 8, 3, 3, 3]);
  assert.is((await rowsOf(limited({ tokensCount: 31 }))).length, 3);
  assert.throws(() => limited({ tokensCount: 7 }), (error: unknown) => error instanceof UsageError && /--tokens-count 7: a prompt has 8 tokens/.test(error.message));
  const prompts = { prompts: [[1, 2], [3], [4, 5, 6]] };
  const listed = packingFor(model, plain, { exclude_special_tokens: true }, prompts);
  assert.equal([listed.text, listed.context, listed.exclude], [null, 3, [99]]);
  assert.equal(await rowsOf(new SaeText(model, listed, prompts, { ...plain, prompts: 2 })), [[1, 2], [3]]);
  writeFileSync(text, '{"input_ids": [1, 2, 3]}\n{"input_ids": [4, 5]}\n');
  assert.match(await refusal(() => rowsOf(limited({})), UsageError), /the text does not fill one prompt of 8 tokens/);
  const held = new SaeText(model, { ...packing, text: { ...packing.text!, part: 'held-out' } }, { files }, plain);
  assert.match(await refusal(() => rowsOf(held), UsageError), /the part of the text that is held out does not fill one prompt of 8 tokens: give more, a shorter --context, or --part all/);
});

test.run();
