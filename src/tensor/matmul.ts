/** Matrix products, batched, with the epilogues that a transformer and an SAE need. */
import registersSource from '../../kernels/matmul-registers.wgsl';
import subgroupSource from '../../kernels/matmul-subgroup.wgsl';
import tiledSource from '../../kernels/matmul-tiled.wgsl';
import sumSource from '../../kernels/matmul-sum.wgsl';
import vectorSource from '../../kernels/matmul-vector.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, installTunable, type BufferSlice, type Gpu, type Kernel } from '../gpu/index.ts';
import { planMatmul, refuseMatmul, type MatmulAdapter, type MatmulShape, type MatmulStep, type MatmulVariant, type Range } from './matmul-plan.ts';
import { Tensor, elements, sameShape, showShape } from './tensor.ts';

const tiledKernel = defineKernel('matmul-tiled', tiledSource);
const kernels: Record<MatmulVariant, Kernel> = {
  subgroup: defineKernel('matmul-subgroup', subgroupSource),
  registers: defineKernel('matmul-registers', registersSource),
  tiled: tiledKernel,
  large: tiledKernel,
  vector: defineKernel('matmul-vector', vectorSource),
};
const sumKernel = defineKernel('matmul-sum', sumSource);
const SUM_ELEMENTS = 256; // WORKGROUP · 4 of the kernel
installTunable({
  operation: 'matmul', kernels,
  constants: {
    subgroup: ['SUBGROUP', 'ROWS'], registers: ['WORKGROUP', 'COLUMN_THREADS'], tiled: ['THREADS', 'K_STEP'], large: ['THREADS', 'K_STEP'], vector: ['WORKGROUP', 'LANES', 'ROWS'],
  },
  refuse: (choice, { subgroupSize, limits }) => refuseMatmul(choice, { subgroupSize, ...limits }),
});
/** Bits of the kernels' flags. */
const FLAGS = { bias: 1, biasEach: 2, gelu: 4, relu: 8, residual: 16, residualOut: 32, accumulate: 64, rowsFastest: 128 } as const;

export interface MatmulOptions {
  /** a is [...batch, K, M]. */
  transposeA?: boolean;
  /** b is [...batch, N, K]. */
  transposeB?: boolean;
  /** [N], or [...batch, N]; added before the activation. */
  bias?: Tensor;
  /** `gelu` is GPT-2's tanh form. */
  activation?: 'gelu' | 'relu';
  /** Added last; as many elements as the result. It may be `out` itself, which is then added to. */
  residual?: Tensor;
  /** Multiplies the product, before the bias. */
  scale?: number;
  /** Written into instead of a new tensor; its rows may be longer than N. It may not share memory with a, b or bias. */
  out?: Tensor;
  /** First column of `out` that is written. */
  outColumn?: number;
  /** Forces a kernel; the planner chooses otherwise. For tests and benchmarks. */
  variant?: MatmulVariant;
  /** Forces values of its constants. For tests and benchmarks. */
  constants?: Readonly<Record<string, number>>;
  /** Plans as for a CPU driver, or as for a real GPU, whatever this one is. For tests and benchmarks. */
  software?: boolean;
}

/**
 * activation(scale · A·B + bias) + residual.
 * a [...batch, M, K]; b [...batch, K, N], or [K, N] for the whole batch, stored as f32 or f16; sums are f32. Returns [...batch, M, N], or `out`.
 * Operands and results beyond the binding limit are computed in windows of rows, columns and k. Throws ShapeError.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { gpu } = a;
  const { bias, activation, scale = 1, software = gpu.software } = options;
  const { shape, outShape } = shapeOf(a, b, options);
  const out = options.out ?? Tensor.empty(gpu, outShape);
  const plan = planMatmul(shape, { ...matmulAdapter(gpu), software, ...(software === gpu.software ? {} : { tuned: undefined }) }, options);
  const parts = plan.steps.some((s) => s.accumulate);
  // Partial sums would overwrite a residual that stands where they go.
  const inPlace = options.residual !== undefined && options.residual.storage === out.storage && !parts;
  const residual = options.residual && options.residual.storage === out.storage && parts ? options.residual.clone() : options.residual;
  const epilogue = (bias ? (shape.biasBatch ? FLAGS.biasEach : FLAGS.bias) : 0) | (activation ? FLAGS[activation] : 0)
    | (residual ? (inPlace ? FLAGS.residualOut : FLAGS.residual) : 0);
  const bind = ({ bound }: MatmulStep, into: BufferSlice): BufferSlice[] => [
    ...(plan.variant === 'subgroup' ? [part(a, bound.a)] : [part(a, bound.a), part(a, bound.a)]), part(b, bound.b), part(b, bound.b), part(b, bound.b),
    // A kernel without bias or residual does not read their bindings; a stands in.
    bias ? part(bias, bound.bias) : part(a, bound.a), residual && !inPlace ? part(residual, bound.residual) : part(a, bound.a), into,
  ];
  for (const step of plan.steps) {
    const { constants, params, groups, bound, accumulate, last, rowsFastest } = step;
    if (plan.splits > 1) {
      const { m, n, outStride, residualStride, outBase, biasBase, residualBase } = params as Record<string, number>;
      const sums = Tensor.empty(gpu, [plan.splits, m!, n!]);
      gpu.dispatch({
        kernel: kernels[plan.variant], groups, constants: { ...plan.constants, ...constants }, bindings: bind(step, sums),
        params: { ...params, batches: plan.splits, outStride: n!, outBase: 0, flags: rowsFastest ? FLAGS.rowsFastest : 0, scale: 1 },
      });
      gpu.dispatch({
        kernel: sumKernel, groups: Math.ceil(m! * Math.ceil(n! / 4) * 4 / SUM_ELEMENTS), bindings: [sums, ...bind(step, part(out, bound.out)).slice(-3)],
        params: { splits: plan.splits, m: m!, n: n!, outStride: outStride!, residualStride: residualStride!, outBase: outBase!, biasBase: biasBase!, residualBase: residualBase!, flags: epilogue, scale },
      });
      sums.dispose();
      continue;
    }
    const flags = (last ? epilogue : 0) | (accumulate ? FLAGS.accumulate : 0) | (rowsFastest ? FLAGS.rowsFastest : 0);
    gpu.dispatch({
      kernel: kernels[plan.variant], groups, params: { ...params, flags, scale }, constants: { ...plan.constants, ...constants }, bindings: bind(step, part(out, bound.out)),
    });
  }
  if (residual !== options.residual) residual?.dispose();
  return out;
}

/** What the planner needs to know of a device. */
export function matmulAdapter(gpu: Gpu): MatmulAdapter {
  const { software, integrated, subgroupSize } = gpu;
  return { ...gpu.limits, software, integrated, subgroupSize, tuned: gpu.tuning.choices.matmul };
}

