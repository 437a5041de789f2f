/**
 * Bytes in and out, the same in Node and browsers: sources of files and the safetensors format.
 * What needs Node stands in `node-directory.ts` and `node-write.ts`, which only Node's entry points import.
 */
export { memorySource, installPathOpener, fileName, type FileSource } from './source.ts';
export { urlSource, openSource, type UrlSourceOptions } from './url.ts';
export { bytesPerElement, widenToF32, type SafetensorsDType } from './dtypes.ts';
export { openSafetensors, type TensorFile, type TensorInfo } from './safetensors.ts';
export { encodeSafetensors, safetensorsParts, type TensorToWrite } from './safetensors-write.ts';
