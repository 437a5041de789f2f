/** Orders of shards: each file once, the same for the same seed and pass; documents are found in it and keep their numbers. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { memorySource, readDocuments } from '../../src/files/index.ts';
import { shardOrder } from '../../src/training/tokens-order.ts';

const test = suite('orders of shards');

test('an order has each file once and goes by seed and pass', () => {
  const listed = Array.from({ length: 50 }, (_, i) => i);
  const orders = [0, 1, 2].flatMap((seed) => [0, 1, 2].map((pass) => shardOrder(50, seed, pass)));
  for (const order of orders) assert.equal([...order].sort((a, b) => a - b), listed);
  assert.is(new Set(orders.map(String)).size, 9);
  assert.equal(shardOrder(50, 1), orders[3]);
  assert.equal([shardOrder(0, 1), shardOrder(1, 1)], [[], [0]]);
});

test('files are read in it', async () => {
  const names = Array.from({ length: 12 }, (_, i) => `${i}.json`);
  const source = memorySource(Object.fromEntries(names.map((name, i) => [name, new TextEncoder().encode(`[[${i}], [${i}]]`)])));
  const order = shardOrder(12, 5);
  const found: number[] = [];
  for await (const { content, index, at } of readDocuments(names.map((path) => ({ source, path })), { order })) {
    assert.is(content.tokens![0], index!.shard);
    assert.is(order[at.shard], index!.shard);
    found.push(index!.shard);
  }
  assert.equal(found, order.flatMap((shard) => [shard, shard]));
});

test.run();
