/**
 * A sparse autoencoder of any kind:  f = act((a − b_dec) W_enc + b_enc),  â = f W_dec + b_dec. How each kind makes codes f of activations stands in
 * tensor/sae-variants; a feature is active where its code is not 0.
 *
 * Training sees activations divided by their site's scale c. As every kind's activation is homogeneous, the trained dictionary is kept with c moved
 * into its biases and thresholds (tensor/sae-encode.ts): it takes and gives activations in the model's own units, its codes are in those units
 * too, and both weight matrices stay as they were trained. Nothing that the evaluation computes depends on the difference.
 *
 * Some dictionaries bring every activation to one scale of its own first (tensor/row-normalize.ts):  f = encode((a − μ) / s),  â = s·(f W_dec + b_dec) + μ.
 * Their codes are those of the normalised activation; edits are of what features add to the activation, s·f_j d_j.
 */
import { ShapeError, UsageError } from '../errors.ts';
import {
  finishedParts, gatherRows, gramMatrix, mul, multiplyRows, normalizeRows, restoreRows, saeActivate, saeCodes, saeDecode, saeEncode, saePreActivations, saeWidths, Tensor, type RowNormalization, type SaeKind, type SaeVariant, type SaeWeights,
} from '../tensor/index.ts';
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
  /** How every activation is brought to one scale; null unless given. */
  normalization?: RowNormalization | null;
  /** What a user should know before trusting it here, a sentence each. */
  warnings?: readonly string[];
  /** Share of the training's examples on which each feature was active, [features]; null where that is not known. */
  frequencies?: Float32Array | null;
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
  /** How every activation is brought to one scale before it is encoded; else null. */
  readonly normalization: RowNormalization | null;
  /** Risks that were seen when it was loaded, a sentence each; none of them changes a number. */
  readonly warnings: readonly string[];
  /** Share of the training's examples on which each feature was active, [features]; null where that is not known. */
  readonly frequencies: Float32Array | null;
  private gram: Tensor | null | undefined;
  /** What codes of a normalising dictionary were made of. */
  private readonly encoded = new WeakMap<Tensor, Tensor>();

  /** Takes over the weights. Throws ShapeError if they do not fit together or one is missing, UsageError for a top-k dictionary without its k. */
  constructor(name: string, weights: SaeWeights, metadata: SaeMetadata = {}, { variant = 'vanilla', k, signed = false, normalization = null, warnings = [], frequencies = null }: SaeOptions = {}) {
    const { features, width, batched } = saeWidths(weights);
    if (batched) throw new ShapeError(`sae ${name}: weights of a single dictionary are needed, not a stack`);
    if (frequencies && frequencies.length !== features) throw new ShapeError(`sae ${name}: ${frequencies.length} frequencies do not fit ${features} features`);
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
    this.normalization = normalization;
    this.warnings = warnings;
    this.frequencies = frequencies;
  }

  /** Codes f, [n, features]; not negative but for signed kinds. Throws ShapeError if the activations are not as wide as the dictionary. */
  encode({ activations }: Pick<Examples, 'activations'>): Tensor {
    this.checkWidth(activations);
    const { normalization, weights, kind } = this;
    if (!normalization) return saeCodes(activations, weights, undefined, kind);
    const codes = activations.gpu.scope(() => saeCodes(normalizeRows(activations, normalization).rows, weights, undefined, kind));
    this.encoded.set(codes, activations);
    return codes;
  }

  /** Number of active features of each example, u32 [n]. */
  activeCounts({ activations }: Pick<Examples, 'activations'>): Tensor {
    this.checkWidth(activations);
    const { normalization, weights, kind } = this;
    return activations.gpu.scope(() => saeEncode(normalization ? normalizeRows(activations, normalization).rows : activations, weights, undefined, kind).counts);
  }

  /**
   * Reconstructions, [n, dIn]. With a normalisation they need the examples' own scales: those of `examples`, or of the activations that `encode`
   * made these very codes of, as long as these are there. UsageError where neither is.
   */
  decode(codes: Tensor, examples?: Pick<Examples, 'activations'>): Tensor {
    const { normalization, weights } = this;
    if (!normalization) return saeDecode(codes, weights);
    const activations = examples?.activations ?? this.encoded.get(codes);
    if (!activations || activations.disposed) throw new UsageError(`dictionary ${this.name} brings every activation to one scale, so that codes alone do not give it back: give decode the examples that they are of`);
    this.checkWidth(activations);
    return codes.gpu.scope(() => restoreRows(saeDecode(codes, weights), normalizeRows(activations, normalization)));
  }

  /** What codes are made of (tensor/sae-pre-activations.ts), [n, features]: of the normalised activations where the dictionary has a normalisation. */
  preActivations(activations: Tensor): Tensor {
    this.checkWidth(activations);
    return activations.gpu.scope(() => saePreActivations(this.normalized(activations), this.weights, this.kind));
  }

  /** Codes of pre-activations, [n, features]; a gated kind's gates are those of the activations. */
  activate(pre: Tensor, activations: Tensor): Tensor {
    this.checkWidth(activations);
    return activations.gpu.scope(() => saeActivate(pre, this.normalized(activations), this.weights, this.kind));
  }

  /** f W_dec + b_dec, [n, dIn], on the scale that the dictionary works on: before `restore`. */
  reconstruct(codes: Tensor): Tensor {
    return saeDecode(codes, this.weights);
  }

  /** A reconstruction brought back to the scale of the activations that it is of. A tensor of its own handle; without a normalisation the same numbers. */
  restore(reconstruction: Tensor, activations: Tensor): Tensor {
    const { normalization } = this;
    if (!normalization) return reconstruction.reshape(reconstruction.shape);
    return activations.gpu.scope(() => restoreRows(reconstruction, normalizeRows(activations, normalization)));
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
      const made = new SaeEdits({ name: this.name, decoder, gram, encode: (examples) => this.additions(examples), decode: (codes, examples) => this.decodeAdditions(codes, examples) }, source, target, most);
      return options.map((option) => made.edit(option));
    });
  }

  /** Codes times the example's scale: what d_j is multiplied by in the activation. */
  additions(examples: Pick<Examples, 'activations'>): Tensor {
    const { normalization } = this;
    if (!normalization) return this.encode(examples);
    return examples.activations.gpu.scope(() => multiplyRows(this.encode(examples), normalizeRows(examples.activations, normalization).scale));
  }

  /** Decoder rows of chosen features, [chosen, dIn]. */
  directions(chosen: readonly number[]): Tensor {
    const { decoder } = this.weights;
    return decoder.gpu.scope(() => gatherRows(decoder, Tensor.from(decoder.gpu, Uint32Array.from(chosen), [chosen.length])));
  }

  dispose(): void {
    for (const tensor of Object.values(this.weights) as (Tensor | undefined)[]) tensor?.dispose();
    this.gram?.dispose();
    this.gram = undefined;
  }

  private decodeAdditions(codes: Tensor, examples: Examples): Tensor {
    return this.normalization ? this.decode(this.encode(examples), examples) : this.decode(codes);
  }

  /** Made at the first edit and kept. */
  private gramOfDecoder(): Tensor | null {
    if (this.gram === undefined) {
      this.gram = gramMatrix(this.weights.decoder);
      if (this.gram) this.gram.gpu.keep(this.gram);
    }
    return this.gram;
  }

  private normalized(activations: Tensor): Tensor {
    return this.normalization ? normalizeRows(activations, this.normalization).rows : activations;
  }

  private checkWidth(activations: Tensor): void {
    if (activations.shape.length !== 2 || activations.shape[1] !== this.dIn) {
      throw new ShapeError(`dictionary ${this.name} takes activations of width ${this.dIn}, not of shape [${activations.shape.join(', ')}]`);
    }
  }
}
