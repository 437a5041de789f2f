/** Evaluations: the three tests, discovery of sites, and whole runs that give one typed record. */
export { evaluate, evaluationDefaults, type EvaluationOptions, type Watching } from './evaluate.ts';
export { ioiEvaluation, type EvaluationTask } from './task.ts';
export type { LoadedDictionary, SaePlan } from './dictionaries.ts';
export { findSections, type DiscoveryOptions } from './select-sections.ts';
export { rankSites, type Contrast } from './discover.ts';
export { agreement, deviation, f1Score, mean, necessity, quantile, sufficiency, weightStatistics, type F1, type Score } from './formulas.ts';
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
