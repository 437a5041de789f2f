/** All peers by name, opened on one device. */
import type { Gpu } from '../../src/gpu/index.ts';
import { openJax } from './jax.ts';
import { openOrtWeb } from './ort-web.ts';
import type { OpenPeer, Packages } from './packages.ts';
import type { OpenedPeers } from './peer.ts';
import { openTfjs } from './tfjs.ts';

export const WEB_PEERS: Readonly<Record<string, OpenPeer>> = { '@jax-js/jax': openJax, '@tensorflow/tfjs-backend-webgpu': openTfjs, 'onnxruntime-web': openOrtWeb };

/** Opens the named peers, or all; a name may be shortened to a part of it (`jax`, `tfjs`, `web`). What does not open is named with the reason. */
export async function openFrom(known: Readonly<Record<string, OpenPeer>>, gpu: Gpu, packages: Packages, names?: readonly string[]): Promise<OpenedPeers> {
  const opened: OpenedPeers = { peers: [], missing: [] };
  const chosen = names?.length ? Object.keys(known).filter((name) => names.some((wanted) => name.includes(wanted))) : Object.keys(known);
  for (const wanted of names ?? []) if (!Object.keys(known).some((name) => name.includes(wanted))) opened.missing.push({ name: wanted, why: `not known; there are ${Object.keys(known).join(', ')}` });
  for (const name of chosen) {
    try {
      opened.peers.push(await known[name]!({ gpu, packages }));
    } catch (error) {
      opened.missing.push({ name, why: (error instanceof Error ? error.message : String(error)).split('\n')[0]! });
    }
  }
  return opened;
}
