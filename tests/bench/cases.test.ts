/** Which cases there are: every shape that the benchmark promises, and how words choose among them. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { allCases } from '../../bench/cases/index.ts';
import { chooseCases } from '../../bench/choose.ts';
import { GROUPS, rowKey } from '../../bench/results.ts';

const test = suite('cases of the benchmark');
const cases = allCases();
const has = (kernel: string, ...parts: string[]): void => {
  assert.ok(cases.some((item) => item.kernel === kernel && parts.every((part) => item.shape.includes(part))), `${kernel} ${parts.join(' … ')}`);
};

test('every shape that people care about is there', () => {
  for (const m of [1, 19, 128, 1024, 4096]) {
    for (const shape of ['768×2304', '768×768', '768×3072', '3072×768', '768×50257 bᵀ']) has('matmul', `${m}×${shape},`);
  }
  for (const n of [256, 512, 1024, 2048, 4096]) has('matmul', `${n}×${n}×${n}, square`);
  for (const shape of ['512×64×512 bᵀ', '512×512×64 aᵀ', '512×64×512,', '512×512×64,']) has('matmul', `220 × ${shape}`);
  has('matmul', '4096×768×24576');
  for (const batch of [1, 32]) for (const t of [19, 128, 1024]) has('attention', `batch ${batch}, ${t} positions, 12 heads of 64`);
  for (const kernel of ['layer norm', 'softmax', 'SAE encode', 'greedy edit']) has(kernel);
  has('softmax', '×50257');
  for (const active of [8, 32, 128]) has('SAE decode', `${active} of 24576 active`);
  for (const millions of [1, 4, 16, 40]) has('Adam', `${millions} million parameters`);
  for (const size of ['1×19', '1×128, all logits', '64×19', '8×1024']) has('forward pass', 'GPT-2 Small', size);
  has('resumed run', 'GPT-2 Small, 64×19', 'name movers');
  has('decoding', 'GPT-2 Small');
  has('SAE step', '220 × 64 to 512, 512 rows');
  has('SAE step', '768 to 24576, 512 rows');
  for (const sizes of ['64 to 8192', '768 to 24576', '768 to 131072']) has('training on text', sizes);
});

test('names tell all rows apart, costs are whole', () => {
  assert.is(new Set(cases.map(rowKey)).size, cases.length);
  for (const item of cases) {
    assert.ok(item.kernel === 'recording' || (item.flops >= 0 && item.bytes > 0 && Number.isFinite(item.flops / item.bytes)), rowKey(item));
    assert.ok(GROUPS.includes(item.group));
  }
});

test('words choose: groups, parts of names, long ones only when nothing else fits', () => {
  const count = (words: string[], full = false): number => chooseCases(cases, words, full).length;
  assert.is(count([], true), cases.length);
  assert.is(count([]), cases.filter((item) => !item.long).length);
  assert.ok(chooseCases(cases, ['training'], false).every((item) => item.group === 'training' && !item.long));
  assert.is(count(['kernels', 'model', 'training']), count([]));
  assert.ok(chooseCases(cases, ['ADAM'], false).every((item) => item.kernel === 'Adam' && !item.long));
  assert.is(count(['4096×768×24576']), 1, 'a long one asked for by name');
  assert.throws(() => count(['matmul', 'nothing of the kind']), /no benchmark is called "nothing of the kind"/);
});

test.run();
