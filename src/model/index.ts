/** GPT-2 models: loading, hooks, runs whole or resumed, generation. */
export { Gpt2, type LoadOptions } from './gpt2.ts';
export { Run, type Capture, type Edit, type RunOptions, type TokenBatch } from './run.ts';
export type { Splice, SpliceDictionary } from './splice.ts';
export { Tokenizer, loadTokenizer } from './tokenizer.ts';
export { readConfig, type Gpt2Config } from './config.ts';
export { outlineModel, type LargestTensor, type ModelOutline } from './outline.ts';
export { NO_PROCESSING, type WeightProcessing } from './processing.ts';
export { Hooks, nearest, type Hook, type InnerSite } from './sites.ts';
export type { GenerateOptions, ContinueOptions } from './generate.ts';
export { weightTypes, type LoadProgress, type WeightType } from './weights.ts';
export { selfTest, type Check } from './selftest.ts';
export { GPT2_SMALL_VALUES, type IoiPair, type KnownInput, type KnownValue } from './known-values.ts';
export { verifyModel, type Verified } from './verify.ts';
export { divergences, nextTokens, tokenText, type NextToken } from './predictions.ts';
