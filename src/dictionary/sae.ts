/**
 * A sparse autoencoder of any kind:  f = act((a − b_dec) W_enc + b_enc),  â = f W_dec + b_dec. How each kind makes codes f of activations stands in
 * tensor/sae-variants; a feature is active where its code is not 0.
 *
 * Training sees activations divided by their site's scale c. As every kind's activation is homogeneous, the trained dictionary is kept with c moved
 * into its biases and thresholds (tensor/sae-encode.ts): it takes and gives activations in the model's own units, its codes are in those units
 * too, and both weight matrices stay as they were trained. Nothing that the evaluation computes depends on the difference.
 */
import { ShapeError, UsageError } from '../errors.ts';
import { finishedParts, gramMatrix, mul, saeCodes, saeDecode, saeEncode, saeWidths, Tensor, type SaeKind, type SaeVariant, type SaeWeights } from '../tensor/index.ts';
import type { Dictionary, EditOptions, EditResult, Examples } from './dictionary.ts';
import { SaeEdits, unitWeights } from './sae-edits.ts';

/** What is known of where a dictionary comes from; the first four as SAELens names them. */
export interface SaeMetadata {
  model_name?: string;
  hook_name?: string;
  /** The head that the activations come from; null for hooks without heads or for all heads together. */
  hook_head_index?: number | null;
  prepend_bos?: boolean;
  [key: string]: unknown;
}

/** The kinds of dictionary that people name: those of tensor/, and `frozen`, a vanilla one whose decoder was not trained. */
export type SaeVariantName = SaeVariant | 'frozen';

export interface SaeOptions {
  /** `vanilla` unless given. */
  variant?: SaeVariantName;
  /** Top-k: active features of an example. */
  k?: number;
  /** As released with the paper: codes may be negative (tensor/sae-variant.ts). */
  signed?: boolean;
}

export class Sae implements Dictionary {
  readonly name: string;
  readonly variant: SaeVariantName;
  /** Top-k: active features of an example; else null. */
  readonly k: number | null;
  readonly dIn: number;
  readonly features: number;
  /** encoder and decoder [features, dIn], encoderBias [features], decoderBias [dIn] and what else the kind has, in activation units. Owned by this dictionary. */
  readonly weights: SaeWeights;
  readonly metadata: Readonly<SaeMetadata>;
  readonly kind: SaeKind;
  private gram: Tensor | null | undefined;

  /** Takes over the weights. Throws ShapeError if they do not fit together or one is missing, UsageError for a top-k dictionary without its k. */
  constructor(name: string, weights: SaeWeights, metadata: SaeMetadata = {}, { variant = 'vanilla', k, signed = false }: SaeOptions = {}) {
    const { features, width, batched } = saeWidths(weights);
    if (batched) throw new ShapeError(`sae ${name}: weights of a single dictionary are needed, not a stack`);
    const own: SaeVariant = variant === 'frozen' ? 'vanilla' : variant;
    for (const part of finishedParts(own)) if (!weights[part]) throw new ShapeError(`sae ${name}: a ${variant} dictionary needs the tensor ${part}`);
    if (variant === 'topk' && !(k !== undefined && Number.isInteger(k) && k >= 1 && k <= features)) throw new UsageError(`sae ${name}: k is ${k}, but a topk dictionary needs a whole number from 1 to ${features}`);
    this.name = name;
    this.variant = variant;
    this.k = variant === 'topk' ? k! : null;
    this.kind = { variant: own, signed, ...(variant === 'topk' ? { k } : {}) };
    this.dIn = width;
    this.features = features;
    this.weights = weights;
    this.metadata = metadata;
  }

  /** Codes f, [n, features]; not negative but for signed kinds. Throws ShapeError if the activations are not as wide as the dictionary. */
  encode({ activations }: Pick<Examples, 'activations'>): Tensor {
    this.checkWidth(activations);
    return saeCodes(activations, this.weights, undefined, this.kind);
  }

  /** Number of active features of each example, u32 [n]. */
  activeCounts({ activations }: Pick<Examples, 'activations'>): Tensor {
    this.checkWidth(activations);
    const { codes, counts } = saeEncode(activations, this.weights, undefined, this.kind);
    codes.dispose();
    return counts;
  }

  decode(codes: Tensor): Tensor {
    return saeDecode(codes, this.weights);
  }

  contributions(codes: Tensor): Tensor {
    const { decoder } = this.weights;
    return codes.gpu.scope(() => mul(codes, unitWeights(codes, decoder)));
  }

  /**
   * Edits towards the target by at most k features: greedily, blind to what attributes mean (evaluation.md §5.3), or by one of the ways of sae-edits.ts.
   * Throws UsageError for an edit by interpretations without rankings.
   */
  edit(source: Examples, target: Examples, options: EditOptions): EditResult {
    return this.edits(source, target, [options])[0]!;
  }

  /** Several edits of the same source, each as `edit` makes it, for less than their sum. */
  edits(source: Examples, target: Examples, options: readonly EditOptions[]): EditResult[] {
    const { decoder } = this.weights;
    const most = options.reduce((largest, { k }) => Math.max(largest, k), 0);
    // Formed outside the scope below, which would take it back.
    const gram = options.some(({ features = 'agnostic' }) => features === 'agnostic' || features === 'reconstruction') ? this.gramOfDecoder() : null;
    return decoder.gpu.scope(() => {
      const made = new SaeEdits({ name: this.name, decoder, gram, encode: (examples) => this.encode(examples), decode: (codes) => this.decode(codes) }, source, target, most);
      return options.map((option) => made.edit(option));
    });
  }

  dispose(): void {
    for (const tensor of Object.values(this.weights) as (Tensor | undefined)[]) tensor?.dispose();
    this.gram?.dispose();
    this.gram = undefined;
  }

  /** Made at the first edit and kept. */
  private gramOfDecoder(): Tensor | null {
    if (this.gram === undefined) {
      this.gram = gramMatrix(this.weights.decoder);
      if (this.gram) this.gram.gpu.keep(this.gram);
    }
    return this.gram;
  }

  private checkWidth(activations: Tensor): void {
    if (activations.shape.length !== 2 || activations.shape[1] !== this.dIn) {
      throw new ShapeError(`dictionary ${this.name} takes activations of width ${this.dIn}, not of shape [${activations.shape.join(', ')}]`);
    }
  }
}
