/**
 * The tensors of a dictionary, brought into the one form that the engine computes with: matrices [features, width], the decoder's bias taken off the
 * input, codes decoded as they are. What a file has otherwise is folded in, in float64 and exactly but for the last rounding:
 *
 *   no pre-bias               x W + b = (x − b_dec) W + (b + b_dec W);  for the magnitudes of a gated one b_mag + e^r ∘ (b_dec W)
 *   decoder used at length 1  d_j ← d_j / ‖d_j‖
 *   scaled by decoder norms   w_j ← ‖d_j‖ w_j,  b_j ← ‖d_j‖ b_j,  d_j ← d_j / ‖d_j‖
 *   factors on codes          d_j ← s_j d_j
 *   inputs divided by c       biases and thresholds times c, as every kind's activation is homogeneous
 *
 * Thresholds stay as they are, those below zero too: after the ReLU they change nothing.
 */
import { FileError } from '../../errors.ts';
import { finishedParts, partShape, Tensor, type SaePart, type SaeVariant, type SaeWeights } from '../../tensor/index.ts';
import type { Gpu } from '../../gpu/index.ts';
import type { FoundSae, NamedTensors, WeightPlan } from './format.ts';

type Numbers = Partial<Record<SaePart, Float32Array>>;

/** Parts that are in the units of the activations. */
const SCALED: readonly SaePart[] = ['encoderBias', 'decoderBias', 'magnitudeBias', 'threshold'];

/** Reads all parts and uploads them. FileError naming the tensor that is missing, of another shape, or not finite. */
export async function readWeights(gpu: Gpu, { config, weights }: FoundSae): Promise<SaeWeights> {
  const plan = await weights();
  const variant: SaeVariant = config.variant === 'frozen' ? 'vanilla' : config.variant;
  const size = { features: config.features, width: config.dIn };
  const numbers: Numbers = {};
  for (const part of finishedParts(variant)) numbers[part] = await readPart(plan, part, size);
  if (plan.codeFactors !== undefined) multiplyRows(numbers.decoder!, await vector(plan, plan.codeFactors, size.features), size.width);
  if (plan.unitDecoder) unitRows(numbers.decoder!, size.width);
  if (plan.byDecoderNorm) foldDecoderNorms(numbers as Required<Numbers>, size.width);
  if (plan.unshifted) foldShift(numbers as Required<Numbers>, size.width);
  if (config.scale !== 1) for (const part of SCALED) if (numbers[part]) numbers[part] = numbers[part].map((v) => v * config.scale);
  const parts = Object.entries(numbers) as [SaePart, Float32Array][];
  return gpu.scope(() => Object.fromEntries(parts.map(([part, values]) => [part, Tensor.from(gpu, values, partShape(part, size))])) as unknown as SaeWeights);
}

async function readPart(plan: WeightPlan, part: SaePart, size: { features: number; width: number }): Promise<Float32Array> {
  const { tensors, parts, sizesFrom } = plan;
  const place = parts[part];
  if (!place) throw new FileError(`${tensors.name}: its layout has no ${part}, which such a dictionary needs`);
  const [name, across] = place;
  const own = partShape(part, size);
  const found = tensors.shape(name);
  // One threshold for all features.
  if (part === 'threshold' && found.reduce((product, n) => product * n, 1) === 1 && size.features !== 1) return new Float32Array(size.features).fill((await finite(tensors, name))[0]!);
  const shape = across ? [...own].reverse() : own;
  if (found.join() !== shape.join()) throw new FileError(`${tensors.name}: tensor ${name} has shape [${found.join(', ')}], but ${sizesFrom} says [${shape.join(', ')}]`);
  const values = await finite(tensors, name);
  return across ? transposed(values, shape as [number, number]) : values;
}

async function vector(plan: WeightPlan, name: string, length: number): Promise<Float32Array> {
  const found = plan.tensors.shape(name);
  if (found.join() !== String(length)) throw new FileError(`${plan.tensors.name}: tensor ${name} has shape [${found.join(', ')}], but ${plan.sizesFrom} says [${length}]`);
  return finite(plan.tensors, name);
}

async function finite(tensors: NamedTensors, name: string): Promise<Float32Array> {
  const values = await tensors.f32(name);
  if (!values.every(Number.isFinite)) throw new FileError(`${tensors.name}: tensor ${name} holds NaN or infinity`);
  return values;
}

/** In squares that stay in the processor's cache. */
function transposed(values: Float32Array, [rows, columns]: [number, number]): Float32Array {
  const SQUARE = 32;
  const out = new Float32Array(values.length);
  for (let top = 0; top < rows; top += SQUARE) {
    for (let left = 0; left < columns; left += SQUARE) {
      for (let c = left; c < Math.min(left + SQUARE, columns); c++) {
        for (let r = top; r < Math.min(top + SQUARE, rows); r++) out[c * rows + r] = values[r * columns + c]!;
      }
    }
  }
  return out;
}

function lengthOfRow(matrix: Float32Array, row: number, width: number): number {
  let squares = 0;
  for (let k = row * width; k < (row + 1) * width; k++) squares += matrix[k]! ** 2;
  return Math.sqrt(squares);
}

function multiplyRow(matrix: Float32Array, row: number, width: number, factor: number): void {
  for (let k = row * width; k < (row + 1) * width; k++) matrix[k]! *= factor;
}

function multiplyRows(matrix: Float32Array, factors: Float32Array, width: number): void {
  factors.forEach((factor, row) => multiplyRow(matrix, row, width, factor));
}

/** As torch's `normalize`: lengths below 1e-12 count as that. */
function unitRows(matrix: Float32Array, width: number): void {
  for (let row = 0; row < matrix.length / width; row++) multiplyRow(matrix, row, width, 1 / Math.max(lengthOfRow(matrix, row, width), 1e-12));
}

/** A feature whose row is zero never does anything, and stays so. */
function foldDecoderNorms({ encoder, encoderBias, decoder }: Required<Numbers>, width: number): void {
  for (let row = 0; row < encoderBias.length; row++) {
    const norm = lengthOfRow(decoder, row, width);
    multiplyRow(encoder, row, width, norm);
    encoderBias[row]! *= norm;
    if (norm > 0) multiplyRow(decoder, row, width, 1 / norm);
  }
}

function foldShift({ encoder, encoderBias, decoderBias, magnitudeScale, magnitudeBias }: Numbers & Pick<Required<Numbers>, 'encoder' | 'encoderBias' | 'decoderBias'>, width: number): void {
  for (let row = 0; row < encoderBias.length; row++) {
    let product = 0;
    for (let k = 0; k < width; k++) product += decoderBias[k]! * encoder[row * width + k]!;
    encoderBias[row]! += product;
    if (magnitudeScale && magnitudeBias) magnitudeBias[row]! += Math.exp(magnitudeScale[row]!) * product;
  }
}
