/** Feature dictionaries behind one interface: supervised codes and sparse autoencoders, and how the latter lie on disk. */
export type { CodeEdit, Dictionary, EditOptions, EditResult, FeatureEdit, Examples, Scaled } from './dictionary.ts';
export { SupervisedCodes, supervisedName, type FitOptions } from './supervised.ts';
export { randomSets, SyntheticDictionary } from './synthetic.ts';
export type { AdamCodesOptions, CodeMethod } from './code-fit.ts';
export {
  columnIds, columnSpaces, independent, ioiParametrization, IOI_PARAMETRIZATIONS, type AttributeSpace, type Parametrization, type Term,
} from './parametrization.ts';
export { Sae, type SaeMetadata, type SaeOptions, type SaeVariantName } from './sae.ts';
export { ProjectedDictionary, type LinearMap } from './projected.ts';
export { frequentFeatures, logFrequencies, withFeatures } from './frequency.ts';
export { saeFiles } from './saelens.ts';
export { loadSae, openSae, readSaeConfig, splitAddress } from './formats/load.ts';
export { type ExpectedSite } from './formats/check.ts';
export { type SaeChoice, type SaeFileConfig } from './formats/format.ts';
export { readSparsity } from './formats/saelens.ts';
export { GPT2_RELEASES, releaseOf, type Release } from './formats/releases.ts';
export { WEIGHT_THRESHOLD, type Rankings } from './sae-edits.ts';
