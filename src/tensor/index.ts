/** Tensors and the operations on them: one function a kernel, shapes checked, the variant picked, the dispatch recorded. */
export { Tensor, asMatrix, elements, sameShape, showShape, type DType, type TensorData } from './tensor.ts';
export { rowWindows, windowOf, type RowWindow } from './windows.ts';
export { matmul, type MatmulOptions } from './matmul.ts';
export { attention, attentionApply, attentionScores, type AttentionInput } from './attention.ts';
export { layerNorm, layerNormScale } from './norm.ts';
export { addPositions, embed, positionEmbedding } from './embed.ts';
export { argmax, softmax } from './softmax.ts';
export { gatherElements, gatherRows, scatterRows, type ColumnRange } from './index-ops.ts';
export { add, addScaled, mul, sub, type OutOption } from './elementwise.ts';
export { compactRows, gatherExamples, padRows, resizeRows, saeDecode, saeEncode, saeWidths, scaleRows, vec4s, type Compact, type SaeWeights } from './sae.ts';
export { SaeStep, largestStepBuffer, type StepSizes } from './sae-step.ts';
export { adam, adamDefaults, adamPipelines, adamRows, type AdamSettings, type AdamStep, type AdamTensors } from './adam.ts';
export { formsGram, gramMatrix, greedyApply, greedyChoose, greedyWeightRemoved, type GreedyChoice, type GreedyProblem } from './greedy.ts';
export { activeMask, reciprocalRows } from './codes.ts';
export { affine, fill, gelu, relu, transpose, widen16 } from './elementwise.ts';
export { maxRows, meanColumns, meanRows, segmentSum, sumColumns, sumRows, sumSquaresRows } from './reduce.ts';
export { randomBits, randomNormal, randomUniform, type RandomOptions } from './random.ts';
export { segments } from './segments.ts';
