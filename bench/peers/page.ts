/** The peers in a page: bundled with their packages into `peers.js`, ONNX Runtime's WebAssembly beside it. */
import type { Gpu } from '../../src/gpu/index.ts';
import { openFrom, WEB_PEERS, type OpenedPeers } from './open.ts';
import type { Packages } from './packages.ts';

/** Browsers have `navigator.gpu`, and what the packages need of the language. */
const packages: Packages = {
  async load(name) {
    switch (name) {
      case '@jax-js/jax': return { module: await import('@jax-js/jax'), version: (await import('@jax-js/jax/package.json')).version };
      case '@tensorflow/tfjs-core': return { module: await import('@tensorflow/tfjs-core'), version: (await import('@tensorflow/tfjs-core/package.json')).version };
      case '@tensorflow/tfjs-backend-webgpu': return { module: await import('@tensorflow/tfjs-backend-webgpu'), version: (await import('@tensorflow/tfjs-backend-webgpu/package.json')).version };
      case 'onnxruntime-web': {
        const ort = await import('onnxruntime-web/webgpu');
        ort.env.wasm.wasmPaths = document.baseURI;
        return { module: ort, version: (await import('onnxruntime-web/package.json')).version };
      }
      default: throw new Error(`${name} is not part of this page`);
    }
  },
  withNavigator: (start) => start(),
};

/** As in Node, with the packages that the page was built with. */
export function openPeers(gpu: Gpu, names?: readonly string[]): Promise<OpenedPeers> {
  return openFrom(WEB_PEERS, gpu, packages, names);
}
