/** Files of `torch.save`. What reads them (torch-file.ts) is loaded with the first. */
import type { FileSource } from './source.ts';
import type { TorchTensor, TorchValue } from './torch-tensor.ts';

export { TorchTensor, type TorchDict, type TorchValue } from './torch-tensor.ts';

export interface TorchFile {
  /** For messages: source and file. */
  readonly name: string;
  /** What was saved: usually a dictionary of tensors by name. */
  readonly value: TorchValue;
  /** A tensor's elements as float32 in row-major order, whatever its strides. */
  f32(tensor: TorchTensor): Promise<Float32Array>;
}

/** Opens `path`. FileError, naming file and byte, for what is broken, cut off, or holds anything but tensors and plain values. */
export async function openTorch(source: FileSource, path: string): Promise<TorchFile> {
  return (await import('./torch-file.ts')).openTorchFile(source, path);
}
