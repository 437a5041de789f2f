/**
 * Weight processing as TransformerLens does it on loading: changes of basis and constants that leave logit differences and attention
 * patterns as they are, and make activations easier to read. Computed in float64 on the CPU, one block at a time.
 *
 * D = width of the residual stream, N = number of outputs, d = width of a head, H = heads. Matrices are row-major [input, output], as the
 * Hugging Face files have them, but for the unembedding, which is [vocabulary, D].
 */

/** What is done to the weights on loading; all false is the model as its file has it. Recorded in every artefact. */
export interface WeightProcessing {
  /** Layer norms' weights and biases move into the matrices that read from them, whose columns are then centred. */
  foldLn: boolean;
  /** What is written to the residual stream (embeddings, attention and MLP outputs) gets mean zero over its width. */
  centerWritingWeights: boolean;
  /** Logits get mean zero over the vocabulary. */
  centerUnembed: boolean;
  /** Values' biases move into the attention output's bias. */
  foldValueBiases: boolean;
  /** Queries and keys, values and outputs in the bases of the singular vectors of W_Q W_Kᵀ and W_V W_O; also folds the values' biases. */
  refactorFactoredAttnMatrices: boolean;
}

export const NO_PROCESSING: Readonly<WeightProcessing> = {
  foldLn: false, centerWritingWeights: false, centerUnembed: false, foldValueBiases: false, refactorFactoredAttnMatrices: false,
};

/** A block's weights as plain numbers, processed in place; norms become null when they are folded away. */
export interface BlockNumbers {
  ln1Weight: Float64Array | null; // [D]
  ln1Bias: Float64Array | null; // [D]
  qkvWeight: Float64Array; // [D, 3·D], columns q | k | v, each head-major
  qkvBias: Float64Array; // [3·D]
  outWeight: Float64Array; // [D, D], rows head-major
  outBias: Float64Array; // [D]
  ln2Weight: Float64Array | null; // [D]
  ln2Bias: Float64Array | null; // [D]
  mlpInWeight: Float64Array; // [D, M]
  mlpInBias: Float64Array; // [M]
  mlpOutWeight: Float64Array; // [M, D]
  mlpOutBias: Float64Array; // [D]
}

/** Whether anything is done at all. */
export function changesWeights(processing: WeightProcessing): boolean {
  return Object.values(processing).some(Boolean);
}
