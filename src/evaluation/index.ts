/** Evaluations: the three tests, discovery of sites, and whole runs that give one typed record. */
export { evaluate, evaluationDefaults, type EvaluationOptions, type TrainedSae, type Watching } from './evaluate.ts';
export { ioiEvaluation, type EvaluationTask, type IoiEvaluationOptions, sampleEdited, seedsOf, withEveryValue, type EditedPrompts } from './task.ts';
export { describe, fitSupervised, trainVanilla, type LoadedDictionary, type SaePlan } from './dictionaries.ts';
export { loadPlaced, MIN_FREQUENCY, parseReading, withDistinctNames, type PlaceOptions } from './loading.ts';
export { checkPath, checkReading, dictionaryAt, formatReading, pathTo, reaches, readingKind, type Path, type Reading } from './serving.ts';
export { Catalogue, type EditedSection, type Entry, type FeatureFilter } from './catalogue.ts';
export { addRankings, editedAttributes, rankByF1, rankFeatures, type RankedPrompts, type RankingOptions } from './rankings.ts';
export { approximationRows, bestByDistance, bestByTradeOffs, eachDictionary, eachSupervised, type Approximated } from './approximation.ts';
export { bestTradeOff, Choice, choose, chooseByTradeOff, TRADE_OFF, type TradeOff } from './choice.ts';
export { correlations, correlationSchema, correlationSummaries, correlationSummarySchema, editDistance, measureTradeOff, tradeOffSchema, type CorrelationRow, type CorrelationSummary, type TradeOffOptions, type TradeOffRow } from './trade-off.ts';
export { controlRows, normalisedWeights, tradeOffCurves, type TradeOffCurve } from './control.ts';
export { distinctEdits, editName, editsOf, FEATURE_EDITS, methodName, methodsFor, type EditPlan, type Method } from './methods.ts';
export { scorePrompts, selectionDistances, type Scoring } from './scoring.ts';
export { Measurements } from './tally.ts';
export { findSections, givenSections, type DiscoveryOptions } from './select-sections.ts';
export { rankSites, type Contrast } from './discover.ts';
export { agreement, deviation, distribution, type Distribution, positiveShare, spearman, f1Score, mean, necessity, quantile, sufficiency, weightStatistics, type F1, type Score } from './formulas.ts';
export { countActive, placeGroupings, type PlacedGrouping } from './active-counts.ts';
export * from './results.ts';
export { attentionDefaults, attentionMechanism, attentionSchema, boxSchema, decomposeScores, type AttentionOptions, type AttentionResult, type ScorePairRow, type ScoreRow, type ScoreStudy, type TakenApart } from './mechanism.ts';
export { compositionSchema, headComposition, type ComponentRow, type CompositionResult, type CompositionStudy } from './composition.ts';
export { boxOf, splitActivations, supervisedGroups, type Box, type FeatureGroups, type Terms } from './terms.ts';
export { Probe, trainProbe, type ProbeOptions } from './probe.ts';
export { probeRow, probingRow, probingTest, type ProbedSite, type ProbeRow, type ProbingOptions, type ProbingRow } from './probing.ts';
export { compareGeometry, geometryRow, type GeometryRow } from './geometry.ts';
export { compareCoupling, compareReconstructions, couplingRow, explainedRow, type CouplingRow, type ExplainedRow } from './parametrizations.ts';
export { fitSupervisedCodes, groupOfValues, parametrizationAt, syntheticDictionaries, type SupervisedPlan } from './supervised.ts';
export { dictionaryMetricsSchema, MetricTotals, saeLensMetricsSchema, type DictionaryMetrics, type SaeLensMetrics } from './metrics.ts';
export { evaluateDictionaries, evaluateMetrics, type MeasureOptions, type MetricsOptions, type Placed, type PromptStream } from './metrics-run.ts';
export { saeBenchSchema, saebenchJsonSchema, saebenchResult, type SaeBenchInputs, type SaeBenchResult } from './saebench.ts';
export { logitDiffRecovered, measureRecovered, recoveredRowSchema, type LogitDiffs, type RecoveredOptions, type RecoveredRow, type RecoveredStudy } from './ld-recovered.ts';
export { interpretabilityRow as interpretabilityRowFrom, interpretFeatures, propertiesOf } from './interpretability.ts';
export { Interpreter, type Interpreted, type InterpreterOptions } from './interpreter.ts';
export { TEXT_UNION_LIMIT, UNION_LIMIT, type ActiveCounts, type Interpretation } from './interpretability.ts';
export type { Grouping, Properties, PropertyKind } from './predicates.ts';
export {
  CAUSAL_THRESHOLDS, featurePatchRow, interpretedApproximation, interpretedApproximationRow, patchFeatures,
  type CausalOptions, type CausalStudy, type FeaturePatchRow, type InterpretedApproximationRow, type InterpretedSite, type PatchedPairs,
} from './causal.ts';
export { featurePage, featurePageDefaults, featurePages, type FeaturePage, type FeaturePageOptions, type FeatureStudy, type TokenStream } from './features.ts';
export { attributeSources, featureDirections, logitEffects, writing, writtenBy, type Attribution, type Place, type Writing } from './feature-effects.ts';
export { directEffects, logitDirections, type DirectEffects, type DirectEffectsOptions } from './direct-effects.ts';
