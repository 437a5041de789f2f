/** What happens at a hook: edits are written into the activation, dictionaries take its place, then captures and whole activations are kept. */
import { add, gatherRows, scatterRows, sub, Tensor } from '../tensor/index.ts';
import type { Gpu } from '../gpu/index.ts';
import type { Gpt2Config } from './config.ts';
import { NO_ROW, rowOf, type Rows } from './plan.ts';
import { depthOf, type Hook, type HookKind, type Hooks } from './sites.ts';
import type { ResolvedSplice, SpliceSite } from './splice.ts';

/** Codes that nobody asks for are made of so many rows at a time that they take about this. */
const CODES_BYTES = 2 ** 27;

/** An edit that has been checked. */
export interface ResolvedEdit {
  hook: Hook;
  /** null: all heads, or a hook that has none */
  head: number | null;
  /** null: all columns */
  column: number | null;
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

interface Point { edits: ResolvedEdit[]; splices: ResolvedSplice[]; captures: { capture: ResolvedCapture; at: number }[]; cached: Hook | null }

export interface Wanted { cache: readonly Hook[]; captures: readonly ResolvedCapture[]; edits: readonly ResolvedEdit[]; splices?: readonly ResolvedSplice[] }

export class HookPoints {
  readonly cache = new Map<string, Tensor>();
  /** In the order in which the captures were asked for; filled when the pass is over. */
  readonly captured: (Tensor | null)[];
  /** By depth, and by name within dictionaries. */
  private readonly points = new Map<number | string, Point>();
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
    for (const splice of wanted.splices ?? []) this.point(splice.hook).splices.push(splice);
    for (const [at, capture] of wanted.captures.entries()) this.point(capture.hook).captures.push({ capture, at });
    for (const hook of wanted.cache) this.point(hook).cached = hook;
    this.captured = wanted.captures.map(() => null);
  }

  /** Whether anything is to be done at a hook. */
  touches(kind: HookKind, layer: number): boolean {
    return this.points.has(depthOf(kind, layer));
  }

  /** Whether something is written into the activation at a hook. */
  edits(kind: HookKind, layer: number): boolean {
    const point = this.points.get(depthOf(kind, layer));
    return point !== undefined && point.edits.length + point.splices.length > 0;
  }

  caches(kind: HookKind, layer: number): boolean {
    return Boolean(this.points.get(depthOf(kind, layer))?.cached);
  }

  /** Applies the edits of a hook to an activation in place, in their order, and its dictionaries, then keeps what is asked for. `rows` says what its rows are. */
  visit(kind: HookKind, layer: number, field: Field, rows: Rows): void {
    const point = this.points.get(depthOf(kind, layer));
    if (point) this.meet(point, field, rows);
  }

  private meet(point: Point, field: Field, rows: Rows): void {
    for (const edit of point.edits) {
      const index = this.upload(this.rowsOf(field, rows, edit.head, edit.positions));
      const values = edit.values.reshape([index.size, -1]);
      scatterRows(field.tensor, index, values, { offset: field.offset + columnOf(field, edit.head) + (edit.column ?? 0), add: edit.add });
      values.dispose();
      index.dispose();
    }
    for (const splice of point.splices) this.splice(splice, field, rows);
    for (const { capture, at } of point.captures) this.captured[at] = this.capture(capture, field, rows);
    if (point.cached) this.cache.set(point.cached.name, this.whole(point.cached, field));
  }

  /** Puts a dictionary's output in the place of the activation, in the rows that are carried: all at once where something within it is asked for, else as many as memory should hold codes of. */
  private splice(splice: ResolvedSplice, field: Field, rows: Rows): void {
    const { dictionary, head, positions, sites } = splice;
    const own: Rows = positions ? { starts: positions, count: 1 } : rows;
    const all = positions ? this.rowsOf(field, rows, null, positions) : Uint32Array.from({ length: this.batch * rows.count }, (_, row) => row);
    const range = { offset: field.offset + columnOf(field, head), width: head === null ? field.width : field.headWidth };
    const asked = Object.values(sites).some((site) => this.points.has(site.name));
    const each = asked ? all.length : Math.max(1, Math.floor(CODES_BYTES / (4 * dictionary.features)));
    for (let start = 0; start < all.length; start += each) {
      const index = this.upload(all.slice(start, start + each));
      const x = gatherRows(field.tensor, index, range);
      const out = this.through(splice, x, own);
      scatterRows(field.tensor, index, out, range);
      for (const tensor of [index, x, out]) tensor.dispose();
    }
  }

  /** What a dictionary makes of activations [rows, dIn], with what is asked for at its sites on the way (splice.ts). */
  private through({ dictionary, sites, errorTerm }: ResolvedSplice, x: Tensor, rows: Rows): Tensor {
    const point = (site: SpliceSite): Point | undefined => this.points.get(sites[site].name);
    const edited = (...names: SpliceSite[]): boolean => names.some((site) => (point(site)?.edits.length ?? 0) > 0);
    const meet = (site: SpliceSite, tensor: Tensor): Tensor => {
      const at = point(site);
      if (at) this.meet(at, { tensor, offset: 0, width: tensor.shape.at(-1)!, headWidth: 0 }, rows);
      return tensor;
    };
    // Both sides of the error take the same way, so that rounding cannot put them on different sides of a threshold.
    const codesOf = (activations: Tensor, visit: typeof meet): Tensor => {
      if (!point('acts_pre')) return dictionary.encode({ activations });
      return dictionary.activate(visit('acts_pre', dictionary.preActivations(activations)), activations);
    };
    const restored = (codes: Tensor, activations: Tensor): Tensor => dictionary.restore(dictionary.reconstruct(codes), activations);
    const wantsError = errorTerm || point('error') !== undefined;
    return this.gpu.scope(() => {
      const input = meet('input', edited('input') ? x.clone() : x);
      let codes = codesOf(input, meet);
      let clean: Tensor | null = null;
      if (wantsError && edited('input', 'acts_pre')) clean = restored(codesOf(x, (_, tensor) => tensor), x);
      else if (wantsError && edited('acts_post', 'recons')) clean = restored(codes, x);
      codes = meet('acts_post', codes);
      const reconstruction = dictionary.restore(meet('recons', dictionary.reconstruct(codes)), input);
      const error = wantsError ? meet('error', sub(x, clean ?? reconstruction)) : null;
      const output = error && errorTerm ? add(reconstruction, error) : edited('output') ? reconstruction.clone() : reconstruction;
      return { output: meet('output', output), kept: Object.values(sites).flatMap((site) => this.keptAt(site)) };
    }).output;
  }

  /** What has been kept of a site so far. */
  private keptAt(hook: Hook): (Tensor | null | undefined)[] {
    const point = this.points.get(hook.name);
    return point ? [this.cache.get(hook.name), ...point.captures.map(({ at }) => this.captured[at])] : [];
  }

  private point(hook: Hook): Point {
    const key = hook.inner ? hook.name : hook.depth;
    let point = this.points.get(key);
    if (!point) this.points.set(key, (point = { edits: [], splices: [], captures: [], cached: null }));
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
