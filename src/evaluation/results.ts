/**
 * results.json: every number an evaluation reports, typed once.
 *
 * The zod schemas below are the only definition; the TypeScript types and the JSON Schema are derived from them. A number that does not exist
 * (a ratio with a vanishing denominator, a weight of a dictionary with no active feature) is null, never NaN or Infinity, and a field beside it
 * says why. Everything that depends on the clock stands in `environment.times`; with that field removed, the same seed on the same adapter
 * gives the same bytes.
 *
 * Formulas and their sources: sufficiency, necessity - approximation.ts; accuracy, weight removed - control.ts; F1 - interpretability.ts;
 * effects of sites - discover.ts.
 */
import * as z from 'zod';

export const RESULTS_SCHEMA = 'diffract.results/1';

const count = z.int().nonnegative();
const share = z.number().min(0).max(1);

/** Where a model came from; files made before hubs could be named do not say. */
export const modelOrigin = z.object({
  repository: z.string(),
  revision: z.string().describe('as it was asked for'),
  commit: z.string().describe('the commit that the revision stood for'),
}).nullable().describe('place on a hub; null for a directory or URL');

const model = z.object({
  name: z.string().describe('directory name or repository of the model'),
  hash: z.string().describe('hash of the weights as they were read'),
  origin: modelOrigin.optional(),
  layers: count,
  heads: count,
  width: count,
  headWidth: count,
  vocabulary: count,
  processing: z.record(z.string(), z.unknown()).describe('weight processing that was applied on loading'),
  weights: z.enum(['f32', 'f16']).optional().describe('how weight matrices were stored on the device; f32 in files that do not say'),
});

const task = z.object({
  name: z.string(),
  prompts: count.describe('prompts that the tests score'),
  selectionPrompts: count.describe('prompts that SAEs are chosen on, apart from those that are scored'),
  trainPrompts: count.describe('prompts that dictionaries are fitted on'),
  interpretabilityPrompts: count.describe('prompts that F1 is computed on: the training prompts and as many more as it takes to contain every value'),
  attributes: z.array(z.object({ name: z.string(), values: count })),
  positions: z.array(z.string()),
  lexicon: z.record(z.string(), z.unknown()).describe('word lists and choices that the prompts depend on'),
  exampleText: z.string(),
  accuracy: share.describe('share of scored prompts whose most likely next token is the correct answer'),
  logitDiff: z.object({
    mean: z.number().describe('mean of logit(correct) - logit(incorrect) at the last position'),
    deviation: z.number().describe('standard deviation over prompts'),
    positive: share.describe('share of prompts where it is positive'),
  }),
});

export const siteRow = z.object({
  site: z.string().describe('{kind}@L{layer}H{head}@{position}'),
  kind: z.enum(['q', 'k', 'v', 'z']),
  layer: count,
  head: count,
  position: z.string(),
  effect: z.number().nullable().describe(
    'largest over attributes of mean |change of the logit difference| / mean clean logit difference when the site alone is patched; null when not measured'),
  byAttribute: z.record(z.string(), z.object({
    effect: z.number().describe('mean |change| / mean clean logit difference, counterfactual in this attribute alone'),
    signed: z.number().describe('mean change / mean clean logit difference; negative when the patch hurts the answer'),
  })),
  prompts: count.describe('prompts that the effect was measured on: few where a first look found little; 0 when not measured'),
  selected: z.boolean(),
});

export const sectionSchema = z.object({
  name: z.string(),
  origin: z.enum(['discovered', 'published', 'given']),
  sites: z.array(z.string()).min(1).describe('patched and edited jointly'),
  edits: z.array(z.array(z.string()).min(1)).describe('sets of attributes that Test 2 edits here'),
  effects: z.record(z.string(), z.number()).describe(
    'mean |change of the logit difference| / mean clean logit difference when all its sites are patched jointly, per attribute; empty when not measured'),
});

const distributionSchema = z.object({
  count: count.describe('numbers that exist'),
  mean: z.number().nullable(),
  quantiles: z.object({ '0.05': z.number().nullable(), '0.25': z.number().nullable(), '0.5': z.number().nullable(), '0.75': z.number().nullable(), '0.95': z.number().nullable() }),
  histogram: z.object({ low: z.number(), high: z.number(), counts: z.array(count) }).describe('bins of equal width; the outer ones take what lies outside'),
});

