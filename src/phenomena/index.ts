/** Phenomena of sparse autoencoders: feature occlusion and over-splitting, in toys whose truth is known and on models. */
export type { Watch } from './watching.ts';
export { overSplittingToy, overSplittingToyDefaults, overSplittingToySchema, type Mixture, type OverSplittingToy, type OverSplittingToyOptions, type OverSplittingToyRow } from './over-splitting-toy.ts';
export { bestStarts, trainedToy, trainedToySchema, twoFeatureDefaults, wideDefaults, type TrainedToyOptions, type TrainedToyRow } from './over-splitting-trained.ts';
export { occlusionToy, occlusionToyDefaults, occlusionToyFull, occlusionToySchema, type OcclusionGrid, type OcclusionToy, type OcclusionToyOptions, type OcclusionToyRow } from './occlusion-toy.ts';
export { occlusion, occlusionDefaults, occlusionSchema, type Occlusion, type OcclusionData, type OcclusionOptions } from './occlusion.ts';
export { overSplitting, overSplittingDefaults, overSplittingSchema, type OverSplitting, type OverSplittingData, type OverSplittingOptions } from './over-splitting.ts';
export { bestF1, coverage, LabelledExamples, type Labels, type ValueCounts } from './coverage.ts';
