/**
 * Metrics of a dictionary on a stream of tokens, by the names that SAELens (`run_evals`) and dictionary_learning (`evaluate`) give them.
 *
 * x is an activation, x̂ its reconstruction, e = x − x̂, f the codes; means are over scored tokens unless said otherwise, pooled over the whole
 * set and summed in float64, so that no number depends on the batch size (but `explained_variance_legacy`, which is defined by batches).
 *
 *   kl_div_with_sae, kl_div_with_ablation   mean KL(original ‖ altered) of next-token distributions; x̂ spliced in, or zeros
 *   kl_div_score                            (KL_ablation − KL_sae) / KL_ablation
 *   ce_loss_with_sae, …                     mean cross-entropy of the next token, the last token of a prompt left out
 *   ce_loss_score = frac_recovered          (CE_ablation − CE_sae) / (CE_ablation − CE_original)
 *   ce_loss_with_mean_ablation, …           the same with the mean of the scored activations in place of each: loss recovered as arXiv 2405.08366 has it (A.11)
 *   explained_variance                      1 − Σ‖e‖² / Σ‖x − x̄‖²                        (SAELens from 6.45.1 on)
 *   explained_variance_legacy               mean of 1 − ‖e‖² / ‖x − x̄_batch‖²            (before)
 *   frac_variance_explained                 1 − Σ Var(e) / Σ Var(x) over dimensions: a constant offset of x̂ costs nothing (dictionary_learning)
 *   mse, l2_loss                            mean ‖e‖², mean ‖e‖
 *   cossim, l2_ratio                        mean cos(x, x̂), 0 where either is the zero vector; mean ‖x̂‖ / ‖x‖, divided by 1 where ‖x‖ < 1e-4
 *   relative_reconstruction_bias            mean ‖x̂‖² / mean x·x̂
 *   l0, l1                                  mean number of f ≠ 0, mean Σ|f|
 *   feature_density                         share of tokens on which a feature is not 0
 *   consistent_activation_heuristic         tokens on which a feature fires per prompt in which it does
 */
import * as z from 'zod';

const amount = z.number().nullable();
const many = z.array(z.number().nullable());
const count = z.int().nonnegative();

/** SAELens' groups. */
export const saeLensMetricsSchema = z.object({
  model_behavior_preservation: z.object({ kl_div_score: amount, kl_div_with_ablation: amount, kl_div_with_sae: amount }),
  model_performance_preservation: z.object({ ce_loss_score: amount, ce_loss_with_ablation: amount, ce_loss_with_sae: amount, ce_loss_without_sae: amount }),
  reconstruction_quality: z.object({ explained_variance: amount, explained_variance_legacy: amount, mse: amount, cossim: amount }),
  shrinkage: z.object({ l2_norm_in: amount, l2_norm_out: amount, l2_ratio: amount, relative_reconstruction_bias: amount }),
  sparsity: z.object({ l0: amount, l1: amount }),
  token_stats: z.object({
    total_tokens_eval_reconstruction: count.describe('tokens that were scored in the runs with x̂ spliced in; 0 without them'),
    total_tokens_eval_sparsity_variance: count.describe('tokens that everything else is measured on'),
  }),
});

/** dictionary_learning's names. */
export const dictionaryLearningMetricsSchema = z.object({
  l2_loss: amount, l1_loss: amount, l0: amount, frac_variance_explained: amount, cossim: amount, l2_ratio: amount, relative_reconstruction_bias: amount,
  loss_original: amount, loss_reconstructed: amount, loss_zero: amount, frac_recovered: amount,
  frac_alive: amount.describe('share of features that are not 0 on some scored token'),
});

/** One number per feature. */
export const featureMetricsSchema = z.object({
  feature_density: many,
  consistent_activation_heuristic: many.describe('null for features that never fire'),
  encoder_bias: many.nullable().describe('null for dictionaries without an encoder'),
  encoder_norm: many.nullable(),
  encoder_decoder_cosine_sim: many.nullable(),
});

/** Beside the ablation by zeros that the tools above have. */
export const meanAblationSchema = z.object({ ce_loss_with_mean_ablation: amount, ce_loss_score: amount, kl_div_with_mean_ablation: amount, kl_div_score: amount });

export const dictionaryMetricsSchema = z.object({
  saelens: saeLensMetricsSchema,
  dictionary_learning: dictionaryLearningMetricsSchema,
  features: featureMetricsSchema,
  mean_ablation: meanAblationSchema.optional().describe('only where it was asked for'),
  notes: z.array(z.string()).describe('why a number is null'),
});

export type SaeLensMetrics = z.infer<typeof saeLensMetricsSchema>;
export type DictionaryMetrics = z.infer<typeof dictionaryMetricsSchema>;

