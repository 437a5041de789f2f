/** The benchmark where a browser runs it, on a page's thread or in a worker: with the model and the other engines by address. */
import { openGpu, type Gpu } from '../src/gpu/index.ts';
import { browserOf } from './browser-name.ts';
import { allCases, setMiniFolder } from './cases/index.ts';
import { chooseCases } from './choose.ts';
import type { OpenedPeers } from './peers/peer.ts';
import type { BenchResult } from './results.ts';
import { runBench, type BenchOptions } from './run.ts';

export interface PageOptions { names: string[]; full: boolean; samples: number; peers: string[] | boolean }

export interface InPageOptions extends PageOptions, Pick<BenchOptions, 'signal' | 'onCeilings' | 'onStep' | 'onRow'> {
  /** The device to measure; one is opened, and destroyed in the end, unless given. */
  gpu?: Gpu;
  /** Folder of the embedded model. */
  model: string;
  /** The module that the other engines were bundled into. */
  peersAt: string;
  version: string;
  agent: Pick<Navigator, 'userAgent' | 'platform'>;
}

/** Runs what was chosen. Throws UsageError for a word that stands for nothing, AdapterError where there is no adapter. */
export async function benchInPage({ gpu: given, names, full, samples, peers: wanted, model, peersAt, version, agent, ...watching }: InPageOptions): Promise<BenchResult> {
  const cases = chooseCases(allCases(), names, full);
  const gpu = given ?? await openGpu();
  setMiniFolder(model);
  const { peers, missing } = wanted ? await loadPeers(gpu, peersAt, wanted === true ? undefined : wanted) : { peers: [], missing: [] };
  try {
    return await runBench(gpu, { cases, names, full, samples, peers, missingPeers: missing, version, where: browserOf(agent.userAgent, agent.platform), ...watching });
  } finally {
    for (const peer of peers) await Promise.resolve(peer.dispose()).catch(() => {});
    if (!given) gpu.destroy();
  }
}

async function loadPeers(gpu: Gpu, peersAt: string, names?: string[]): Promise<OpenedPeers> {
  try {
    const { openPeers } = (await import(peersAt)) as { openPeers(gpu: Gpu, names?: string[]): Promise<OpenedPeers> };
    return await openPeers(gpu, names);
  } catch (error) {
    return { peers: [], missing: [{ name: 'other engines', why: `${(error as Error).message.split('\n')[0]!} (they are part of a page that is built where npm run bench -- --peers has installed them)` }] };
  }
}
