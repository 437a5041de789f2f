/** diffract's public face, the same in browsers and in Node. */
export { openGpu, type Gpu, type OpenOptions, type Tuning } from './gpu/index.ts';
export * from './errors.ts';
export * from './tensor/index.ts';
export * from './files/index.ts';
export * from './model/index.ts';
export * from './task/index.ts';
export * from './dictionary/index.ts';
export * from './training/index.ts';
export * from './evaluation/index.ts';
export * from './phenomena/index.ts';
export * from './reproduction/index.ts';
export { renderReport, renderTable, type ReportOptions } from './report/index.ts';
