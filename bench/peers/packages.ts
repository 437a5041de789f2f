/** What a peer is given: the device to work on, and its package, loaded in Node or bundled into a page. */
import type { Gpu } from '../../src/gpu/index.ts';
import type { Peer } from './peer.ts';

/** How packages reach the peers; Node and a page each have their own. */
export interface Packages {
  /** The package as a module, with its version. Throws where it is not installed or does not load. */
  load(name: string): Promise<{ module: unknown; version: string }>;
  /** Runs `start` while `navigator.gpu` is there, for packages that look for it. */
  withNavigator<T>(start: () => Promise<T>): Promise<T>;
}

export interface PeerSetting { gpu: Gpu; packages: Packages }
export type OpenPeer = (setting: PeerSetting) => Promise<Peer>;
