import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseVariant, matmulCandidates, matmulClass, matmulVariants, planMatmul, refuseMatmul, type MatmulAdapter, type MatmulShape, type MatmulStep, type MatmulVariant, type Range } from '../../src/tensor/matmul-plan.ts';
import { random } from '../support/numbers.ts';

const lavapipe: MatmulAdapter = { software: true, subgroupSize: 0, bindingBytes: 2 ** 27, workgroupInvocations: 1024, workgroupBytes: 32768 };
const broadcasting: MatmulAdapter = { ...lavapipe, subgroupSize: 8 };
const real: MatmulAdapter = { ...lavapipe, software: false, subgroupSize: 32, bindingBytes: 2 ** 31 - 256 };
const shape = (m: number, n: number, k: number, more: Partial<MatmulShape> = {}): MatmulShape => ({
  batch: 1, m, n, k, transposeA: false, transposeB: false, sharedB: false, outWidth: n, outColumn: 0, residualWidth: 0, residualColumn: 0, biasBatch: 0, ...more,
});

const test = suite('matmul plan');

test('software drivers get kernels without barriers, real GPUs tiles, few rows a kernel of their own', () => {
  assert.is(chooseVariant(shape(1000, 768, 768), lavapipe), 'registers');
  assert.is(chooseVariant(shape(1000, 50257, 768, { transposeB: true }), lavapipe), 'registers');
  assert.is(chooseVariant(shape(1, 50257, 768, { transposeB: true }), lavapipe), 'vector');
  assert.is(chooseVariant(shape(1000, 768, 768), broadcasting), 'subgroup');
  assert.is(chooseVariant(shape(2, 50257, 768, { transposeB: true }), broadcasting), 'subgroup');
  assert.is(chooseVariant(shape(1, 50257, 768, { transposeB: true }), broadcasting), 'vector');
  assert.is(chooseVariant(shape(1, 768, 768, { halfB: true }), broadcasting), 'subgroup');
  assert.is(chooseVariant(shape(1, 768, 768, { halfB: true, transposeB: true }), broadcasting), 'vector');
  assert.is(chooseVariant(shape(1, 768, 768, { halfB: true }), { ...broadcasting, subgroupSize: 4 }), 'vector');
  assert.is(chooseVariant(shape(1000, 768, 768), { ...broadcasting, subgroupSize: 128 }), 'registers');
  assert.is(chooseVariant(shape(1024, 1024, 1024), real), 'tiled');
  assert.is(chooseVariant(shape(4096, 4096, 768), real), 'large');
  assert.is(chooseVariant(shape(4096, 4096, 768), { ...real, workgroupInvocations: 128 }), 'tiled');
  assert.is(chooseVariant(shape(19, 768, 768), real), 'tiled');
  assert.is(chooseVariant(shape(1000, 12, 768), real), 'registers');
  assert.is(chooseVariant(shape(1, 768, 768), real), 'vector');
  assert.is(chooseVariant(shape(1000, 768, 768), { ...real, workgroupBytes: 1024 }), 'registers');
});

test('sizes follow the adapter: lanes where threads are missing, a larger tile where there is work for it', () => {
  assert.equal(planMatmul(shape(1, 768, 768), lavapipe).constants, { WORKGROUP: 8, LANES: 1, ROWS: 1 });
  assert.equal(planMatmul(shape(1, 768, 768), real).constants, { WORKGROUP: 64, LANES: 64, ROWS: 1 });
  assert.equal(planMatmul(shape(4, 50257, 768, { transposeB: true }), real).constants, { WORKGROUP: 64, LANES: 2, ROWS: 4 });
  const [large, middle] = [{ ROW_THREADS: 16, COLUMN_THREADS: 16, ROWS: 8, COLUMNS: 8 }, { ROW_THREADS: 8, COLUMN_THREADS: 8, ROWS: 8, COLUMNS: 8 }];
  assert.equal(planMatmul(shape(1024, 1024, 768), { ...real, workgroupInvocations: 128 }).constants, { ...middle, K_STEP: 16, BUFFERS: 2, SPLITS: 1 });
  assert.equal(planMatmul(shape(4096, 4096, 768), real).constants, { ...large, K_STEP: 16, BUFFERS: 2, SPLITS: 1 });
  assert.equal(planMatmul(shape(4096, 4096, 768), { ...real, workgroupBytes: 16384 }).constants, { ...large, K_STEP: 8, BUFFERS: 2, SPLITS: 1 });
  assert.equal(planMatmul(shape(4096, 4096, 768), { ...real, workgroupBytes: 8192 }).constants, { ...large, K_STEP: 8, BUFFERS: 1, SPLITS: 1 });
  for (const [rows, tile] of [[1, 1], [2, 4], [19, 20], [33, 20], [64, 32], [1000, 32]] as const) {
    assert.equal(planMatmul(shape(rows, 768, 768, { halfB: true }), broadcasting).constants, { SUBGROUP: 8, ROWS: tile });
  }
  assert.equal(planMatmul(shape(512, 8, 32), lavapipe).constants, { WORKGROUP: 8, COLUMN_THREADS: 2 });
});

