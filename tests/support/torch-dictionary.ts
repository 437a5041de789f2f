/** The parts of the small test dictionary as torch files have them: [D, d] with one row a feature, its transpose, and its transpose as a view of it. */
import { across, features, width } from './plain-dictionary.ts';
import { Saved } from './torch-file.ts';

export const vector = (values: readonly number[]): Saved => new Saved([values.length], values);
export const rows = (matrix: readonly number[]): Saved => new Saved([features, width], matrix);
export const columns = (matrix: readonly number[]): Saved => new Saved([width, features], across(matrix, features));
export const turned = (matrix: readonly number[]): Saved => new Saved([width, features], matrix, { strides: [1, width] });
export const one = (value: number): Saved => new Saved([], [value]);
export const whole = (value: number): Saved => new Saved([], [value], { kind: 'i64' });
