/** The fields of a tuning file (tuning.ts says what it is for). This schema is their only definition. */
import * as z from 'zod';
import { TUNING_FORMAT, TUNING_VERSION } from './tuning.ts';

const text = z.string();
const milliseconds = z.number().nonnegative();

const choiceSchema = z.strictObject({
  variant: text,
  constants: z.record(text, z.int().min(0).max(2 ** 31 - 1)),
  ms: milliseconds.describe('median milliseconds of one run of a representative shape so'),
  defaultMs: milliseconds.describe('the same with the defaults, measured in turns with it'),
});

export const tuningSchema = z.strictObject({
  format: z.literal(TUNING_FORMAT),
  version: z.literal(TUNING_VERSION),
  date: text.describe('ISO 8601'),
  adapter: z.strictObject({ vendor: text, architecture: text, device: text, description: text, subgroupSize: z.int().nonnegative() }),
  kernels: z.record(text, z.string().regex(/^[0-9a-f]{16}$/)).describe('every kernel that was compared, and the beginning of the SHA-256 of its source'),
  choices: z.record(text, z.record(text, choiceSchema)).describe('by operation and class of shapes; classes whose default is best are left out'),
});

export type TuningFile = z.infer<typeof tuningSchema>;
