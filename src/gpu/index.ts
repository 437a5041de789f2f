/** The machine: devices, buffers, pipelines, recording, reading back, timing, loss of the device. */
export { openGpu, type OpenOptions } from './open.ts';
export { Gpu, type AdapterFacts, type GpuLimits } from './gpu.ts';
export { defineKernel, type Kernel, type Variant } from './kernel.ts';
export { fold, type Dispatch } from './recorder.ts';
export {
  NO_TUNING, TUNING_FORMAT, TUNING_VERSION, assertTuning, checkTuning, installTunable, kernelHash, tuningFile,
  type Choice, type Choices, type Tunable, type Tuning, type TuningAdapter, type TuningFile,
} from './tuning.ts';
export { sizeClass, type BufferSlice, type Memory, type Storage } from './pool.ts';
export type { Disposable } from './scope.ts';
export { highestCeilings, measureCeilings, measureCopy, measureFma, type Ceilings } from './ceilings.ts';
