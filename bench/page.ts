/**
 * The benchmark in a page: the same cases, measured by the same code, on the browser's own WebGPU. Opened by hand from any static server, or
 * driven by `npm run bench -- --browser`, which calls `window.diffractBench`.
 */
import { openGpu } from '../src/gpu/index.ts';
import { allCases, setMiniFolder } from './cases/index.ts';
import { chooseCases } from './choose.ts';
import type { OpenedPeers } from './peers/peer.ts';
import { adapterName, benchText, GROUPS, type BenchResult, type Where } from './results.ts';
import { runBench } from './run.ts';
import { againstLines, ceilingsLine, figureLines, noteLines, peerSummary, tableCells } from './table.ts';

declare const DIFFRACT_VERSION: string;

export interface PageOptions { names: string[]; full: boolean; samples: number; peers: string[] | boolean }

export interface PageDriver {
  run(options: PageOptions): Promise<BenchResult>;
  stop(): void;
}

declare global {
  interface Window {
    diffractBench?: PageDriver;
    /** Given by a driver that wants to know how far the run is. */
    benchProgress?(text: string): void;
  }
}

const find = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
let stop: AbortController | null = null;

/** The browser's name and version from what it says of itself. */
export function browserOf(agent: string, platform: string): Where {
  const [, name = 'browser', version = '?'] = /(Edg|HeadlessChrome|Firefox)\/([\d.]+)/.exec(agent) ?? /(Chrome)\/([\d.]+)/.exec(agent) ?? (/Safari\//.test(agent) ? ['', 'Safari', /Version\/([\d.]+)/.exec(agent)?.[1] ?? '?'] : []);
  return { kind: 'browser', name, version, platform };
}

function say(text: string): void {
  find('state').textContent = text;
  window.benchProgress?.(text);
}

async function run({ names, full, samples, peers: wanted }: PageOptions): Promise<BenchResult> {
  const cases = chooseCases(allCases(), names, full);
  say('opening the adapter');
  const gpu = await openGpu();
  setMiniFolder(new URL('models/ioi-mini', document.baseURI).href);
  stop = new AbortController();
  const { peers, missing } = wanted ? await loadPeers(gpu, wanted === true ? undefined : wanted) : { peers: [], missing: [] };
  try {
    return await runBench(gpu, {
      cases, names, full, samples, peers, missingPeers: missing, version: DIFFRACT_VERSION, signal: stop.signal, where: browserOf(navigator.userAgent, navigator.platform),
      onCeilings: (ceilings, adapter) => { find('adapter').textContent = `${adapterName(adapter)}: ${ceilingsLine(ceilings)}`; },
      onStep: (at, total, what) => say(`${at + 1} of ${total}: ${what}`),
    });
  } finally {
    for (const peer of peers) await Promise.resolve(peer.dispose()).catch(() => {});
    gpu.destroy();
  }
}

async function loadPeers(gpu: unknown, names?: string[]): Promise<OpenedPeers> {
  const built = new URL('peers.js', document.baseURI).href;
  try {
    const { openPeers } = (await import(built)) as { openPeers(gpu: unknown, names?: string[]): Promise<OpenedPeers> };
    return await openPeers(gpu, names);
  } catch (error) {
    return { peers: [], missing: [{ name: 'other engines', why: (error as Error).message.split('\n')[0]! }] };
  }
}

function show(result: BenchResult): void {
  const { columns, lines } = tableCells(result);
  const row = (tag: 'th' | 'td', cells: readonly string[]): HTMLTableRowElement => {
    const line = document.createElement('tr');
    for (const [i, text] of cells.entries()) {
      const cell = document.createElement(tag);
      cell.textContent = text;
      if (columns[i]!.left) cell.className = 'text';
      line.append(cell);
    }
    return line;
  };
  find('head').replaceChildren(row('th', columns.map((c) => c.head)));
  find('rows').replaceChildren(...lines.map((line) => row('td', line)));
  find('notes').replaceChildren(...[...figureLines(result.rows), ...againstLines(result.rows), ...peerSummary(result), ...noteLines(result)].map((text) => {
    const item = document.createElement('li');
    item.textContent = text;
    return item;
  }));
  const link = find<HTMLAnchorElement>('save');
  link.href = URL.createObjectURL(new Blob([benchText(result)], { type: 'application/json' }));
  link.hidden = false;
  find('result').hidden = false;
}

/** Runs with what the page's controls say, and shows the result. */
async function start(): Promise<void> {
  const button = find<HTMLButtonElement>('start');
  button.disabled = true;
  find<HTMLButtonElement>('stop').hidden = false;
  try {
    const groups = GROUPS.filter((group) => find<HTMLInputElement>(group).checked);
    const words = find<HTMLInputElement>('words').value.split(',').map((word) => word.trim()).filter(Boolean);
    const result = await run({
      names: words.length ? words : groups.length === GROUPS.length ? [] : [...groups],
      full: find<HTMLInputElement>('full').checked, samples: Number(find<HTMLInputElement>('samples').value) || 5, peers: find<HTMLInputElement>('peers').checked,
    });
    show(result);
    say(`${result.rows.length} rows in ${Math.round(result.seconds)} s${result.interrupted ? ', stopped' : ''}`);
  } catch (error) {
    say(`error: ${(error as Error).message}`);
  } finally {
    button.disabled = false;
    find<HTMLButtonElement>('stop').hidden = true;
  }
}

window.diffractBench = {
  async run(options) {
    const result = await run(options);
    show(result);
    return result;
  },
  stop: () => stop?.abort(),
};
find('start').addEventListener('click', () => void start());
find('stop').addEventListener('click', () => stop?.abort());
