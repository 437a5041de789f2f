/** Eigenvectors of symmetric matrices in float64 on the CPU. Loaded with the first codes that are fitted by least squares. */
import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import type { Decompose } from './code-fit.ts';

export const decomposeSymmetric: Decompose = (size, matrix) => {
  const { realEigenvalues: values, eigenvectorMatrix: vectors } = new EigenvalueDecomposition(Matrix.from1DArray(size, size, matrix), { assumeSymmetric: true });
  return { values, vector: (row, column) => vectors.get(row, column) };
};
