/** Tensors and the operations on them: one function a kernel, shapes checked, the variant picked, the dispatch recorded. */
export { Tensor, asMatrix, elements, sameShape, showShape, type DType, type TensorData } from './tensor.ts';
export { rowWindows, windowOf, type RowWindow } from './windows.ts';
export { matmul, type MatmulOptions } from './matmul.ts';
export { attention, type AttentionInput } from './attention.ts';
export { layerNorm, layerNormScale } from './norm.ts';
export { addPositions, embed, positionEmbedding } from './embed.ts';
export { argmax, softmax } from './softmax.ts';
export { gatherElements, gatherRows, scatterRows, type ColumnRange } from './index-ops.ts';
export { add, addScaled, mul, sub, type OutOption } from './elementwise.ts';