test('nothing to compute gives no steps; no k gives one, for the epilogue', () => {
  for (const empty of [shape(0, 5, 5), shape(5, 0, 5), shape(5, 5, 5, { batch: 0 })]) assert.is(planMatmul(empty, lavapipe).steps.length, 0);
  const { steps } = planMatmul(shape(5, 5, 0), lavapipe);
  assert.is(steps.length, 1);
  assert.ok(steps[0]!.last && !steps[0]!.accumulate);
});

test('whole vec4s are read only where bases, strides and k allow it, and said to be only where the kernel does', () => {
  const aligned = (s: MatmulShape, variant: MatmulVariant): unknown[] => planMatmul(s, lavapipe, { variant }).steps.map(({ constants }) => [constants.ALIGNED_A, constants.ALIGNED_B]).flat();
  assert.equal(aligned(shape(10, 8, 12), 'tiled'), [true, true]);
  assert.equal(aligned(shape(10, 9, 12), 'tiled'), [true, false]);
  assert.equal(aligned(shape(10, 9, 12, { transposeB: true }), 'tiled'), [true, true]);
  assert.equal(aligned(shape(10, 8, 13, { transposeB: true }), 'tiled'), [false, false]);
  assert.equal(aligned(shape(12, 8, 13, { transposeA: true }), 'tiled'), [true, true]);
  assert.equal(aligned(shape(10, 8, 12), 'registers'), [false, true]);
  assert.equal(aligned(shape(12, 8, 13, { transposeA: true }), 'registers'), [true, true]);
  assert.equal(aligned(shape(12, 8, 12, { transposeA: true, transposeB: true }), 'registers'), [true, false]);
  assert.equal(aligned(shape(12, 8, 12, { transposeB: true }), 'vector'), [true, true]);
  assert.equal(aligned(shape(12, 8, 12), 'vector'), [false, true]);
});

/** The numbers of a tensor that a window of lines touches, first and last. */
function touched(batch: Range, size: number, width: number, lines: Range, across: Range): [number, number] {
  return [batch.start * size + lines.start * width + across.start, (batch.start + batch.count - 1) * size + (lines.start + lines.count - 1) * width + across.start + across.count - 1];
}

function checkStep(s: MatmulShape, { window, bound, params, constants }: MatmulStep, limit: number): void {
  assert.is(constants.B_HALF, s.halfB ?? false);
  const { batch, rows, columns, ks } = window;
  const one = { start: 0, count: 1 };
  const spans: [string, [number, number], Range, number][] = [
    ['a', s.transposeA ? touched(batch, s.m * s.k, s.m, ks, rows) : touched(batch, s.m * s.k, s.k, rows, ks), bound.a, params.aBase!],
    ['b', s.transposeB ? touched(s.sharedB ? one : batch, s.k * s.n, s.k, columns, ks) : touched(s.sharedB ? one : batch, s.k * s.n, s.n, ks, columns), bound.b, params.bBase!],
    ['out', touched(batch, s.m * s.outWidth, s.outWidth, rows, { start: s.outColumn + columns.start, count: columns.count }), bound.out, params.outBase!],
  ];
  for (const [name, [first, last], range, base] of spans) {
    const bytes = name === 'b' && s.halfB ? 2 : 4;
    assert.is(range.start * bytes % 256, 0, `${name} starts where it can be bound`);
    assert.is(range.start + base, first, `${name}'s base`);
    assert.is(range.start + range.count, last + 1, `${name} is bound to its last number`);
    assert.ok(range.count * bytes <= limit, `${name}: ${range.count} numbers under ${limit} bytes`);
  }
}

test('windows cover every product exactly once, each within the binding limit', () => {
  const dice = random(40 * 8, 9);
  for (let i = 0; i < 40; i++) {
    const pick = (at: number, most: number): number => 1 + Math.floor(((dice[i * 8 + at]! + 1) / 2) * most);
    const [batch, m, n, k] = [pick(0, 4), pick(1, 40), pick(2, 40), pick(3, 40)];
    const s = shape(m, n, k, { batch, transposeA: pick(4, 2) === 1, transposeB: pick(5, 2) === 1, sharedB: pick(6, 2) === 1, halfB: i % 3 === 0, outWidth: n + 3, outColumn: 2 });
    const limit = 256 * (1 + pick(7, 12));
    for (const variant of matmulVariants) {
      const done = new Int32Array(batch * m * n);
      const finished = new Int32Array(batch * m * n);
      for (const step of planMatmul(s, { ...broadcasting, bindingBytes: limit }, { variant }).steps) {
        checkStep(s, step, limit);
        const { batch: b, rows, columns, ks } = step.window;
        assert.is(step.accumulate, ks.start > 0);
        for (let z = b.start; z < b.start + b.count; z++) for (let r = rows.start; r < rows.start + rows.count; r++) for (let c = columns.start; c < columns.start + columns.count; c++) {
          const at = (z * m + r) * n + c;
          if (done[at] !== ks.start) assert.unreachable('parts of k come in order');
          done[at]! += ks.count;
          finished[at]! += step.last ? 1 : 0;
        }
      }
      assert.ok(done.every((sum) => sum === k), `${JSON.stringify(s)} under ${limit}`);
      assert.ok(finished.every((times) => times === 1));
    }
  }
});