export const approximationRow = z.object({
  crossSection: z.string(),
  dictionary: z.string().describe("begins with 'supervised' or the variant of the SAE"),
  sufficiency: z.number().nullable().describe('mean LD with reconstructions patched in / mean clean LD; best 1'),
  necessity: z.number().nullable().describe('1 - |LD_mean - LD_int| / |LD_mean - LD_clean|, a replaced by mean + (a - reconstruction); best 1'),
  logitDiffClean: z.number(),
  logitDiffMeanAblated: z.number().describe('every site of the cross-section set to its mean'),
  logitDiffReconstructed: z.number().describe('the patched LD that sufficiency compares'),
  logitDiffResidual: z.number().describe('the patched LD that necessity compares'),
  meanAbsoluteChange: z.number().describe('mean over prompts of |LD patched with reconstructions - clean LD|'),
  change: distributionSchema.optional().describe('over prompts, |LD patched with reconstructions - clean LD|'),
  selection: z.enum(['trade-off', 'distance']).optional().describe('how each site chose its SAE of the variant; absent where the dictionary is one'),
  chosen: z.array(z.object({ site: z.string(), dictionary: z.string() })).optional(),
  note: z.string().nullable().describe('why a score is null'),
});

const chosenSae = z.object({
  site: z.string(),
  dictionary: z.string(),
  distance: z.number().nullable().describe('mean l2 distance of the edited to the counterfactual activation on the selection prompts; null where SAEs are not chosen by it'),
});

export const controlRow = z.object({
  crossSection: z.string(),
  attribute: z.string().describe("the edited attribute, or several joined by '+'"),
  dictionary: z.string().describe("begins with 'supervised' or the variant of the SAE"),
  method: z.enum(['supervised', 'agnostic', 'reconstruction', 'aware', 'threshold']).optional().describe(
    'how features are chosen: greedily towards the counterfactual activation (agnostic) or its reconstruction, by interpretations (aware), by weights above 0.1 (threshold)'),
  k: count.describe('features that may change at each site and prompt; 0 where the method sets no limit'),
  changed: z.number().optional().describe('mean number of features that change at a site and prompt, where the method does not take k of them'),
  accuracy: share.describe('share of prompts whose prediction under the edit equals that under the ground-truth patch'),
  accuracyNoEdit: share.describe('the same for the clean run'),
  weightRemoved: z.number().nullable().describe('mean weight, in the original reconstruction, of the features removed or changed'),
  accuracyRelative: z.number().nullable().describe('(accuracy - no edit) / (supervised - no edit)'),
  accuracyRelativeClipped: z.number().nullable().optional().describe('the same, clipped to [0, 2]'),
  weightRelative: z.number().nullable().describe('(weight - supervised weight) / (1 - supervised weight)'),
  weightNormalised: distributionSchema.nullable().optional().describe('the same of every prompt, mean over sites, clipped below at -5'),
  distance: z.number().describe('mean l2 distance of the edited to the counterfactual activation over sites and scored prompts'),
  distanceNoEdit: z.number().describe('mean l2 distance of the clean to the counterfactual activation'),
  logitDiff: z.number().describe('mean LD of the original answers under the edit'),
  logitDiffGroundTruth: z.number().describe('mean LD of the original answers under the ground-truth patch'),
  groundTruthFlipped: share.describe('share of prompts where the ground-truth patch changes the prediction at all'),
  weightSkipped: count.describe('site and prompt pairs left out of the weight because no feature was active'),
  chosen: z.array(chosenSae).describe('which SAE each site used; empty for supervised rows'),
});

const thresholds = z.object({ '0.5': count, '0.6': count, '0.8': count });

export const interpretabilityRow = z.object({
  site: z.string(),
  dictionary: z.string(),
  features: count,
  alive: count.describe('features active on at least one of the prompts'),
  interpretable: thresholds.describe('features whose best F1 is at least the threshold'),
  byProperty: z.record(z.string(), thresholds).describe('the same, by the kind of property that is the best interpretation'),
  f1: z.object({
    bins: z.array(count).length(20).describe('alive features by best F1, 20 bins of width 0.05 from 0 to 1, the last one closed'),
    mean: z.number().nullable(),
    median: z.number().nullable(),
    percentile90: z.number().nullable(),
  }).describe('distribution over alive features of the F1 of the best interpretation'),
  best: z.array(z.object({
    feature: count.describe('number in the dictionary as it was loaded or made'), property: z.string(), kind: z.string(), f1: z.number(), precision: z.number(), recall: z.number(), active: count,
  })).describe('the best interpreted features, at most ten'),
  activePerPrompt: z.number().describe('mean number of active features'),
  unionLimit: count.optional().describe('most values in a union; absent where it is 10'),
});

export const weightRow = z.object({
  site: z.string(),
  dictionary: z.string(),
  weights: count.describe('weights of active features, over prompts'),
  negative: share,
  meanNegative: z.number().nullable(),
  aboveOne: share,
  meanSum: z.number().nullable().describe('mean over prompts of the sum of weights; 1 but for rounding'),
  sumsToOne: z.boolean().nullable().optional().describe('every sum is 1 to within 0.05; null where no feature was active'),
});

const curvePoint = z.object({
  step: count, loss: z.number(), l2: z.number(), l1: z.number(), l0: z.number(), dead: share,
});