/** Sums over the coordinates of each scored token of a batch, [n] each. */
export interface TokenSums {
  squaredIn: ArrayLike<number>;
  squaredOut: ArrayLike<number>;
  /** x·x̂ */
  dot: ArrayLike<number>;
  squaredError: ArrayLike<number>;
  /** ‖x − m‖² and ‖e − m_e‖² for reference points that are the same in all batches: sums of squares about the mean then lose no digits. */
  squaredFromCentre: ArrayLike<number>;
  squaredErrorFromCentre: ArrayLike<number>;
  /** ‖x − x̄_batch‖² */
  squaredFromBatchMean: ArrayLike<number>;
  l0: ArrayLike<number>;
  l1: ArrayLike<number>;
}

/** Sums over the scored tokens of a batch. */
export interface ColumnSums {
  /** Σ (x − m) and Σ (e − m_e), [width] each. */
  fromCentre: ArrayLike<number>;
  errorFromCentre: ArrayLike<number>;
  /** Tokens on which each feature is not 0, and prompts that have such a token: [features] each. */
  active: ArrayLike<number>;
  activePrompts: ArrayLike<number>;
}

/** Losses per scored token; those of a next token only where there is one. */
export interface TokenLosses {
  crossEntropy: Record<'original' | 'sae' | 'ablation', ArrayLike<number>> & { mean?: ArrayLike<number> };
  divergence: Record<'sae' | 'ablation', ArrayLike<number>> & { mean?: ArrayLike<number> };
}

type WeightMetrics = Pick<DictionaryMetrics['features'], 'encoder_bias' | 'encoder_norm' | 'encoder_decoder_cosine_sim'>;

/** Norms below this divide as 1. */
const SMALLEST_NORM = 1e-4;

/** Adds up batches in float64. */
export class MetricTotals {
  private readonly sums = new Map<string, number>();
  private readonly fromCentre: Float64Array;
  private readonly errorFromCentre: Float64Array;
  private readonly active: Float64Array;
  private readonly activePrompts: Float64Array;
  private tokens = 0;
  private lossTokens = 0;
  private nextTokens = 0;
  private legacyTokens = 0;
  private meanAblated = false;

  constructor(width: number, features: number) {
    [this.fromCentre, this.errorFromCentre] = [new Float64Array(width), new Float64Array(width)];
    [this.active, this.activePrompts] = [new Float64Array(features), new Float64Array(features)];
  }

  add(rows: TokenSums, columns: ColumnSums): void {
    const n = rows.squaredIn.length;
    this.tokens += n;
    for (let i = 0; i < n; i++) {
      const [squaredIn, squaredOut, squaredError] = [rows.squaredIn[i]!, rows.squaredOut[i]!, rows.squaredError[i]!];
      const [normIn, normOut] = [Math.sqrt(squaredIn), Math.sqrt(squaredOut)];
      this.sum('mse', squaredError);
      this.sum('l2_loss', Math.sqrt(squaredError));
      this.sum('l2_norm_in', normIn);
      this.sum('l2_norm_out', normOut);
      this.sum('l2_ratio', normOut / (normIn < SMALLEST_NORM ? 1 : normIn));
      this.sum('squaredOut', squaredOut);
      this.sum('dot', rows.dot[i]!);
      this.sum('cossim', normIn > 0 && normOut > 0 ? rows.dot[i]! / (normIn * normOut) : 0);
      this.sum('fromCentre', rows.squaredFromCentre[i]!);
      this.sum('errorFromCentre', rows.squaredErrorFromCentre[i]!);
      this.sum('l0', rows.l0[i]!);
      this.sum('l1', rows.l1[i]!);
      if (!(rows.squaredFromBatchMean[i]! > 0)) continue;
      this.sum('legacy', 1 - squaredError / rows.squaredFromBatchMean[i]!);
      this.legacyTokens++;
    }
    for (const name of ['fromCentre', 'errorFromCentre', 'active', 'activePrompts'] as const) {
      for (let i = 0; i < this[name].length; i++) this[name][i]! += columns[name][i]!;
    }
  }

  addLosses({ crossEntropy, divergence }: TokenLosses): void {
    this.lossTokens += divergence.sae.length;
    this.nextTokens += crossEntropy.original.length;
    this.meanAblated ||= crossEntropy.mean !== undefined;
    for (const [name, values] of Object.entries(crossEntropy)) for (let i = 0; i < values.length; i++) this.sum(`ce ${name}`, values[i]!);
    for (const [name, values] of Object.entries(divergence)) for (let i = 0; i < values.length; i++) this.sum(`kl ${name}`, values[i]!);
  }

