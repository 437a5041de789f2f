/** What the planner settles for each shape that the benchmark measures, on four kinds of adapter. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { planMatmul, refuseMatmul, type MatmulAdapter, type MatmulShape } from '../../src/tensor/matmul-plan.ts';

const plain: MatmulAdapter = { software: true, subgroupSize: 0, bindingBytes: 2 ** 27, workgroupInvocations: 1024, workgroupBytes: 32768 };
const broadcasting: MatmulAdapter = { ...plain, subgroupSize: 8 };
const integrated: MatmulAdapter = { ...plain, software: false, integrated: true, workgroupInvocations: 256, workgroupBytes: 16384 };
const card: MatmulAdapter = { ...plain, software: false, subgroupSize: 32, bindingBytes: 2 ** 31 - 256 };
const adapters = { plain, broadcasting, integrated, card };

/**
 * `variant constants`, or for tiles `rows×columns×k` and the parts of a split k; then workgroups, and in how many dispatches if not in one.
 * A shape is `batch × m×k×n`, ᵀ for a transposed operand.
 */
const TABLE: readonly (readonly [string, string, string, string, string])[] = [
  ['1×768×2304', 'vector 8,1,1 (72)', 'vector 8,1,1 (72)', 'vector 64,32,1 (288)', 'vector 64,32,1 (288)'],
  ['1×768×768', 'vector 8,1,1 (24)', 'vector 8,1,1 (24)', 'vector 64,64,1 (192)', 'vector 64,64,1 (192)'],
  ['1×768×3072', 'vector 8,1,1 (96)', 'vector 8,1,1 (96)', 'vector 64,32,1 (384)', 'vector 64,32,1 (384)'],
  ['1×3072×768', 'vector 8,1,1 (24)', 'vector 8,1,1 (24)', 'vector 64,64,1 (192)', 'vector 64,64,1 (192)'],
  ['1×768×50257 bᵀ', 'vector 8,1,1 (1572 in 2)', 'vector 8,1,1 (1572 in 2)', 'vector 64,2,1 (394 in 2)', 'vector 64,2,1 (393)'],
  ['19×768×2304', 'registers 8,8 (216)', 'subgroup 8,20 (72)', '32×32×16 (72)', '32×64×16 /6 (216)'],
  ['19×768×768', 'registers 8,8 (72)', 'subgroup 8,20 (24)', '32×64×16 /4 (48)', '32×32×16 /6 (144)'],
  ['19×768×3072', 'registers 8,8 (288)', 'subgroup 8,20 (96)', '32×64×16 (48)', '32×64×16 /6 (288)'],
  ['19×3072×768', 'registers 8,8 (72)', 'subgroup 8,20 (24)', '32×64×16 /4 (48)', '32×32×16 /11 (264)'],
  ['19×768×50257 bᵀ', 'registers 8,8 (4716 in 2)', 'subgroup 8,20 (1572 in 2)', '32×64×16 (786 in 2)', '32×64×16 (786)'],
  ['128×768×2304', 'registers 8,8 (1152)', 'subgroup 8,32 (288)', '64×64×16 (72)', '64×64×16 /4 (288)'],
  ['128×768×768', 'registers 8,8 (384)', 'subgroup 8,32 (96)', '128×128×8 /4 (24)', '32×64×16 /6 (288)'],
  ['128×768×3072', 'registers 8,8 (1536)', 'subgroup 8,32 (384)', '128×128×8 (24)', '128×128×16 /6 (144)'],
  ['128×3072×768', 'registers 8,8 (384)', 'subgroup 8,32 (96)', '128×128×8 /4 (24)', '64×64×16 /11 (264)'],
  ['128×768×50257 bᵀ', 'registers 8,8 (25152 in 2)', 'subgroup 8,32 (6288 in 2)', '128×128×8 (394 in 2)', '128×128×16 (393)'],
  ['1024×768×2304', 'registers 8,8 (9216)', 'subgroup 8,32 (2304)', '128×128×8 (144)', '128×128×16 (144)'],
  ['1024×768×768', 'registers 8,8 (3072)', 'subgroup 8,32 (768)', '128×128×8 (48)', '128×128×16 /3 (144)'],
  ['1024×768×3072', 'registers 8,8 (12288)', 'subgroup 8,32 (3072)', '128×128×8 (192)', '128×128×16 (192)'],
  ['1024×3072×768', 'registers 8,8 (3072)', 'subgroup 8,32 (768)', '128×128×8 (48)', '128×128×16 /3 (144)'],
  ['1024×768×50257 bᵀ', 'registers 8,8 (201216 in 4)', 'subgroup 8,32 (51876 in 4)', '128×128×8 (3546 in 4)', '128×128×16 (3144)'],
  ['4096×768×2304', 'registers 8,8 (36864)', 'subgroup 8,32 (9216)', '128×128×8 (576)', '128×128×16 (576)'],
  ['4096×768×768', 'registers 8,8 (12288)', 'subgroup 8,32 (3072)', '128×128×8 (192)', '128×128×16 (192)'],
  ['4096×768×3072', 'registers 8,8 (49152)', 'subgroup 8,32 (12288)', '128×128×8 (768)', '128×128×16 (768)'],
  ['4096×3072×768', 'registers 8,8 (12288)', 'subgroup 8,32 (3072)', '128×128×8 (192)', '128×128×16 (192)'],
  ['4096×768×50257 bᵀ', 'registers 8,8 (804864 in 14)', 'subgroup 8,32 (204360 in 14)', '128×128×8 (14578 in 14)', '128×128×16 (12576)'],
  ['256×256×256', 'registers 8,8 (256)', 'subgroup 8,32 (64)', '32×32×16 (64)', '32×32×16 /2 (128)'],
  ['512×512×512', 'registers 8,8 (1024)', 'subgroup 8,32 (256)', '64×64×16 (64)', '64×64×16 /4 (256)'],
  ['1024×1024×1024', 'registers 8,8 (4096)', 'subgroup 8,32 (1024)', '128×128×8 (64)', '64×64×16 (256)'],
  ['2048×2048×2048', 'registers 8,8 (16384)', 'subgroup 8,32 (4096)', '128×128×8 (256)', '128×128×16 (256)'],
  ['4096×4096×4096', 'registers 8,8 (65536)', 'subgroup 8,32 (16384)', '128×128×8 (1024)', '128×128×16 (1024)'],
  ['220 × 512×64×512 bᵀ', 'registers 8,8 (225280 in 2)', 'subgroup 8,32 (56320 in 2)', '128×128×8 (3520 in 2)', '128×128×16 (3520)'],
  ['220 × 512×512×64', 'registers 8,8 (28160 in 2)', 'subgroup 8,32 (7040 in 2)', '64×64×16 (1760 in 2)', '64×64×16 (1760)'],
  ['220 × 64×512×512 aᵀ', 'registers 8,8 (28160 in 2)', 'subgroup 8,32 (7040 in 2)', '64×64×16 (1760 in 2)', '64×64×16 (1760)'],
  ['220 × 512×512×64 aᵀ', 'registers 8,8 (28160 in 2)', 'subgroup 8,32 (7040 in 2)', '64×64×16 (1760 in 2)', '64×64×16 (1760)'],
  ['4096×768×24576', 'registers 8,8 (393216 in 4)', 'subgroup 8,32 (99840 in 4)', '128×128×8 (6528 in 4)', '128×128×16 (6144)'],
];

