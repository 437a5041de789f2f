/**
 * How parametrizations of supervised codes relate (arXiv 2405.08366, A.8 and A.9, figure 10). Coupled codes contain independent ones:
 * io_{a,x} = io_a + ½ pos_x and s_{b,x} = s_b + ½ pos_x reconstruct the same. Measured here on codes as fitted:
 *   cosine of pos_ABB − pos_BAB with io_{a,ABB} − io_{a,BAB} for each name a, and with s_{a,ABB} − s_{a,BAB}; 1 if the identity holds
 *   variance of one parametrization's reconstruction that another one's explains, 1 − Σ ‖r − r'‖² / Σ ‖r − r̄‖²
 */
import * as z from 'zod';
import type { Dictionary, Examples, SupervisedCodes, Term } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import { meanColumns, sub, sumSquaresRows } from '../tensor/index.ts';
import { mean, quantile } from './formulas.ts';

export const couplingRow = z.object({
  site: z.string(),
  attribute: z.string().describe('the attribute that is coupled with the shared one'),
  shared: z.string().describe('the two-valued attribute in both terms'),
  values: z.int().nonnegative().describe('values of the attribute seen with both values of the shared one'),
  meanCosine: z.number().nullable().describe('mean over values of the cosine of the difference of coupled codes with the difference of independent codes of the shared attribute'),
  medianCosine: z.number().nullable(),
  minCosine: z.number().nullable(),
  randomCosine: z.number().describe('1 / √width, the root mean square cosine of two random directions'),
  note: z.string().nullable().describe('why numbers are null'),
}).describe('whether coupled codes are independent codes plus halves of the shared ones');

export const explainedRow = z.object({
  site: z.string(),
  reconstruction: z.string().describe('dictionary whose reconstruction is explained'),
  by: z.string().describe('dictionary whose reconstruction explains it'),
  varianceExplained: z.number().nullable(),
  note: z.string().nullable(),
}).describe('share of the variance of one reconstruction that another one explains');

export type CouplingRow = z.infer<typeof couplingRow>;
export type ExplainedRow = z.infer<typeof explainedRow>;

/**
 * One row for each term of `coupled` that joins an attribute with `shared`. `independent` has a term of `shared` alone. Throws UsageError
 * if a dictionary has no such term, or the shared attribute has not two values.
 */
export async function compareCoupling(site: string, independent: SupervisedCodes, coupled: SupervisedCodes, shared: string): Promise<CouplingRow[]> {
  const alone = independent.terms.find(({ columns }) => columns.length === 1 && columns[0] === shared);
  const joint = coupled.terms.filter(({ columns }) => columns.length === 2 && columns.includes(shared));
  if (!alone || joint.length === 0) throw new UsageError(`${independent.name} needs a term of ${shared} alone, ${coupled.name} terms that couple it`);
  if (alone.values !== 2) throw new UsageError(`${shared} has ${alone.values} values; codes can be compared for two`);
  const width = independent.dIn;
  const [own, both] = await Promise.all([independent.vectors.read(), coupled.vectors.read()]);
  const row = (vectors: Float32Array, feature: number) => vectors.subarray(feature * width, (feature + 1) * width);
  const direction = difference(row(own, alone.first), row(own, alone.first + 1));
  return joint.map((term) => {
    const { attribute, features } = pairs(term, shared);
    const seen = features.filter((pair) => pair.every((feature) => row(both, feature).some((entry) => entry !== 0)));
    const cosines = seen.map(([a, b]) => cosine(difference(row(both, a), row(both, b)), direction)).filter((value) => !Number.isNaN(value));
    return {
      site, attribute, shared, values: cosines.length,
      meanCosine: cosines.length > 0 ? mean(cosines) : null, medianCosine: quantile(cosines, 0.5), minCosine: quantile(cosines, 0),
      randomCosine: 1 / Math.sqrt(width), note: cosines.length > 0 ? null : 'no value was seen with both values of the shared attribute, or codes do not differ',
    };
  });
}

/** Every ordered pair of dictionaries on the same examples. */
export async function compareReconstructions(site: string, examples: Examples, dictionaries: readonly Dictionary[]): Promise<ExplainedRow[]> {
  const { gpu } = examples.activations;
  return gpu.scope(async () => {
    const made = dictionaries.map((dictionary) => dictionary.decode(dictionary.encode(examples)));
    const total = async (compute: () => ReturnType<typeof sumSquaresRows>) => (await gpu.scope(async () => compute().read())).reduce((sum, value) => sum + value, 0);
    const rows: ExplainedRow[] = [];
    for (const [at, own] of made.entries()) {
      const spread = await total(() => sumSquaresRows(sub(own, meanColumns(own))));
      for (const [other, by] of made.entries()) {
        if (other === at) continue;
        const left = await total(() => sumSquaresRows(sub(own, by)));
        rows.push({
          site, reconstruction: dictionaries[at]!.name, by: dictionaries[other]!.name,
          varianceExplained: spread > 0 ? 1 - left / spread : null, note: spread > 0 ? null : 'the reconstruction does not vary',
        });
      }
    }
    return rows;
  });
}

/** The two features of each value of the attribute that a term couples with the shared one. */
function pairs({ columns, sizes, first }: Term, shared: string): { attribute: string; features: [number, number][] } {
  const sharedLast = columns[1] === shared;
  const values = sizes[sharedLast ? 0 : 1]!;
  const feature = (value: number, side: number) => first + (sharedLast ? value * 2 + side : side * values + value);
  return { attribute: columns[sharedLast ? 0 : 1]!, features: Array.from({ length: values }, (_, value) => [feature(value, 0), feature(value, 1)]) };
}

function difference(a: Float32Array, b: Float32Array): number[] {
  return Array.from(a, (value, d) => value - b[d]!);
}

/** NaN where a vector is zero. */
function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, d) => sum + value * y[d]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
