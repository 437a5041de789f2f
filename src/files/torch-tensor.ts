/** What a torch file says of its tensors. */
import type { SafetensorsDType } from './dtypes.ts';

/** A tensor as the file describes it: a part of a storage, which is a record of the archive. */
export class TorchTensor {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Elements from one index of an axis to the next, for each axis. */
  readonly strides: readonly number[];
  /** Elements of the storage before the tensor's first. */
  readonly offset: number;
  /** Name of the storage's record, and the elements that it is said to have. */
  readonly storage: { readonly key: string; readonly elements: number };

  constructor({ dtype, shape, strides, offset, storage }: Pick<TorchTensor, 'dtype' | 'shape' | 'strides' | 'offset' | 'storage'>) {
    this.dtype = dtype;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
    this.storage = storage;
  }
}

/** Lists and tuples are arrays, dictionaries maps; integers beyond 2^53 are bigint. */
export type TorchValue = null | boolean | number | bigint | string | TorchTensor | TorchValue[] | TorchDict;
export type TorchDict = Map<TorchValue, TorchValue>;