function shapeOf(text: string): MatmulShape {
  const [, batch, m, k, n, ta, tb] = text.match(/^(?:(\d+) × )?(\d+)×(\d+)×(\d+)( aᵀ)?( bᵀ)?$/)!;
  return {
    batch: Number(batch ?? 1), m: Number(m), n: Number(n), k: Number(k), transposeA: Boolean(ta), transposeB: Boolean(tb), sharedB: !batch,
    outWidth: Number(n), outColumn: 0, residualWidth: 0, residualColumn: 0, biasBatch: 0,
  };
}

function settled(shape: MatmulShape, adapter: MatmulAdapter): string {
  const { variant, constants, splits, steps } = planMatmul(shape, adapter);
  assert.is(refuseMatmul({ variant, constants }, adapter), null);
  const groups = steps.reduce((sum, step) => sum + step.groups, 0);
  const where = `(${groups}${steps.length > 1 ? ` in ${steps.length}` : ''})`;
  if (variant !== 'tiled' && variant !== 'large') return `${variant} ${Object.values(constants).join(',')} ${where}`;
  const { ROW_THREADS = 0, COLUMN_THREADS = 0, ROWS = 0, COLUMNS = 0, K_STEP } = constants;
  return `${ROW_THREADS * ROWS}×${COLUMN_THREADS * COLUMNS}×${K_STEP}${splits > 1 ? ` /${splits}` : ''} ${where}`;
}

const test = suite('matmul shapes');

for (const [at, name] of Object.keys(adapters).entries()) {
  test(`kernel, sizes, splits and workgroups: ${name}`, () => {
    for (const row of TABLE) assert.is(settled(shapeOf(row[0]), adapters[name as keyof typeof adapters]), row[at + 1], row[0]);
  });
}

test('a k is split only for a single matrix with too few tiles, into parts of 128 or more, never on a CPU driver', () => {
  for (const [text] of TABLE) for (const adapter of Object.values(adapters)) {
    const shape = shapeOf(text);
    const { splits, steps } = planMatmul(shape, adapter);
    if (splits === 1) continue;
    assert.not(adapter.software);
    assert.is(shape.batch, 1);
    assert.is(steps.length, 1);
    assert.ok(shape.k / splits >= 128);
    assert.ok(steps[0]!.groups / splits < 128);
  }
});

test('parts that do not fit one binding, or a result in windows, leave k whole', () => {
  const forced = { variant: 'tiled', constants: { SPLITS: 4 } } as const;
  const shape = shapeOf('128×3072×768');
  assert.is(planMatmul(shape, card, forced).splits, 4);
  for (const bindingBytes of [3 * 128 * 768 * 4, 100_000]) {
    const { splits, steps } = planMatmul(shape, { ...card, bindingBytes }, forced);
    assert.is(splits, 1);
    assert.ok(steps.every(({ constants }) => constants.SPLITS === undefined));
  }
});

test.run();