function part(tensor: Tensor, { start, count }: Range): BufferSlice {
  return { storage: tensor.storage, byteOffset: tensor.byteOffset + start * tensor.elementBytes, byteLength: count * tensor.elementBytes };
}

/** The problem that two tensors and the options pose. Throws ShapeError, which names both. */
function shapeOf(a: Tensor, b: Tensor, options: MatmulOptions): { shape: MatmulShape; outShape: readonly number[] } {
  const { transposeA = false, transposeB = false, bias, residual, out, outColumn = 0 } = options;
  const fail = (why: string): never => {
    throw new ShapeError(`matmul: ${why}; a ${showShape(a.shape)}${transposeA ? 'ᵀ' : ''}, b ${showShape(b.shape)}${transposeB ? 'ᵀ' : ''}`);
  };
  if (a.shape.length < 2 || b.shape.length < 2) fail('operands need at least two axes');
  for (const t of [a, bias, residual, out]) if (t && t.dtype !== 'f32') fail(`operands must be f32, one is ${t.dtype}`);
  if (b.dtype === 'u32') fail('b must be f32 or f16, it is u32');
  const batchShape = a.shape.slice(0, -2);
  const [a1, a2] = a.shape.slice(-2) as [number, number];
  const [b1, b2] = b.shape.slice(-2) as [number, number];
  const [m, k] = transposeA ? [a2, a1] : [a1, a2];
  const [inner, n] = transposeB ? [b2, b1] : [b1, b2];
  const sharedB = b.shape.length === 2;
  const batch = elements(batchShape);
  if (k !== inner) fail(`inner sizes ${k} and ${inner} differ`);
  if (!sharedB && !sameShape(b.shape.slice(0, -2), batchShape)) fail('batches differ');
  if (residual && residual.size !== batch * m * n && residual !== out) fail(`residual ${showShape(residual.shape)} does not fit`);
  if (bias && bias.size !== n && bias.size !== batch * n) fail(`bias ${showShape(bias.shape)} does not fit`);
  const outShape = [...batchShape, m, n];
  const outWidth = out ? out.shape.at(-1) ?? 0 : n;
  if (outColumn < 0 || outColumn + n > outWidth || (out && out.size !== batch * m * outWidth)) fail(`out ${showShape(out?.shape ?? outShape)} does not hold the result from column ${outColumn} on`);
  if (out && [a, b, bias].some((t) => t?.storage === out.storage)) fail('out shares memory with an operand');
  const apart = residual && residual.storage === out?.storage && (residual.byteOffset !== out.byteOffset || residual.size !== out.size);
  if (apart) fail('residual and out share memory, but are not the same tensor');
  const biasBatch = bias && bias.size !== n ? n : 0;
  const own = { n, k, transposeA, transposeB, halfB: b.dtype === 'f16', outWidth, outColumn, biasBatch };
  // A residual in place lies as out does; another is dense.
  const along = !residual ? { residualWidth: 0, residualColumn: 0 }
    : residual.storage === out?.storage ? { residualWidth: outWidth, residualColumn: outColumn } : { residualWidth: n, residualColumn: 0 };
  // One matrix b for all rows of a: a batch of tall matrices is one taller matrix.
  const flat = sharedB && !transposeA && !biasBatch;
  const shape = flat ? { ...own, ...along, batch: 1, m: batch * m, sharedB } : { ...own, ...along, batch, m, sharedB };
  return { shape, outShape };
}
