/** Phenomena of sparse autoencoders: feature occlusion and over-splitting, in toys whose truth is known and on models. */
export type { Watch } from './watching.ts';
export { overSplittingToy, overSplittingToyDefaults, overSplittingToySchema, type Mixture, type OverSplittingToy, type OverSplittingToyOptions, type OverSplittingToyRow } from './over-splitting-toy.ts';
