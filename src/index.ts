/** diffract's public face, the same in browsers and in Node. */
export { openGpu, type Gpu, type OpenOptions } from './gpu/index.ts';
export * from './errors.ts';
export * from './tensor/index.ts';
export * from './files/index.ts';
