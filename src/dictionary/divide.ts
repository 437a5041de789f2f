/** Codes of values as sums of codes of sets. Loaded with the first dictionary that needs it. */
import { Matrix, pseudoInverse } from 'ml-matrix';
import { UsageError } from '../errors.ts';

/** The shortest vectors of sets whose sums over the sets of each value are the vectors given. */
export function divided(vectors: readonly number[][], sets: readonly (readonly number[])[], column: string): number[][] {
  const membership = Matrix.zeros(vectors.length, sets.length);
  sets.forEach((values, set) => { for (const value of values) membership.set(value, set, 1); });
  const target = new Matrix(vectors.map((vector) => [...vector]));
  const solution = pseudoInverse(membership).mmul(target);
  const left = Matrix.sub(membership.mmul(solution), target).norm();
  if (left > 1e-6 * target.norm()) throw new UsageError(`the sets of values of ${column} do not tell all values apart; give more sets`);
  return solution.to2DArray();
}
