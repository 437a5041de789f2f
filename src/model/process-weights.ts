/** The arithmetic of weight processing (processing.ts says what there is). Loaded with the first model that is to be processed. */
import { Matrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix';
import type { BlockNumbers, WeightProcessing } from './processing.ts';

/** Processes one block in place, in TransformerLens' order. */
export function processBlock(block: BlockNumbers, heads: number, processing: WeightProcessing): void {
  const width = block.outBias.length;
  if (processing.foldLn && block.ln1Weight && block.ln1Bias && block.ln2Weight && block.ln2Bias) {
    foldNorm(block.qkvWeight, block.qkvBias, block.ln1Weight, block.ln1Bias);
    foldNorm(block.mlpInWeight, block.mlpInBias, block.ln2Weight, block.ln2Bias);
    block.ln1Weight = block.ln1Bias = block.ln2Weight = block.ln2Bias = null;
  }
  if (processing.centerWritingWeights) {
    for (const weights of [block.outWeight, block.outBias, block.mlpOutWeight, block.mlpOutBias]) centerRows(weights, width);
  }
  if (processing.foldValueBiases || processing.refactorFactoredAttnMatrices) foldValueBiases(block);
  if (processing.refactorFactoredAttnMatrices) {
    for (let head = 0; head < heads; head++) refactorHead(block, head, width / heads);
  }
}

/**
 * Moves a norm's weight γ and bias β into the matrix that reads from it: b ← b + βW, W ← diag(γ)W. Then takes the mean over inputs off each
 * column, which changes nothing, because a normalised vector without γ and β has mean zero.
 */
function foldNorm(weight: Float64Array, bias: Float64Array, gamma: Float64Array, beta: Float64Array): void {
  const inputs = gamma.length;
  const outputs = bias.length;
  const means = new Float64Array(outputs);
  for (let i = 0; i < inputs; i++) {
    for (let j = 0; j < outputs; j++) {
      const w = weight[i * outputs + j]!;
      bias[j] = bias[j]! + beta[i]! * w;
      means[j] = means[j]! + (weight[i * outputs + j] = gamma[i]! * w) / inputs;
    }
  }
  for (let i = 0; i < inputs; i++) for (let j = 0; j < outputs; j++) weight[i * outputs + j] = weight[i * outputs + j]! - means[j]!;
}

/** Takes the mean off each row of `width` numbers: every later reader is a layer norm, which takes it off anyway. */
export function centerRows(weights: Float64Array | Float32Array, width: number): void {
  for (let start = 0; start < weights.length; start += width) {
    let sum = 0;
    for (let i = start; i < start + width; i++) sum += weights[i]!;
    for (let i = start; i < start + width; i++) weights[i] = weights[i]! - sum / width;
  }
}

/** b_O ← b_O + Σ_heads b_V W_O, b_V ← 0. Exact, because the weights of each attention pattern add up to one. */
function foldValueBiases(block: BlockNumbers): void {
  const width = block.outBias.length;
  for (let i = 0; i < width; i++) {
    const value = block.qkvBias[2 * width + i]!;
    for (let j = 0; j < width; j++) block.outBias[j] = block.outBias[j]! + value * block.outWeight[i * width + j]!;
    block.qkvBias[2 * width + i] = 0;
  }
}

/**
 * One head in the bases of its singular vectors (TransformerLens' refactor_factored_attn_matrices). With biases as an extra input row,
 * [W_Q; b_Q] [W_K; b_K]ᵀ = U Σ Vᵀ gives U√Σ and V√Σ; W_V W_O = U Σ Vᵀ gives UΣ and Vᵀ. Both products have rank d, so their singular vectors come
 * from thin QR factors of the two sides and the singular vectors of a d × d matrix. Signs of singular vectors are free.
 */
function refactorHead(block: BlockNumbers, head: number, headWidth: number): void {
  const width = block.outBias.length;
  const stride = 3 * width;
  const columns = (part: number): number => part * width + head * headWidth;
  const withBias = (part: number): Matrix => matrix(width + 1, headWidth, (i, j) => (i < width ? block.qkvWeight[i * stride + columns(part) + j]! : block.qkvBias[columns(part) + j]!));

  const qk = productFactors(withBias(0), withBias(1));
  const roots = qk.values.map(Math.sqrt);
  for (const [part, side] of [[0, qk.left], [1, qk.right]] as const) {
    for (let i = 0; i <= width; i++) {
      for (let j = 0; j < headWidth; j++) {
        const value = side.get(i, j) * roots[j]!;
        if (i < width) block.qkvWeight[i * stride + columns(part) + j] = value;
        else block.qkvBias[columns(part) + j] = value;
      }
    }
  }

  const value = matrix(width, headWidth, (i, j) => block.qkvWeight[i * stride + columns(2) + j]!);
  const output = matrix(width, headWidth, (i, j) => block.outWeight[(head * headWidth + j) * width + i]!);
  const ov = productFactors(value, output);
  for (let i = 0; i < width; i++) {
    for (let j = 0; j < headWidth; j++) {
      block.qkvWeight[i * stride + columns(2) + j] = ov.left.get(i, j) * ov.values[j]!;
      block.outWeight[(head * headWidth + j) * width + i] = ov.right.get(i, j);
    }
  }
}

/** Singular values and vectors of A Bᵀ for tall A and B [n, d]: A Bᵀ = left · diag(values) · rightᵀ, left and right [n, d]. */
export function productFactors(a: Matrix, b: Matrix): { left: Matrix; right: Matrix; values: number[] } {
  const qrA = new QrDecomposition(a);
  const qrB = new QrDecomposition(b);
  const core = qrA.upperTriangularMatrix.mmul(qrB.upperTriangularMatrix.transpose());
  const svd = new SingularValueDecomposition(core, { autoTranspose: true });
  return {
    left: qrA.orthogonalMatrix.mmul(svd.leftSingularVectors),
    right: qrB.orthogonalMatrix.mmul(svd.rightSingularVectors),
    values: svd.diagonal,
  };
}

function matrix(rows: number, columns: number, value: (i: number, j: number) => number): Matrix {
  const out = Matrix.zeros(rows, columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out.set(i, j, value(i, j));
  return out;
}

/**
 * The unembedding [vocabulary, D] in place: the final norm folded in (see foldNorm), then the mean over the vocabulary taken off, which adds a
 * constant to all logits of a position. Returns the bias [vocabulary], or null if none arises.
 */
export function processUnembed(unembed: Float32Array, gamma: Float32Array, beta: Float32Array, processing: WeightProcessing): Float32Array | null {
  const width = gamma.length;
  const vocabulary = unembed.length / width;
  const bias = new Float64Array(vocabulary);
  if (processing.foldLn) {
    for (let v = 0; v < vocabulary; v++) {
      let sum = 0;
      let mean = 0;
      for (let i = 0; i < width; i++) {
        const w = unembed[v * width + i]!;
        sum += beta[i]! * w;
        mean += (gamma[i]! * w) / width;
      }
      bias[v] = sum;
      for (let i = 0; i < width; i++) unembed[v * width + i] = gamma[i]! * unembed[v * width + i]! - mean;
    }
  }
  if (processing.centerUnembed) {
    const means = new Float64Array(width);
    for (let v = 0; v < vocabulary; v++) for (let i = 0; i < width; i++) means[i] = means[i]! + unembed[v * width + i]! / vocabulary;
    for (let v = 0; v < vocabulary; v++) for (let i = 0; i < width; i++) unembed[v * width + i] = unembed[v * width + i]! - means[i]!;
    const mean = bias.reduce((sum, b) => sum + b, 0) / vocabulary;
    for (let v = 0; v < vocabulary; v++) bias[v] = bias[v]! - mean;
  }
  return processing.foldLn ? Float32Array.from(bias) : null;
}
