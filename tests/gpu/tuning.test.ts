import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../src/errors.ts';
import { checkTuning, defineKernel, installTunable, kernelHash, tuningFile, type TuningAdapter, type TuningFile } from '../../src/gpu/index.ts';
import source from '../support/add.wgsl';

const kernel = defineKernel('test-tuned', source);
installTunable({
  operation: 'test', kernels: { plain: kernel }, constants: { plain: ['WORKGROUP'] },
  refuse: ({ constants }, { limits }) => (constants.WORKGROUP! > limits.workgroupInvocations ? `${constants.WORKGROUP} threads, at most ${limits.workgroupInvocations}` : null),
});

const adapter: TuningAdapter = {
  info: { vendor: 'acme', architecture: 'a1', device: 'Card 7', description: 'driver 1.2' }, subgroupSize: 32,
  limits: { bindingBytes: 2 ** 27, bufferBytes: 2 ** 28, workgroupInvocations: 256, workgroupBytes: 16384, storageBuffers: 8 },
};
const choices: TuningFile['choices'] = { test: { small: { variant: 'plain', constants: { WORKGROUP: 128 }, ms: 1, defaultMs: 2 } } };
const make = (): Promise<TuningFile> => tuningFile(adapter, ['test'], choices, '2026-01-01T00:00:00Z');

/** A good file with some of it replaced, as text that went through a file. */
async function changed(change: (file: any) => void): Promise<unknown> {
  const file = JSON.parse(JSON.stringify(await make()));
  change(file);
  return file;
}

const test = suite('tuning file');

test('a file is used on the adapter and for the kernels that it was made with', async () => {
  const file = await make();
  assert.equal(file.kernels, { 'test-tuned': await kernelHash(kernel) });
  assert.equal(file.adapter, { ...adapter.info, subgroupSize: 32 });
  const { used, reason, choices: found } = await checkTuning(JSON.parse(JSON.stringify(file)), adapter);
  assert.equal([used, reason], [true, undefined]);
  assert.equal(found, choices);
});

test('a file for another adapter, driver or subgroup size is refused', async () => {
  const refused = async (other: TuningAdapter, reason: RegExp): Promise<void> => {
    const tuning = await checkTuning(await make(), other);
    assert.equal([tuning.used, tuning.choices], [false, {}]);
    assert.match(tuning.reason!, reason);
  };
  await refused({ ...adapter, info: { ...adapter.info, vendor: 'other' } }, /^it was made for another adapter: vendor "acme", here "other"$/);
  await refused({ ...adapter, info: { ...adapter.info, description: 'driver 1.3' } }, /another adapter: description "driver 1.2", here "driver 1.3"/);
  await refused({ ...adapter, subgroupSize: 0 }, /another adapter: subgroup size 32, here 0/);
});

test('what no longer fits the kernels, or never did, is refused with the reason in one line', async () => {
  const cases: [(file: any) => void, RegExp][] = [
    [(f) => { f.version = 2; }, /^it is of version 2, this program reads 1$/],
    [(f) => { delete f.version; }, /of version none/],
    [(f) => { delete f.adapter; }, /^it is broken: adapter: /],
    [(f) => { f.extra = 1; }, /it is broken: the whole: .*extra/],
    [(f) => { f.choices.test.small.constants.WORKGROUP = 1.5; }, /broken: choices.test.small.constants.WORKGROUP/],
    [(f) => { f.choices.test.small.constants.WORKGROUP = '1u; discard'; }, /broken: choices.test.small.constants.WORKGROUP/],
    [(f) => { f.choices.test.small.ms = -1; }, /broken: choices.test.small.ms/],
    [(f) => { f.kernels['test-tuned'] = '0123456789abcdef'; }, /^kernel test-tuned has changed since: tune again$/],
    [(f) => { f.kernels['test-gone'] = '0123456789abcdef'; }, /kernel test-gone is no longer tuned/],
    [(f) => { f.kernels = {}; }, /does not know kernel test-tuned/],
    [(f) => { f.choices.other = {}; }, /^other cannot be tuned$/],
    [(f) => { f.choices.test.small.variant = 'toString'; }, /^test small: there is no variant "toString"$/],
    [(f) => { f.choices.test.small.constants = { TILE: 4 }; }, /test small: kernel test-tuned has no constant TILE to tune/],
    [(f) => { f.choices.test.small.constants = { TWICE: 1 }; }, /has no constant TWICE to tune/],
    [(f) => { f.choices.test.small.constants = {}; }, /^test small: it says nothing of WORKGROUP$/],
    [(f) => { f.choices.test.small.constants.MORE = 7; }, /has no constant MORE to tune/],
    [(f) => { f.choices.test.small.constants.WORKGROUP = 512; }, /^test small: 512 threads, at most 256$/],
  ];
  for (const [change, reason] of cases) {
    const tuning = await checkTuning(await changed(change), adapter);
    assert.equal([tuning.used, tuning.choices], [false, {}], String(reason));
    assert.match(tuning.reason!, reason);
    assert.not(tuning.reason!.includes('\n'));
  }
});

test('what is no tuning file at all is an error', async () => {
  for (const value of [null, 7, 'text', [], {}, { format: 'diffract.bench/1' }]) {
    const error = await checkTuning(value, adapter).then(() => null, (e: Error) => e);
    assert.instance(error, FileError);
    assert.match(error!.message, /not a tuning file: its field "format" is .*, not "diffract-tuning"/);
  }
});

test.run();
