/** Feature dictionaries behind one interface: supervised codes and sparse autoencoders, and how the latter lie on disk. */
export type { Dictionary, EditOptions, EditResult, Examples } from './dictionary.ts';
export { MeanCodes, type AttributeSpace } from './supervised.ts';
export { Sae, type SaeMetadata } from './sae.ts';
export { loadSae, readSaeConfig, saeFiles, type ExpectedSite, type SaeFileConfig } from './saelens.ts';
