/** All cases of the benchmark, in the order in which they are measured. */
import type { Case } from './case.ts';
import { matmulCases } from './matmul.ts';
import { modelCases } from './model.ts';
import { rowCases } from './rows.ts';
import { saeCases } from './sae.ts';
import { textTrainingCases } from './text-training.ts';
import { trainingCases } from './training.ts';

export type { Case, Prepared } from './case.ts';
export { TOLERANCE } from './case.ts';
export { setMiniFolder } from './models.ts';

export function allCases(): Case[] {
  return [...matmulCases(), ...rowCases(), ...saeCases(), ...modelCases(), ...trainingCases(), ...textTrainingCases()];
}
