/** What sweeps and reproductions keep, in memory. */
import type { SweepStore } from '../../src/training/index.ts';

/**
 * A store in memory that leaves what a killed process would have left: its `until`th write is the last that succeeds, and all after it fail.
 * A folder is put whole or not at all; of text that was to be appended, half arrives.
 */
export class MemoryStore implements SweepStore {
  /** Contents by their paths. */
  readonly files: Map<string, Uint8Array>;
  until: number;
  /** Writes tried. */
  writes = 0;

  constructor(files = new Map<string, Uint8Array>(), until = Infinity) {
    this.files = files;
    this.until = until;
  }

  async has(name: string): Promise<boolean> {
    return [...this.files.keys()].some((path) => path.startsWith(`${name}/`));
  }

  async get(path: string): Promise<Uint8Array | null> {
    return this.files.get(path)?.slice() ?? null;
  }

  async put(name: string, files: Readonly<Record<string, Uint8Array>>): Promise<void> {
    this.count();
    for (const [file, bytes] of Object.entries(files)) this.files.set(`${name}/${file}`, bytes.slice());
  }

  async append(path: string, text: string): Promise<void> {
    const old = this.files.get(path) ?? new Uint8Array(0);
    const cut = this.writes >= this.until ? Math.floor(text.length / 2) : text.length;
    this.files.set(path, Buffer.concat([old, new TextEncoder().encode(text.slice(0, cut))]));
    this.count();
  }

  private count(): void {
    if (this.writes++ >= this.until) throw new Error('killed');
  }
}
