/**
 * Geometric comparison of an SAE with supervised features (the mean-max cosine of the authors' released code): for every feature d_j of the SAE
 * the largest cosine with a code u_v of the attribute, averaged over the SAE's features; and for every code the largest cosine with a feature of
 * the SAE, averaged over codes. The released code does not bring d_j to unit length, so that its numbers are cosines only for SAEs whose
 * decoder rows have it.
 */
import * as z from 'zod';
import type { SupervisedCodes } from '../dictionary/index.ts';
import { ShapeError } from '../errors.ts';
import { matmul, maxRows, scaleRows, sumSquaresRows, Tensor, gatherRows } from '../tensor/index.ts';
import { mean } from './formulas.ts';

export const geometryRow = z.object({
  site: z.string(),
  dictionary: z.string(),
  attribute: z.string().describe("columns of the supervised term, joined by '∧'"),
  features: z.int().nonnegative().describe('features of the dictionary whose decoder row is not zero'),
  values: z.int().nonnegative().describe('codes that are not zero'),
  meanMaxCosine: z.number().nullable().describe('mean over features of the largest cosine with a code'),
  meanMaxCosineOfCodes: z.number().nullable().describe('mean over codes of the largest cosine with a feature'),
  meanMaxProduct: z.number().nullable().describe('the first without bringing decoder rows to unit length, as released'),
  randomCosine: z.number().describe('1 / √width, the root mean square cosine of two random directions'),
  note: z.string().nullable().describe('why numbers are null'),
}).describe('how far the features of a dictionary point along supervised ones');

export type GeometryRow = z.infer<typeof geometryRow>;

/** Rows for every term of the supervised codes. `decoder` [features, d] holds the dictionary's features. Throws ShapeError if widths differ. */
export async function compareGeometry(where: { site: string; dictionary: string }, decoder: Tensor, codes: Pick<SupervisedCodes, 'vectors' | 'terms' | 'dIn'>): Promise<GeometryRow[]> {
  if (decoder.shape.length !== 2 || decoder.shape[1] !== codes.dIn) throw new ShapeError(`features [${decoder.shape.join(', ')}] cannot be compared with codes of width ${codes.dIn}`);
  const [ownSquares, codeSquares] = await decoder.gpu.scope(async () => Promise.all([sumSquaresRows(decoder).read(), sumSquaresRows(codes.vectors).read()]));
  const filled = filledRows(ownSquares, 0, ownSquares.length);
  const rows: GeometryRow[] = [];
  for (const { columns, first, values } of codes.terms) {
    const known = filledRows(codeSquares, first, values);
    const empty = filled.length === 0 || known.length === 0;
    const row = { ...where, attribute: columns.join('∧'), features: filled.length, values: known.length, randomCosine: 1 / Math.sqrt(codes.dIn) };
    if (empty) {
      rows.push({ ...row, meanMaxCosine: null, meanMaxCosineOfCodes: null, meanMaxProduct: null, note: filled.length === 0 ? 'every decoder row is zero' : 'every code is zero' });
      continue;
    }
    const best = await bestCosines(decoder, filled, codes.vectors, known);
    rows.push({
      ...row, meanMaxCosine: mean(best.ofFeatures), meanMaxCosineOfCodes: mean(best.ofCodes), note: null,
      meanMaxProduct: mean(best.ofFeatures.map((cosine, at) => cosine * Math.sqrt(ownSquares[filled[at]!]!))),
    });
  }
  return rows;
}

/** The largest cosine of each feature with any code and of each code with any feature. */
async function bestCosines(decoder: Tensor, features: Uint32Array, vectors: Tensor, known: Uint32Array): Promise<{ ofFeatures: Float32Array; ofCodes: Float32Array }> {
  const { gpu } = decoder;
  return gpu.scope(async () => {
    const unit = (rows: Tensor, index: Uint32Array) => scaleRows(gatherRows(rows, Tensor.from(gpu, index, [index.length])));
    const [a, b] = [unit(decoder, features), unit(vectors, known)];
    const [ofFeatures, ofCodes] = await Promise.all([maxRows(matmul(a, b, { transposeB: true })).read(), maxRows(matmul(b, a, { transposeB: true })).read()]);
    return { ofFeatures, ofCodes };
  });
}

function filledRows(squares: Float32Array, first: number, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, at) => first + at).filter((row) => squares[row]! > 0);
}