test('GPT-2\'s unembedding is split by rows of b under a 128 MiB limit, and by rows of out where that is too large too', () => {
  const unembed = (m: number): MatmulShape => shape(m, 50257, 768, { transposeB: true, sharedB: true });
  const few = planMatmul(unembed(4), lavapipe).steps;
  assert.equal(few.map((s) => s.window.columns), [{ start: 0, count: 43688 }, { start: 43688, count: 6569 }]);
  assert.is(planMatmul(unembed(1024), lavapipe).steps.length, 4);
  assert.is(planMatmul(unembed(1024), real).steps.length, 1);
});

test('classes are coarse and name what they hold', () => {
  assert.is(matmulClass(shape(19, 768, 768)), 'nn m<=32 n<=1024 k<=1024 batch<=1');
  assert.is(matmulClass(shape(1000, 50257, 3072, { transposeB: true })), 'nt m<=2048 n>8192 k>1024 batch<=1');
  assert.is(matmulClass(shape(64, 512, 512, { transposeA: true, batch: 220 })), 'tn m<=256 n<=1024 k<=1024 batch>16');
  assert.is(matmulClass(shape(20, 700, 600)), matmulClass(shape(32, 1024, 1024)));
});

test('candidates for tuning fit the adapter, differ, and leave out the default', () => {
  for (const adapter of [lavapipe, broadcasting, real, { ...real, workgroupBytes: 4096 }]) for (const s of [shape(1, 768, 768), shape(19, 768, 3072), shape(1000, 12, 768), shape(64, 512, 512, { batch: 220 })]) {
    const candidates = matmulCandidates(s, adapter);
    const texts = new Set(candidates.map((c) => JSON.stringify(c)));
    assert.is(texts.size, candidates.length);
    const { variant, constants } = planMatmul(s, adapter);
    assert.not(texts.has(JSON.stringify({ variant, constants })));
    assert.ok(candidates.length >= 3);
    for (const c of candidates) assert.is(refuseMatmul(c, adapter), null);
    assert.equal(matmulCandidates(s, { ...adapter, tuned: { [matmulClass(s)]: candidates[0]! } }), candidates);
  }
});

test('what was tuned for a class is used for it alone, and only where it fits the adapter', () => {
  const s = shape(19, 768, 768);
  const tuned = { [matmulClass(s)]: { variant: 'registers', constants: { WORKGROUP: 16, COLUMN_THREADS: 4 } } };
  const plan = planMatmul(s, { ...broadcasting, tuned });
  assert.is(plan.variant, 'registers');
  assert.equal(plan.constants, { WORKGROUP: 16, COLUMN_THREADS: 4 });
  assert.is(plan.steps[0]!.groups, 1 * 48);
  assert.is(planMatmul(shape(200, 768, 768), { ...broadcasting, tuned }).variant, 'subgroup');
  assert.is(planMatmul(s, { ...broadcasting, tuned }, { variant: 'vector' }).variant, 'vector');
  for (const [choice, adapter, why] of [
    [{ variant: 'registers', constants: { WORKGROUP: 2048, COLUMN_THREADS: 4 } }, broadcasting, /2048 threads a workgroup/],
    [{ variant: 'subgroup', constants: { SUBGROUP: 32, ROWS: 8 } }, broadcasting, /subgroups of 32/],
    [{ variant: 'subgroup', constants: { SUBGROUP: 8, ROWS: 64 } }, broadcasting, /64 rows/],
    [{ variant: 'magic', constants: {} }, broadcasting, /no variant magic/],
    [{ variant: 'large', constants: { ROW_THREADS: 16, COLUMN_THREADS: 16 } }, { ...real, workgroupBytes: 8192 }, /32768 bytes/],
    [{ variant: 'tiled', constants: { ROW_THREADS: 6 } }, real, /6 by 8 threads .* are no tile/],
    [{ variant: 'tiled', constants: { K_STEP: 32, ROWS: 8, BUFFERS: 1, ROW_THREADS: 16, COLUMN_THREADS: 2 } }, real, /two pieces/],
    [{ variant: 'vector', constants: { WORKGROUP: 64, LANES: 3, ROWS: 1 } }, real, /3 lanes/],
  ] as const) {
    assert.match(refuseMatmul(choice, adapter) ?? '', why);
    assert.equal(planMatmul(s, { ...adapter, tuned: { [matmulClass(s)]: choice } }), planMatmul(s, adapter));
  }
});

test.run();
