/** reproduction.json: what a reproduction found, typed once; JSON Schema and types are derived. */
import * as z from 'zod';
import { modelOrigin, rounded } from '../evaluation/index.ts';
import { checkpointsSchema } from './stages-checkpoints.ts';
import { syntheticSchema } from './stages-synthetic.ts';
import { causalSchema, featuresSchema, mechanismSchema, geometrySchema, interpretabilitySchema, metricsStageSchema, parametrizationsSchema, probingSchema } from './stages-study.ts';
import { occlusionSchema, occlusionToySchema, overSplittingSchema } from '../phenomena/index.ts';
import { recoveredSchema, saesSchema, sectionsSchema, testsSchema } from './stages-core.ts';
import { greaterThanSchema, overSplittingToysSchema } from './stages-phenomena.ts';

export const REPRODUCTION_SCHEMA = 'diffract.reproduction/1';

/** The result of every stage by its name; null where it was left out. */
export const stageResultsSchema = z.object({
  sections: sectionsSchema.nullable(), saes: saesSchema.nullable(), tests: testsSchema.nullable(), recovered: recoveredSchema.nullable(),
  interpretability: interpretabilitySchema.nullable(), causal: causalSchema.nullable(), features: featuresSchema.nullable(), geometry: geometrySchema.nullable(),
  parametrizations: parametrizationsSchema.nullable(), checkpoints: checkpointsSchema.nullable(), synthetic: syntheticSchema.nullable(),
  probing: probingSchema.nullable(), mechanism: mechanismSchema.nullable(), metrics: metricsStageSchema.nullable(), occlusion: occlusionSchema.nullable(),
  'over-splitting': overSplittingSchema.nullable(), 'over-splitting-toy': overSplittingToysSchema.nullable(), 'occlusion-toy': occlusionToySchema.nullable(),
  'greater-than': greaterThanSchema.nullable(),
});
export type StageResults = z.infer<typeof stageResultsSchema>;
export type StageName = keyof StageResults;

const publishedRow = z.object({
  what: z.string(), published: z.number(), source: z.enum(['paper', 'notebook', 'figure']).describe('the text, an executed notebook (exact), or a stored figure (±0.01)'),
  tolerance: z.number().nullable().describe('how near a faithful run with GPT-2 Small should come; null where the text gives a bound'),
  measured: z.number().nullable(), within: z.boolean().nullable().describe('measured within tolerance of published; null where there is nothing to compare'),
  reason: z.string().nullable().describe('why nothing was measured, or what stands against a comparison'),
});
export type PublishedRow = z.infer<typeof publishedRow>;

export const reproductionSchema = z.object({
  schema: z.literal(REPRODUCTION_SCHEMA),
  preset: z.enum(['workshop', 'arxiv', 'iclr']),
  sizes: z.enum(['paper', 'reduced']),
  released: z.array(z.object({ name: z.string(), description: z.string() })).describe('released behaviours that were asked for'),
  model: z.object({
    name: z.string(), hash: z.string(), origin: modelOrigin.optional(), layers: z.int(), heads: z.int(), width: z.int(), headWidth: z.int(), vocabulary: z.int(),
    processing: z.record(z.string(), z.unknown()), weights: z.string(),
  }),
  task: z.object({ name: z.string(), attributes: z.array(z.string()), record: z.record(z.string(), z.unknown()) }),
  settings: z.record(z.string(), z.unknown()),
  stages: z.array(z.object({ name: z.string(), title: z.string(), address: z.string(), leftOut: z.string().nullable().describe('why it has no result') })),
  results: stageResultsSchema,
  published: z.array(publishedRow).describe('published numbers beside measured ones'),
  environment: z.object({
    adapter: z.object({ vendor: z.string(), architecture: z.string(), device: z.string(), description: z.string(), software: z.boolean() }), tuned: z.boolean(), versions: z.record(z.string(), z.string()),
    times: z.object({
      startedAt: z.string(), totalSeconds: z.number(), peakGpuBytes: z.int(),
      stages: z.array(z.object({ name: z.string(), seconds: z.number(), reused: z.boolean().describe('taken from an earlier run, whose time this is') })),
    }).describe('the only part that differs between two runs with the same settings on the same adapter'),
  }),
});
export type Reproduction = z.infer<typeof reproductionSchema>;

export function reproductionJsonSchema(): Record<string, unknown> {
  return { $id: REPRODUCTION_SCHEMA, title: 'diffract reproduction', ...z.toJSONSchema(reproductionSchema) };
}

/** reproduction.json as text, numbers of nine digits. */
export function reproductionText(reproduction: Reproduction): string {
  return `${JSON.stringify(reproduction, (_key, value) => (typeof value === 'number' ? rounded(value) : value), 1)}\n`;
}
