/**
 * The benchmark in a page: the same cases, measured by the same code, on the browser's own WebGPU. Opened by hand from any static server, or
 * driven by `npm run bench -- --browser`, which calls `window.diffractBench`.
 */
import { benchInPage, type PageOptions } from './in-page.ts';
import { adapterName, benchText, GROUPS, type BenchResult } from './results.ts';
import { againstLines, ceilingsLine, figureLines, noteLines, peerSummary, tableCells } from './table.ts';

declare const DIFFRACT_VERSION: string;

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

function say(text: string): void {
  find('state').textContent = text;
  window.benchProgress?.(text);
}

async function run(options: PageOptions): Promise<BenchResult> {
  say('opening the adapter');
  stop = new AbortController();
  return benchInPage({
    ...options, version: DIFFRACT_VERSION, signal: stop.signal, agent: navigator,
    model: new URL('models/ioi-mini', document.baseURI).href, peersAt: new URL('peers.js', document.baseURI).href,
    onCeilings: (ceilings, adapter) => { find('adapter').textContent = `${adapterName(adapter)}: ${ceilingsLine(ceilings)}`; },
    onStep: (at, total, what) => say(`${at + 1} of ${total}: ${what}`),
  });
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
