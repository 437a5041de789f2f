/** The peers in Node. */
import type { Gpu } from '../../src/gpu/index.ts';
import { installPeers } from '../install.mjs';
import { nodePackages } from './node-packages.ts';
import { openOrtNode } from './ort-node.ts';
import { openFrom, WEB_PEERS } from './open.ts';
import type { OpenedPeers } from './peer.ts';

/**
 * Opens the named peers, or all, on the engine's device or the same adapter, installing their packages if that was not done.
 * Never throws for a single peer: what does not open is named with the reason.
 */
export async function openPeers(gpu: Gpu, names?: readonly string[]): Promise<OpenedPeers> {
  await installPeers();
  return openFrom({ ...WEB_PEERS, 'onnxruntime-node': openOrtNode }, gpu, await nodePackages(), names);
}
