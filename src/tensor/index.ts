/** Tensors and the operations on them: one function a kernel, shapes checked, the variant picked, the dispatch recorded. */
export { Tensor, asMatrix, elements, sameShape, showShape, type DType, type TensorData } from './tensor.ts';
export { rowWindows, windowOf, type RowWindow } from './windows.ts';
