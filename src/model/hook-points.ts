/** What happens at a hook: edits are written into the activation, then captures and whole activations are kept. */
import { gatherRows, scatterRows, Tensor } from '../tensor/index.ts';
import type { Gpu } from '../gpu/index.ts';
import type { Gpt2Config } from './config.ts';
import { NO_ROW, rowOf, type Rows } from './plan.ts';
import { depthOf, type Hook, type HookKind, type Hooks } from './sites.ts';

/** An edit that has been checked. */
export interface ResolvedEdit {
  hook: Hook;
  /** null: all heads, or a hook that has none */
  head: number | null;
  /** One per prompt; null: all positions. */
  positions: Uint32Array | null;
  /** Rows in the order of prompt, head (for a pattern of all heads), position. */
  values: Tensor;
  add: boolean;
}

export interface ResolvedCapture { hook: Hook; head: number | null; positions: Uint32Array }

/** Where an activation lies: columns of a tensor's rows. */
export interface Field {
  tensor: Tensor;
  /** First column. */
  offset: number;
  /** Columns of all heads together. */
  width: number;
  /** Columns of one head; 0 if there are no heads. */
  headWidth: number;
  /** Heads lie in rows, not columns: rows are [prompt, head, position]. */
  headRows?: number;
}

interface Point { edits: ResolvedEdit[]; captures: { capture: ResolvedCapture; at: number }[]; cached: Hook | null }

export interface Wanted { cache: readonly Hook[]; captures: readonly ResolvedCapture[]; edits: readonly ResolvedEdit[] }

export class HookPoints {
  readonly cache = new Map<string, Tensor>();
  /** In the order in which the captures were asked for; filled when the pass is over. */
  readonly captured: (Tensor | null)[];
  private readonly points = new Map<number, Point>();
  private readonly gpu: Gpu;
  private readonly hooks: Hooks;
  private readonly batch: number;
  private readonly length: number;

  constructor(model: { gpu: Gpu; hooks: Hooks; config: Gpt2Config }, wanted: Wanted, batch: number, length: number) {
    this.gpu = model.gpu;
    this.hooks = model.hooks;
    this.batch = batch;
    this.length = length;
    for (const edit of wanted.edits) this.point(edit.hook).edits.push(edit);
    for (const [at, capture] of wanted.captures.entries()) this.point(capture.hook).captures.push({ capture, at });
    for (const hook of wanted.cache) this.point(hook).cached = hook;
    this.captured = wanted.captures.map(() => null);
  }

  /** Whether anything is to be done at a hook. */
  touches(kind: HookKind, layer: number): boolean {
    return this.points.has(depthOf(kind, layer));
  }

  edits(kind: HookKind, layer: number): boolean {
    return (this.points.get(depthOf(kind, layer))?.edits.length ?? 0) > 0;
  }

  caches(kind: HookKind, layer: number): boolean {
    return Boolean(this.points.get(depthOf(kind, layer))?.cached);
  }

  /** Applies the edits of a hook to an activation in place, in their order, then keeps what is asked for. `rows` says what its rows are. */
  visit(kind: HookKind, layer: number, field: Field, rows: Rows): void {
    const point = this.points.get(depthOf(kind, layer));
    if (!point) return;
    for (const edit of point.edits) {
      const index = this.upload(this.rowsOf(field, rows, edit.head, edit.positions));
      const values = edit.values.reshape([index.size, -1]);
      scatterRows(field.tensor, index, values, { offset: field.offset + columnOf(field, edit.head), add: edit.add });
      values.dispose();
      index.dispose();
    }
    for (const { capture, at } of point.captures) this.captured[at] = this.capture(capture, field, rows);
    if (point.cached) this.cache.set(point.cached.name, this.whole(point.cached, field));
  }

  private point(hook: Hook): Point {
    let point = this.points.get(hook.depth);
    if (!point) this.points.set(hook.depth, (point = { edits: [], captures: [], cached: null }));
    return point;
  }

  private capture({ head, positions }: ResolvedCapture, field: Field, rows: Rows): Tensor {
    const index = this.upload(this.rowsOf(field, rows, head, positions));
    const part = head !== null && !field.headRows;
    const found = gatherRows(field.tensor, index, { offset: field.offset + columnOf(field, head), width: part ? field.headWidth : field.width });
    index.dispose();
    const captured = found.reshape([positions.length, -1]);
    found.dispose();
    return captured;
  }

  /** The activation at all positions: the tensor's own memory, or a copy where it lies among other columns. */
  private whole(hook: Hook, field: Field): Tensor {
    const shape = this.hooks.shape(hook, this.batch, this.length);
    if (field.width === field.tensor.shape.at(-1)) return field.tensor.reshape(shape);
    const index = this.upload(Uint32Array.from({ length: this.batch * this.length }, (_, i) => i));
    const copy = gatherRows(field.tensor, index, { offset: field.offset, width: field.width });
    const shaped = copy.reshape(shape);
    index.dispose();
    copy.dispose();
    return shaped;
  }

  /** Rows of a field in the order of prompt, head (where heads lie in rows and all are meant), position; NO_ROW for what is not carried. */
  private rowsOf(field: Field, rows: Rows, head: number | null, positions: Uint32Array | null): Uint32Array {
    const heads = !field.headRows ? [0] : head !== null ? [head] : Array.from({ length: field.headRows }, (_, i) => i);
    const each = positions ? 1 : this.length;
    const out = new Uint32Array(this.batch * heads.length * each);
    let at = 0;
    for (let prompt = 0; prompt < this.batch; prompt++) {
      for (const h of heads) {
        for (let i = 0; i < each; i++) {
          const row = rowOf(rows, prompt, positions ? positions[prompt]! : i);
          out[at++] = row === NO_ROW || !field.headRows ? row : row + (prompt * (field.headRows - 1) + h) * rows.count;
        }
      }
    }
    return out;
  }

  private upload(index: Uint32Array): Tensor {
    return Tensor.from(this.gpu, index, [index.length]);
  }
}

function columnOf(field: Field, head: number | null): number {
  return head === null || field.headRows ? 0 : head * field.headWidth;
}
