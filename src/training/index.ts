/** Training sparse autoencoders: variants, settings, schedules, resampling, checkpoints, many dictionaries at once. */
export { trainSaes, type TrainOptions, type TrainResult } from './train.ts';
export { checkJobs, checkSettings, rescaleSparsity, trainDefaults, variantDefaults, type InputScale, type SaeJob, type TrainSettings } from './settings.ts';
export { checkVariant, dictionaryFolder, trainVariants, variantPolicies, type TrainVariant, type VariantPolicy } from './variants.ts';
export { RELEASED_TRAINING, releasedTraining, type ReleasedTraining } from './released.ts';
export { TRAINING_PRESETS, trainingPreset, type TrainingPreset, type TrainingPresetName, type VariantValues } from './presets.ts';
export { logLine, parseLogLine, type LogRecord } from './log.ts';
export { readCheckpoint, type Checkpoint } from './checkpoint.ts';
export { runMemory, type MemoryLimits, type RunMemory } from './memory.ts';
export { scheduleOf, type Schedule } from './schedule.ts';
export { trainSweep, type SweepEntry, type SweepManifest, type SweepPlan, type SweepResult, type SweepSite, type SweepStore, type SweepWatching } from './sweep.ts';
export { countedPositions, isHeldOut, packDefaults, TokenRows, type PackSettings, type PackState, type TokenRowsOptions } from './token-rows.ts';
export { StreamedExamples, type ActivationStream, type PutExamples } from './stream.ts';
export { streamPlace, TextActivations, type StreamPlace, type StreamSite, type TextActivationsOptions } from './text-activations.ts';
export { cachedName, CachedActivations, checkCacheModel, readCacheManifest, writeActivations, type CacheFolder, type CacheManifest, type CachePlan } from './activation-cache.ts';
export { shardOrder } from './tokens-order.ts';
