import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, TokenError } from '../../src/errors.ts';
import { memorySource } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { loadTokenizer, nextTokens, tokenText, type Gpt2 } from '../../src/model/index.ts';
import { IOI_MINI, text } from '../support/models.ts';

const test = suite('tokenizer');
const source = directorySource(IOI_MINI);

test('encodes and decodes, and adds nothing by itself', async () => {
  const tokenizer = (await loadTokenizer(source, 1025))!;
  assert.is(tokenizer.size, 1026);
  assert.is(tokenizer.bos, 1025);
  const sentence = 'Mary and Adam went to the store. Adam gave a drink to';
  const ids = tokenizer.encode(sentence);
  assert.equal(ids, [921, 289, 731, 534, 284, 262, 620, 46, 731, 590, 257, 642, 284]);
  assert.is(tokenizer.decode(ids), sentence);
  assert.is(tokenizer.decode([1025, ...ids]), `<|endoftext|>${sentence}`);
  assert.equal([tokenizer.encode(''), tokenizer.decode([])], [[], '']);
  assert.is(tokenizer.token(731), ' Adam');
});

test('knows which texts are one token', async () => {
  const tokenizer = (await loadTokenizer(source, null))!;
  assert.is(tokenizer.bos, 1025, 'the usual one where the configuration names none');
  assert.equal([tokenizer.single(' Adam'), tokenizer.single(' Adam '), tokenizer.single(' Zebulon'), tokenizer.single(''), tokenizer.single('<|endoftext|>')], [731, null, null, null, null]);
  try {
    tokenizer.token(1026);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, TokenError);
    assert.match((error as Error).message, /1026/);
  }
});

test('rows of a model beyond the vocabulary have no text, and stop nothing', async () => {
  const tokenizer = (await loadTokenizer(source, null))!;
  assert.equal([tokenizer.has(1025), tokenizer.has(1026), tokenText({ tokenizer }, 731), tokenText({ tokenizer }, 1026), tokenText({ tokenizer: null }, 3)], [true, false, ' Adam', '#1026', '#3']);
  const padded = { tokenizer, config: { vocabulary: 1030 } } as unknown as Gpt2;
  const logits = new Float32Array(2 * 1030);
  logits[1028] = 9;
  logits[1030 + 731] = 9;
  const [first, second] = nextTokens(padded, logits, 1);
  assert.equal(first!.map(({ id, token }) => [id, token]), [[1028, undefined]]);
  assert.equal(second!.map(({ id, token }) => [id, token]), [[731, ' Adam']]);
});

test('a model without one has none; a broken one is refused by name', async () => {
  assert.is(await loadTokenizer(memorySource({}), 0), null);
  for (const broken of [{}, { model: { type: 'Nonsense' } }]) {
    const error = await loadTokenizer(memorySource({ 'tokenizer.json': text(broken) }), null).then(() => null, (e: Error) => e);
    assert.instance(error, FileError, String(error));
    assert.match(error!.message, /tokenizer\.json/);
  }
});

test.run();
