/**
 * Result files in the form of SAEBench's "core" evaluation, so that what reads those can read ours. Two things differ: a number that does not
 * exist is null, and tokens are counted as they were scored. dictionary_learning's metrics stand in `eval_result_unstructured`.
 */
import * as z from 'zod';
import { dictionaryMetricsSchema, meanAblationSchema, saeLensMetricsSchema, type DictionaryMetrics } from './metrics.ts';
import { rounded } from './results.ts';

const count = z.int().nonnegative();

export const saeBenchSchema = z.object({
  eval_type_id: z.literal('core'),
  eval_config: z.object({
    model_name: z.string(),
    llm_dtype: z.string(),
    batch_size_prompts: count.nullable().describe('null: as many as fitted'),
    dataset: z.string().describe('where the tokens are from'),
    dataset_part: z.enum(['train', 'held-out', 'all']).optional().describe('which of its documents, where it is text'),
    context_size: count.describe('tokens of the longest prompt'),
    prompts: count,
    exclude_special_tokens_from_reconstruction: z.boolean(),
    excluded_tokens: z.array(count),
  }),
  eval_id: z.string().min(1),
  datetime_epoch_millis: count,
  eval_result_metrics: saeLensMetricsSchema,
  eval_result_details: z.array(z.object({
    index: count,
    feature_density: z.number().nullable(),
    consistent_activation_heuristic: z.number().nullable(),
    encoder_bias: z.number().nullable(),
    encoder_norm: z.number().nullable(),
    encoder_decoder_cosine_sim: z.number().nullable(),
  })).describe('one entry per feature'),
  eval_result_unstructured: z.object({
    dictionary_learning: dictionaryMetricsSchema.shape.dictionary_learning,
    mean_ablation: meanAblationSchema.optional().describe('scored activations replaced by their mean, where SAELens has zeros'),
    notes: z.array(z.string()).describe('why a number is null'),
  }),
  sae_bench_commit_hash: z.string().describe('the program that measured, as it was not SAEBench'),
  sae_lens_id: z.string(),
  sae_lens_release_id: z.string(),
  sae_lens_version: z.string(),
  sae_cfg_dict: z.record(z.string(), z.unknown()),
});

export type SaeBenchResult = z.infer<typeof saeBenchSchema>;

export interface SaeBenchInputs {
  metrics: DictionaryMetrics;
  config: SaeBenchResult['eval_config'];
  /** Name of the dictionary, and of the set that it belongs to. */
  id: string;
  release: string;
  /** What cfg.json says of it. */
  cfg: Record<string, unknown>;
  /** Version of this program. */
  version: string;
  /** Made up and taken from the clock unless given. */
  evalId?: string;
  time?: number;
}

/** The content of a result file, numbers with nine significant digits. */
export function saebenchResult({ metrics, config, id, release, cfg, version, evalId = crypto.randomUUID(), time = Date.now() }: SaeBenchInputs): SaeBenchResult {
  const { features } = metrics;
  const result: SaeBenchResult = {
    eval_type_id: 'core',
    eval_config: config,
    eval_id: evalId,
    datetime_epoch_millis: time,
    eval_result_metrics: metrics.saelens,
    eval_result_details: features.feature_density.map((density, index) => ({
      index,
      feature_density: density,
      consistent_activation_heuristic: features.consistent_activation_heuristic[index]!,
      encoder_bias: features.encoder_bias?.[index] ?? null,
      encoder_norm: features.encoder_norm?.[index] ?? null,
      encoder_decoder_cosine_sim: features.encoder_decoder_cosine_sim?.[index] ?? null,
    })),
    eval_result_unstructured: { dictionary_learning: metrics.dictionary_learning, ...(metrics.mean_ablation ? { mean_ablation: metrics.mean_ablation } : {}), notes: metrics.notes },
    sae_bench_commit_hash: `diffract ${version}`,
    sae_lens_id: id,
    sae_lens_release_id: release,
    sae_lens_version: `diffract ${version}`,
    sae_cfg_dict: cfg,
  };
  return JSON.parse(JSON.stringify(result, (key, value: unknown) => (typeof value === 'number' && key !== 'datetime_epoch_millis' ? rounded(value) : value))) as SaeBenchResult;
}

/** JSON Schema (draft 2020-12) of the files. */
export function saebenchJsonSchema(): Record<string, unknown> {
  return { title: 'SAEBench core results of diffract', ...z.toJSONSchema(saeBenchSchema) };
}
