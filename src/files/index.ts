/**
 * Bytes in and out, the same in Node and browsers: sources of files and the safetensors format.
 * What needs Node stands in the files `node-*.ts`, which only Node's entry points import.
 */
export { memorySource, fileName, Unreachable, type FileOrigin, type FileSource } from './source.ts';
export { urlSource, type UrlSourceOptions } from './url.ts';
export { hubSource, isHubName, parseHubAddress, type HubOptions } from './hub.ts';
export { type HubCache, type Incomplete, type StoredFile } from './hub-cache.ts';
export { opfsHubCache, type OpfsHubCacheOptions } from './opfs-hub-cache.ts';
export { installOpeners, openHub, openSource } from './open.ts';
export { BLANK_LINES } from './text/lines.ts';
export { readDocuments, TEXT_FORMATS, type Content, type Cursor, type Document, type DocumentOptions, type TextFile } from './text/documents.ts';
export { bytesPerElement, widenToF32, type SafetensorsDType } from './dtypes.ts';
export { openSafetensors, type TensorFile, type TensorInfo } from './safetensors.ts';
export { encodeSafetensors, safetensorsParts, type TensorToWrite } from './safetensors-write.ts';
export { openTorch, TorchTensor, type TorchDict, type TorchFile, type TorchValue } from './torch.ts';