export const dictionaryRow = z.object({
  name: z.string(),
  variant: z.string(),
  site: z.string(),
  source: z.enum(['fitted', 'trained', 'loaded']),
  features: count,
  lambda: z.number().nullable().describe('weight of the sparsity term; null where there is none'),
  scale: z.number().nullable().describe('activations are divided by this before an SAE sees them'),
  explainedVariance: z.number().nullable().describe('1 - sum |x - reconstruction|^2 / sum |x - mean|^2 on the scored prompts'),
  l0: z.number().describe('mean active features on the scored prompts'),
  curve: z.array(curvePoint).describe('training curve; empty where there was no training here'),
  trainedOn: z.enum(['task', 'text']).optional().describe('where the examples of a loaded dictionary came from: prompts of a task at the site, or text at every position; absent where not known'),
  dropped: count.optional().describe('features left out because they were active too seldom in training; `features` does not count them. Absent where their frequencies are not known or not asked for'),
  reads: z.string().optional().describe('the hook that it reads, where that is not the site itself'),
  note: z.string().optional().describe('how what it reads gets to the site'),
  minFrequency: share.optional().describe('share of tokens that a feature must have been active on in training, or it is left out'),
});

const environment = z.object({
  adapter: z.object({ vendor: z.string(), architecture: z.string(), device: z.string(), description: z.string(), software: z.boolean() }),
  tuned: z.boolean().default(false).describe('kernels took settings from a tuning file, which changes how sums are rounded'),
  versions: z.record(z.string(), z.string()),
  seed: z.int(),
  times: z.object({
    startedAt: z.string().describe('ISO 8601'),
    totalSeconds: z.number(),
    phases: z.array(z.object({ name: z.string(), seconds: z.number() })),
    peakGpuBytes: count,
  }).describe('the only part that differs between two runs with the same seed on the same adapter'),
});

const config = z.object({
  prompts: count,
  selectionPrompts: count,
  trainPrompts: count,
  seed: z.int(),
  dictionaries: z.array(z.string()),
  saePaths: z.array(z.string()),
  ks: z.array(count),
  methods: z.array(z.string()).optional().describe('ways of choosing the features that SAE edits change; agnostic alone in files that do not say'),
  batch: count.describe('prompts in one patched run'),
  discovery: z.object({
    prompts: count,
    threshold: z.number().describe('sites whose effect reaches this share of the clean logit difference are selected'),
    counterfactuals: z.string(),
  }).nullable().describe('null when cross-sections were given'),
  sae: z.record(z.string(), z.unknown()).nullable().describe('training settings; null when none was trained'),
  denominatorGuard: z.number().describe('a ratio is null when its denominator is below this share of the clean logit difference'),
});

/** The whole of results.json. */
export const resultsSchema = z.object({
  schema: z.literal(RESULTS_SCHEMA),
  model,
  task,
  sites: z.array(siteRow).describe('ranking of sites by their effect, strongest first'),
  crossSections: z.array(sectionSchema),
  dictionaries: z.array(dictionaryRow),
  tests: z.object({
    approximation: z.array(approximationRow),
    control: z.array(controlRow),
    interpretability: z.array(interpretabilityRow),
    weights: z.array(weightRow),
  }),
  config,
  environment,
});

export type Results = z.infer<typeof resultsSchema>;
export type SiteRow = z.infer<typeof siteRow>;
export type CrossSectionRow = z.infer<typeof sectionSchema>;
export type DictionaryRow = z.infer<typeof dictionaryRow>;
export type CurvePoint = z.infer<typeof curvePoint>;
export type ApproximationRow = z.infer<typeof approximationRow>;
export type ControlRow = z.infer<typeof controlRow>;
export type InterpretabilityRow = z.infer<typeof interpretabilityRow>;
export type WeightRow = z.infer<typeof weightRow>;
export type Thresholds = z.infer<typeof thresholds>;

/** JSON Schema (draft 2020-12) of results.json. */
export function resultsJsonSchema(): Record<string, unknown> {
  return { $id: RESULTS_SCHEMA, title: 'diffract results', ...z.toJSONSchema(resultsSchema) };
}

/** Checks a parsed results.json. Throws zod's error, which names every field that does not fit. */
export function parseResults(value: unknown): Results {
  return resultsSchema.parse(value);
}

/** Rounds to nine significant digits: float32 sums carry no more, and shorter numbers keep the file readable. NaN and infinities become null. */
export function rounded(value: number): number | null {
  return Number.isFinite(value) ? Number(value.toPrecision(9)) : null;
}

/** results.json as text: keys in the order of the schema, an indent of one space, a final line feed. */
export function resultsText(results: Results): string {
  return JSON.stringify(results, (_key, value) => (typeof value === 'number' ? rounded(value) : value), 1) + '\n';
}

/** The same results without what depends on the clock, for comparing two runs. */
export function withoutTimes(results: Results): unknown {
  const { times: _times, ...environmentWithoutTimes } = results.environment;
  return { ...results, environment: environmentWithoutTimes };
}
