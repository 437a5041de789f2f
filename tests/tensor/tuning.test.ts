/** A tuning file decides which kernel a matrix product takes, with which constants, and only where it fits. */
import * as assert from 'uvu/assert';
import { tuningFile, type Gpu, type TuningFile } from '../../src/gpu/index.ts';
import { openGpu } from '../../src/node.ts';
import { Tensor, matmul } from '../../src/tensor/index.ts';
import { matmulCandidates, matmulClass, planMatmul, type MatmulAdapter, type MatmulShape } from '../../src/tensor/matmul-plan.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('tuning of matmul');
const [m, k, n] = [40, 24, 50];
const shape: MatmulShape = {
  batch: 1, m, n, k, transposeA: false, transposeB: false, sharedB: true, outWidth: n, outColumn: 0, residualWidth: 0, residualColumn: 0, biasBatch: 0,
};
const name = matmulClass(shape);
const adapterOf = (gpu: Gpu): MatmulAdapter => ({ ...gpu.limits, software: gpu.software, subgroupSize: gpu.subgroupSize });

/** A product on a device of its own that was opened with `tuning`, and the constants that it was dispatched with. */
async function product(tuning: unknown): Promise<{ tuning: Gpu['tuning']; constants: unknown; kernel: string; error: number }> {
  const gpu = await openGpu({ tuning });
  const seen: { kernel: string; constants: unknown }[] = [];
  const { dispatch } = gpu;
  gpu.dispatch = (work) => { seen.push({ kernel: work.kernel.name, constants: work.constants }); dispatch.call(gpu, work); };
  const [a, b] = [random(m * k, 1), random(k * n, 2)];
  const out = await matmul(Tensor.from(gpu, a, [m, k]), Tensor.from(gpu, b, [k, n])).read();
  const expected = Float64Array.from({ length: m * n }, (_, at) => {
    let sum = 0;
    for (let q = 0; q < k; q++) sum += a[Math.floor(at / n) * k + q]! * b[q * n + (at % n)]!;
    return sum;
  });
  gpu.destroy();
  return { tuning: gpu.tuning, ...seen[0]!, error: relativeError(out, expected) };
}

async function fileWith(choices: TuningFile['choices']): Promise<TuningFile> {
  return JSON.parse(JSON.stringify(await tuningFile(await testGpu(), ['matmul'], choices, '2026-01-01T00:00:00Z'))) as TuningFile;
}

test('each candidate that a file names is dispatched with its constants, and gives the right product', async () => {
  const gpu = await testGpu();
  const candidates = matmulCandidates(shape, adapterOf(gpu));
  assert.ok(candidates.length >= 3);
  for (const candidate of [candidates[0]!, candidates.at(-1)!]) {
    const { tuning, kernel, constants, error } = await product(await fileWith({ matmul: { [name]: { ...candidate, ms: 1, defaultMs: 2 } } }));
    assert.ok(tuning.used, tuning.reason);
    assert.is(kernel, `matmul-${candidate.variant === 'large' ? 'tiled' : candidate.variant}`);
    for (const [constant, value] of Object.entries(candidate.constants)) assert.is((constants as Record<string, number>)[constant], value);
    assert.ok(error < 1e-6);
  }
});

test('another class, no file or one that is refused leave the default', async () => {
  const gpu = await testGpu();
  const plain = planMatmul(shape, adapterOf(gpu));
  const candidate = { ...matmulCandidates(shape, adapterOf(gpu))[0]!, ms: 1, defaultMs: 2 };
  const stale = await fileWith({ matmul: { [name]: candidate } });
  stale.kernels['matmul-registers'] = '0123456789abcdef';
  const bad = (constants: Record<string, number>) => fileWith({ matmul: { [name]: { ...candidate, variant: 'registers', constants } } });
  const files: [unknown, RegExp | undefined][] = [
    [undefined, undefined], [await fileWith({ matmul: { 'another class': candidate } }), undefined], [await fileWith({}), undefined],
    [stale, /^kernel matmul-registers has changed since/],
    [await bad({ WORKGROUP: 64, COLUMN_THREADS: 8, BIAS: 7 }), /has no constant BIAS to tune/],
    [await bad({ WORKGROUP: 64 }), /it says nothing of COLUMN_THREADS/],
    [await bad({ WORKGROUP: 2 ** 20, COLUMN_THREADS: 8 }), /1048576 threads a workgroup, at most/],
    [await bad({ WORKGROUP: 30, COLUMN_THREADS: 8 }), /do not divide/],
  ];
  for (const [file, reason] of files) {
    const { tuning, kernel, constants, error } = await product(file);
    if (reason) assert.match(tuning.reason!, reason);
    else assert.is(tuning.reason, undefined);
    assert.is(tuning.used, file !== undefined && !reason);
    assert.is(kernel, `matmul-${plain.variant}`);
    assert.equal(constants, { ...plain.constants, ...plain.steps[0]!.constants });
    assert.ok(error < 1e-6);
  }
});

test.run();
