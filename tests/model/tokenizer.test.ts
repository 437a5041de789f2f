import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, TokenError } from '../../src/errors.ts';
import { memorySource } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { loadTokenizer } from '../../src/model/index.ts';
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

test('a model without one has none; a broken one is refused by name', async () => {
  assert.is(await loadTokenizer(memorySource({}), 0), null);
  for (const broken of [{}, { model: { type: 'Nonsense' } }]) {
    const error = await loadTokenizer(memorySource({ 'tokenizer.json': text(broken) }), null).then(() => null, (e: Error) => e);
    assert.instance(error, FileError, String(error));
    assert.match(error!.message, /tokenizer\.json/);
  }
});

test.run();
