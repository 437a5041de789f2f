/** What the files of a training step of sparse autoencoders share: a window's part of all tensors, and the products of its matrices. */
import type { Gpu } from '../gpu/index.ts';
import { matmul, type MatmulOptions } from './matmul.ts';
import type { DictionaryWindow, SaePath, StepSizes } from './sae-plan.ts';
import { recordTurn, saeVariant, vec4s } from './sae.ts';
import { partOf, partShape, saeParts, type SaePart, type SaeVariant, type SaeWeights } from './sae-variant.ts';
import { elements, Tensor } from './tensor.ts';

/** A window's part of everything, for `rows` examples. */
export interface Part extends DictionaryWindow {
  rows: number;
  weights: SaeWeights;
  gradients: SaeWeights;
  fired: Tensor;
  /** Σ over rows of the pre-activations' gradients, [count, features]; the encoder bias' gradient in all kinds where that is what it is. */
  sums: Tensor;
  /** [count, rows, features] */
  codes: Tensor;
  codeGradient: Tensor;
  /** [count, rows, width]: decoderBias − x, and x̂ − x. */
  shift: Tensor;
  error: Tensor;
  /** [count, width, rows]: one of the two turned over, where that is quicker. */
  turned: Tensor;
}

/** Sizes as the kernels name them. */
export type PartParams = { dictionaries: number; rows: number; width4: number; features: number; first: number };

/** What all parts of a step work with. */
export class StepTools {
  readonly gpu: Gpu;
  readonly sizes: StepSizes;
  readonly variant: SaeVariant;
  readonly path: SaePath;
  readonly software: boolean;
  /** Dictionaries of the largest window. */
  readonly window: number;
  /** Columns that one thread of the kernels over columns of codes takes: a software driver's whole cache lines, or a real GPU's many threads. */
  readonly columns: number;

  constructor(gpu: Gpu, sizes: StepSizes, how: { variant: SaeVariant; path: SaePath; software: boolean; window: number }) {
    this.gpu = gpu;
    this.sizes = sizes;
    this.variant = how.variant;
    this.path = how.path;
    this.software = how.software;
    this.window = how.window;
    this.columns = how.software ? 4 : 1;
  }

  /** A buffer that outlives scopes. */
  make(shape: number[], dtype: 'f32' | 'u32' = 'f32'): Tensor {
    return this.gpu.keep(Tensor.empty(this.gpu, shape, dtype));
  }

  /** One buffer of codes' size, [window, maxRows, features]. */
  makeCodes(): Tensor {
    return this.make([this.window, this.sizes.maxRows, this.sizes.features]);
  }

  /** A window's view of such a buffer. */
  codesOf(buffer: Tensor, { count, rows }: Pick<Part, 'count' | 'rows'>): Tensor {
    return view(buffer, 0, [count, rows, this.sizes.features]);
  }

  /** A window's part of stacked weights, or of what has their shapes. */
  cut(of: SaeWeights, { first, count }: DictionaryWindow): SaeWeights {
    const entries = saeParts(this.variant).map((part: SaePart) => [part, view(partOf(of, part, this.variant), first, [count, ...partShape(part, this.sizes)])]);
    return Object.fromEntries(entries) as unknown as SaeWeights;
  }

  params({ count, rows, first }: Part): PartParams {
    return { dictionaries: count, rows, width4: vec4s(this.sizes.width), features: this.sizes.features, first };
  }

  product(a: Tensor, b: Tensor, options: MatmulOptions): void {
    const [m, k] = (options.transposeA ? [a.shape[2]!, a.shape[1]!] : [a.shape[1]!, a.shape[2]!]);
    const n = options.transposeB ? b.shape[1]! : b.shape[2]!;
    matmul(a, b, { ...options, software: this.software, variant: saeVariant(this.gpu, m, n, k, this.software) });
  }

  /** a·bᵀ with a [count, rows, width], b [count, features, width]. */
  productAlong({ turned, count, rows }: Part, a: Tensor, b: Tensor, options: MatmulOptions): void {
    if (this.software) recordTurn(this.gpu, { dictionaries: count, rows, width: this.sizes.width }, a, turned);
    this.product(this.software ? turned : a, b, { ...options, transposeA: this.software, transposeB: true });
  }

  /** Threads of the kernels over columns of codes. */
  columnThreads(dictionaries: number): number {
    return dictionaries * Math.ceil(this.sizes.features / (8 * this.columns)) * 8;
  }
}

/** What a stacked tensor holds from dictionary `first` on, as a tensor of the given shape. Windows begin where a view can. */
export function view(stacked: Tensor, first: number, shape: readonly number[]): Tensor {
  const flat = stacked.reshape([-1]);
  const used = flat.rows(first * elements(shape.slice(1)), elements(shape));
  const out = used.reshape(shape);
  flat.dispose();
  used.dispose();
  return out;
}
