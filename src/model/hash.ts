/**
 * A fingerprint of a model's weights, computed while they stream by: SHA-256 over one line per tensor, in the order of their names without
 * prefix, each `name dtype shape digest…` with the SHA-256 of every 16 MiB piece. It is the same for one file, shards of it, and names with
 * or without `transformer.`; it differs when any bit of a weight or its type does.
 */
import { sha256 } from '../digest.ts';

export class WeightHash {
  private readonly lines = new Map<string, string[]>();

  has(name: string): boolean {
    return this.lines.has(name);
  }

  /** Takes the next piece of a tensor's bytes. */
  async add(name: string, dtype: string, shape: readonly number[], piece: Uint8Array): Promise<void> {
    const digest = await sha256(piece);
    const line = this.lines.get(name);
    if (line) line.push(digest);
    else this.lines.set(name, [dtype, `[${shape.join(',')}]`, digest]);
  }

  /** Whether two tensors hold the same bytes. */
  same(a: string, b: string): boolean {
    return this.lines.get(a)?.join(' ') === this.lines.get(b)?.join(' ');
  }

  /** The fingerprint, in hexadecimal. A second copy of a tied head does not count. */
  async digest(): Promise<string> {
    const names = [...this.lines.keys()].filter((name) => name !== 'lm_head.weight' || !this.same(name, 'wte.weight')).sort();
    return sha256(names.map((name) => `${name} ${this.lines.get(name)!.join(' ')}\n`).join(''));
  }
}
