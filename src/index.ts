/**
 * diffract's public face, the same in browsers and in Node: devices, tensors, files, models, tasks, dictionaries. What trains, evaluates and reports
 * has modules of its own (`diffract/training`, `diffract/evaluation`, `diffract/phenomena`, `diffract/reproduction`, `diffract/report`), so that a
 * page that needs none of it loads none of it.
 */
export { openGpu, type Gpu, type OpenOptions, type Tuning } from './gpu/index.ts';
export * from './errors.ts';
export * from './tensor/index.ts';
export * from './files/index.ts';
export * from './model/index.ts';
export * from './task/index.ts';
export * from './dictionary/index.ts';
