/** The tuner on a device: what it checks, what it writes, and that what it writes is used. */
import * as assert from 'uvu/assert';
import { nameOf, tune, type TuneCase } from '../../bench/tune.ts';
import { checkTuning, defineKernel, installTunable, NO_TUNING, type Choice, type Gpu } from '../../src/gpu/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import source from '../support/add.wgsl';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('tuner: on a device');
const kernel = defineKernel('test-tuner', source);
installTunable({ operation: 'test tuner', kernels: { plain: kernel, broken: kernel }, refuse: () => null });
const COUNT = 1000;

/** A planner of its own: out = 2 x + 1, with the workgroups that `gpu.tuning` says. The variant `broken` leaves the last numbers out. */
function run(x: Tensor, out: Tensor): void {
  const { variant = 'plain', constants = { WORKGROUP: 64 } } = x.gpu.tuning.choices['test tuner']?.small ?? {};
  const groups = Math.ceil(COUNT / constants.WORKGROUP!) - (variant === 'broken' ? 1 : 0);
  x.gpu.dispatch({ kernel, constants, bindings: [x, out], params: { count: COUNT, scale: 2, shift: 1 }, groups });
}

const plain = (WORKGROUP: number): Choice => ({ variant: 'plain', constants: { WORKGROUP } });

function makeCase(candidates: readonly Choice[]): TuneCase {
  return {
    operation: 'test tuner', name: 'small', shape: `${COUNT}`, candidates,
    prepare(gpu) {
      const x = Tensor.from(gpu, random(COUNT), [COUNT]);
      const out = Tensor.empty(gpu, [COUNT]);
      return { out, run: () => run(x, out), dispose: () => { x.dispose(); out.dispose(); } };
    },
  };
}

/** A clock that really runs the work, and says 1 ms a run with `quick`, 2 ms with anything else. */
function clock(quick: Choice) {
  return async (gpu: Gpu, fn: () => void): Promise<number> => {
    const { dispatches } = gpu.counters();
    await gpu.time(fn);
    const runs = gpu.counters().dispatches - dispatches;
    const choice = gpu.tuning.choices['test tuner']?.small;
    return choice && nameOf(choice) === nameOf(quick) ? runs : 2 * runs;
  };
}

test('the best of the right candidates is written, read and used; wrong results and errors are named, however quick', async () => {
  const gpu = await testGpu();
  const broken: Choice = { variant: 'broken', constants: { WORKGROUP: 32 } };
  const tooLarge = plain(gpu.limits.workgroupInvocations * 2);
  const { file, rows, interrupted } = await tune(gpu, { cases: [makeCase([broken, plain(32), tooLarge, plain(128)])], seconds: 20, time: clock(plain(128)) });
  assert.equal(file.choices, { 'test tuner': { small: { ...plain(128), ms: 1, defaultMs: 2 } } });
  assert.not(interrupted);
  assert.is(rows[0]!.wrong.length, 2);
  assert.match(rows[0]!.wrong[0]!, /^broken WORKGROUP=32: relative error/);
  assert.match(rows[0]!.wrong[1]!, /^plain WORKGROUP=\d+: \S/);
  assert.is(gpu.tuning, NO_TUNING);
  const none = await tune(gpu, { cases: [makeCase([broken])], seconds: 20, time: clock(broken) });
  assert.equal([none.file.choices, none.rows[0]!.choice], [{}, null]);

  gpu.tuning = await checkTuning(JSON.parse(JSON.stringify(file)), gpu);
  assert.is(gpu.tuning.used, true, gpu.tuning.reason);
  const x = Tensor.from(gpu, random(COUNT), [COUNT]);
  const out = Tensor.empty(gpu, [COUNT]);
  const { dispatch } = gpu;
  const seen: unknown[] = [];
  gpu.dispatch = (work) => { seen.push(work.constants); dispatch.call(gpu, work); };
  try {
    run(x, out);
    assert.equal([...await out.read()], [...await x.read()].map((v) => Math.fround(Math.fround(2 * v) + 1)));
  } finally {
    gpu.dispatch = dispatch;
    gpu.tuning = NO_TUNING;
    x.dispose();
    out.dispose();
  }
  assert.equal(seen, [{ WORKGROUP: 128 }]);
});

test('an interruption keeps what was found before it; without time nothing is compared', async () => {
  const gpu = await testGpu();
  const stop = new AbortController();
  const cases = [makeCase([plain(128)]), { ...makeCase([plain(128)]), name: 'other' }, { ...makeCase([plain(128)]), name: 'third' }];
  const { file, rows, interrupted } = await tune(gpu, {
    cases, seconds: 20, signal: stop.signal, time: clock(plain(128)), onStep: (at) => { if (at === 1) stop.abort(); },
  });
  assert.ok(interrupted);
  assert.equal(Object.keys(file.choices['test tuner']!), ['small']);
  assert.equal(rows.map((row) => row.skipped), [undefined, 'interrupted']);
  const late = await tune(gpu, { cases, seconds: 0, time: clock(plain(128)) });
  assert.equal(late.rows.map((row) => row.skipped), ['no time was left', 'no time was left', 'no time was left']);
  assert.equal(late.file.choices, {});
});

test.run();
