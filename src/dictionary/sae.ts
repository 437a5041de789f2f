/**
 * A vanilla sparse autoencoder:  f = ReLU((a − b_dec) W_enc + b_enc),  â = f W_dec + b_dec,  decoder rows of unit length.
 *
 * Training sees activations divided by their site's scale c. Because ReLU(c·x) = c·ReLU(x), the trained dictionary is kept with c moved
 * into its biases (b_enc ← c b_enc, b_dec ← c b_dec): it takes and gives activations in the model's own units, its codes are in those units
 * too, and both weight matrices stay as they were trained. Nothing that the evaluation computes depends on the difference.
 */
import { ShapeError } from '../errors.ts';
import { greedyApply, greedyChoose, greedyWeightRemoved, gramMatrix, matmul, mul, reciprocalRows, saeCodes, saeDecode, saeEncode, saeWidths, Tensor, type SaeWeights } from '../tensor/index.ts';
import type { Dictionary, EditOptions, EditResult, Examples } from './dictionary.ts';

/** What is known of where a dictionary comes from; the first four as SAELens names them. */
export interface SaeMetadata {
  model_name?: string;
  hook_name?: string;
  /** The head that the activations come from; null for hooks without heads or for all heads together. */
  hook_head_index?: number | null;
  prepend_bos?: boolean;
  [key: string]: unknown;
}

export class Sae implements Dictionary {
  readonly name: string;
  readonly dIn: number;
  readonly features: number;
  /** encoder and decoder [features, dIn], encoderBias [features], decoderBias [dIn], in activation units. Owned by this dictionary. */
  readonly weights: SaeWeights;
  readonly metadata: Readonly<SaeMetadata>;
  private gram: Tensor | null | undefined;

  /** Takes over the weights. Throws ShapeError if they do not fit together. */
  constructor(name: string, weights: SaeWeights, metadata: SaeMetadata = {}) {
    const { features, width, batched } = saeWidths(weights);
    if (batched) throw new ShapeError(`sae ${name}: weights of a single dictionary are needed, not a stack`);
    this.name = name;
    this.dIn = width;
    this.features = features;
    this.weights = weights;
    this.metadata = metadata;
  }

  /** Codes f ≥ 0, [n, features]. Throws ShapeError if the activations are not as wide as the dictionary. */
  encode({ activations }: Pick<Examples, 'activations'>): Tensor {
    this.checkWidth(activations);
    return saeCodes(activations, this.weights);
  }

  /** Number of active features of each example, u32 [n]. */
  activeCounts({ activations }: Pick<Examples, 'activations'>): Tensor {
    this.checkWidth(activations);
    const { codes, counts } = saeEncode(activations, this.weights);
    codes.dispose();
    return counts;
  }

  decode(codes: Tensor): Tensor {
    return saeDecode(codes, this.weights);
  }

  contributions(codes: Tensor): Tensor {
    const { decoder } = this.weights;
    return codes.gpu.scope(() => mul(codes, matmul(reciprocalRows(matmul(codes, decoder)), decoder, { transposeB: true })));
  }

  /** The greedy edit of at most k features towards the target's activations (evaluation.md §5.3), blind to what attributes mean. */
  edit(source: Pick<Examples, 'activations'>, target: Pick<Examples, 'activations'>, { k }: Pick<EditOptions, 'k'>): EditResult {
    const { decoder } = this.weights;
    const gram = this.gramOfDecoder();
    return decoder.gpu.scope(() => {
      const sourceCodes = this.encode(source);
      const choice = greedyChoose({
        source: source.activations, target: target.activations, sourceCodes, targetCodes: this.encode(target), decoder, gram,
      }, k);
      return { activations: greedyApply(source.activations, decoder, choice), weightRemoved: greedyWeightRemoved(sourceCodes, decoder, choice) };
    });
  }

  dispose(): void {
    for (const tensor of Object.values(this.weights) as Tensor[]) tensor.dispose();
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
