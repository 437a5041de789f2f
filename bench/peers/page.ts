/** The peers in a page: bundled with their packages into `peers.js`, ONNX Runtime's files (`PAGE_FILES` of ../install.mjs) beside it. */
import type { Gpu } from '../../src/gpu/index.ts';
import { dependencies } from '../package.json';
import { openFrom, WEB_PEERS } from './open.ts';
import type { OpenedPeers } from './peer.ts';
import type { Packages } from './packages.ts';

/** Browsers have `navigator.gpu`, and what the packages need of the language. */
const packages: Packages = {
  async load(name) {
    const version = (dependencies as Record<string, string>)[name] ?? '?';
    switch (name) {
      case '@jax-js/jax': return { module: await import('@jax-js/jax'), version };
      case '@tensorflow/tfjs-core': return { module: await import('@tensorflow/tfjs-core'), version };
      case '@tensorflow/tfjs-backend-webgpu': return { module: await import('@tensorflow/tfjs-backend-webgpu'), version };
      case 'onnxruntime-web': {
        const ort = await import('onnxruntime-web/webgpu');
        ort.env.wasm.wasmPaths = new URL('.', import.meta.url).href;
        return { module: ort, version };
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
