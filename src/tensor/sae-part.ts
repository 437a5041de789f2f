/** What the files of a training step of sparse autoencoders share: a window's part of all tensors, and the products of its matrices. */
import type { Gpu } from '../gpu/index.ts';
import { matmul, type MatmulOptions } from './matmul.ts';
import type { DictionaryWindow, FeatureWindow, SaePath, StepSizes } from './sae-plan.ts';
import { recordTurn, saeVariant, vec4s } from './sae.ts';
import { partOf, partShape, saeParts, type SaePart, type SaeVariant, type SaeWeights } from './sae-variant.ts';
import { elements, Tensor } from './tensor.ts';

/** A window's part of everything, for `rows` examples: whole dictionaries, or with `features` of one dictionary from `start` on. */
export interface Part extends DictionaryWindow {
  rows: number;
  /** The window of features, counted from 0; the only one has all of them. */
  slot: number;
  start: number;
  features: number;
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

/** Buffers of codes' size: one for each window of features, or one that serves them all in turn. */
export type Codes = readonly Tensor[];

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
  /** Windows of features; more than one for a single dictionary that no binding holds whole. */
  readonly features: readonly FeatureWindow[];
  /** Columns that one thread of the kernels over columns of codes takes: a software driver's whole cache lines, or a real GPU's many threads. */
  readonly columns: number;

  constructor(gpu: Gpu, sizes: StepSizes, how: { variant: SaeVariant; path: SaePath; software: boolean; window: number; features: readonly FeatureWindow[] }) {
    this.gpu = gpu;
    this.sizes = sizes;
    this.variant = how.variant;
    this.path = how.path;
    this.software = how.software;
    this.window = how.window;
    this.features = how.features;
    this.columns = how.software ? 4 : 1;
  }

  /** A buffer that outlives scopes. */
  make(shape: number[], dtype: 'f32' | 'u32' = 'f32'): Tensor {
    return this.gpu.keep(Tensor.empty(this.gpu, shape, dtype));
  }

  /** Whether features are cut into windows. */
  get wide(): boolean {
    return this.features.length > 1;
  }

  /** Features of the largest window. */
  get widest(): number {
    return this.features[0]!.count;
  }

  /** Room for codes, [window, maxRows, features]; `kept` until all windows of features are done, not of the one in hand alone. */
  makeCodes(kept: boolean): Codes {
    return (kept ? this.features : this.features.slice(0, 1)).map(({ count }) => this.make([this.window, this.sizes.maxRows, count]));
  }

  /** A part's view of such buffers. */
  codesOf(buffers: Codes, { count, rows, slot, features }: Pick<Part, 'count' | 'rows' | 'slot' | 'features'>): Tensor {
    return view(buffers[slot] ?? buffers[0]!, 0, [count, rows, features]);
  }

  /** A part of stacked weights, or of what has their shapes. */
  cut(of: SaeWeights, { first, count, start, features }: Pick<Part, 'first' | 'count' | 'start' | 'features'>): SaeWeights {
    const { width } = this.sizes;
    const entries = saeParts(this.variant).map((part: SaePart) => {
      const shape = partShape(part, { features, width });
      return [part, view(partOf(of, part, this.variant), first, [count, ...shape], part === 'decoderBias' ? 0 : start * (shape[1] ?? 1))];
    });
    return Object.fromEntries(entries) as unknown as SaeWeights;
  }

  params({ count, rows, first, features }: Part): PartParams {
    return { dictionaries: count, rows, width4: vec4s(this.sizes.width), features, first };
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
  columnThreads({ count, features }: Pick<Part, 'count' | 'features'>): number {
    return count * Math.ceil(features / (8 * this.columns)) * 8;
  }
}

/** What a stacked tensor holds from dictionary `first`, or from number `start` on, as a tensor of the given shape. Windows begin where a view can. */
export function view(stacked: Tensor, first: number, shape: readonly number[], start = 0): Tensor {
  const flat = stacked.reshape([-1]);
  const used = flat.rows(first * elements(shape.slice(1)) + start, elements(shape));
  const out = used.reshape(shape);
  flat.dispose();
  used.dispose();
  return out;
}