  /** The metrics of everything that was added. `losses` says whether losses were measured at all, `weights` what is known of the encoder. */
  finish(losses: boolean, weights: WeightMetrics | null = null): DictionaryMetrics {
    const notes: string[] = [];
    const ratio = (name: string, above: number, below: number, why: string): number | null => {
      if (Number.isFinite(above / below)) return above / below;
      notes.push(`${name}: ${why}`);
      return null;
    };
    const mean = (name: string, n = this.tokens, what = 'no token was scored'): number | null => ratio(name, this.total(name), n, what);
    const constant = 'the activations do not vary';
    const aboutMean = (squares: string, sums: Float64Array) => this.total(squares) - sums.reduce((sum, x) => sum + x * x, 0) / this.tokens;
    const variance = aboutMean('fromCentre', this.fromCentre);
    const share = (name: string, unexplained: number) => { const part = ratio(name, unexplained, variance, constant); return part === null ? null : 1 - part; };
    const [ce, kl] = [(which: string) => (losses ? mean(`ce ${which}`, this.nextTokens, 'no scored token has a next one') : null), (which: string) => (losses ? mean(`kl ${which}`, this.lossTokens) : null)];
    if (!losses) notes.push('cross-entropies and divergences: not measured');
    const [original, withSae, ablated, klSae, klAblated] = [ce('original'), ce('sae'), ce('ablation'), kl('sae'), kl('ablation')];
    const recovered = original === null || withSae === null || ablated === null ? null : ratio('ce_loss_score', ablated - withSae, ablated - original, 'ablation does not change the loss');
    const score = (name: string, from: number | null, to: number | null, best: number | null): number | null => (
      from === null || to === null || best === null ? null : ratio(name, from - to, from - best, 'ablation changes nothing'));
    const [meanLoss, meanDivergence] = this.meanAblated ? [ce('mean'), kl('mean')] : [null, null];
    const common = { l0: mean('l0'), cossim: mean('cossim'), l2_ratio: mean('l2_ratio'), relative_reconstruction_bias: ratio('relative_reconstruction_bias', this.total('squaredOut'), this.total('dot'), 'x·x̂ is 0') };
    const l1 = mean('l1');
    const saelens: SaeLensMetrics = {
      model_behavior_preservation: {
        kl_div_score: klSae === null || klAblated === null ? null : ratio('kl_div_score', klAblated - klSae, klAblated, 'ablation does not change predictions'),
        kl_div_with_ablation: klAblated, kl_div_with_sae: klSae,
      },
      model_performance_preservation: { ce_loss_score: recovered, ce_loss_with_ablation: ablated, ce_loss_with_sae: withSae, ce_loss_without_sae: original },
      reconstruction_quality: {
        explained_variance: share('explained_variance', this.total('mse')),
        explained_variance_legacy: mean('legacy', this.legacyTokens, 'no batch in which activations vary'), mse: mean('mse'), cossim: common.cossim,
      },
      shrinkage: { l2_norm_in: mean('l2_norm_in'), l2_norm_out: mean('l2_norm_out'), l2_ratio: common.l2_ratio, relative_reconstruction_bias: common.relative_reconstruction_bias },
      sparsity: { l0: common.l0, l1 },
      token_stats: { total_tokens_eval_reconstruction: this.lossTokens, total_tokens_eval_sparsity_variance: this.tokens },
    };
    return {
      saelens,
      dictionary_learning: {
        l2_loss: mean('l2_loss'), l1_loss: l1, ...common, frac_variance_explained: share('frac_variance_explained', aboutMean('errorFromCentre', this.errorFromCentre)),
        loss_original: original, loss_reconstructed: withSae, loss_zero: ablated, frac_recovered: recovered,
        frac_alive: ratio('frac_alive', this.active.reduce((alive, n) => alive + (n > 0 ? 1 : 0), 0), this.active.length, 'there is no feature'),
      },
      features: {
        feature_density: Array.from(this.active, (n) => (this.tokens > 0 ? n / this.tokens : null)),
        consistent_activation_heuristic: Array.from(this.active, (n, i) => (n > 0 ? n / this.activePrompts[i]! : null)),
        ...(weights ?? { encoder_bias: null, encoder_norm: null, encoder_decoder_cosine_sim: null }),
      },
      ...(this.meanAblated ? {
        mean_ablation: {
          ce_loss_with_mean_ablation: meanLoss, ce_loss_score: score('ce_loss_score of mean ablation', meanLoss, withSae, original),
          kl_div_with_mean_ablation: meanDivergence, kl_div_score: score('kl_div_score of mean ablation', meanDivergence, klSae, 0),
        },
      } : {}),
      notes: [...new Set(notes)],
    };
  }

  private sum(name: string, value: number): void {
    this.sums.set(name, (this.sums.get(name) ?? 0) + value);
  }

  private total(name: string): number {
    return this.sums.get(name) ?? 0;
  }
}
