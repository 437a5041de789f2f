/** The peers' packages are typed by what is used of them, in the peers' own files, so that types can be checked where they are not installed. */
declare module '@jax-js/jax';
declare module '@tensorflow/tfjs-core';
declare module '@tensorflow/tfjs-backend-webgpu';
declare module 'onnxruntime-web/webgpu';
