/**
 * Which sites matter for a task, found by patching. Every head's q, k, v and z at every semantic position is set, alone, to its activation on
 * counterfactual prompts that differ in one attribute; the effect of the site is
 *
 *   effect = max over attributes of mean over prompts |LD_patched - LD_clean| / mean LD_clean
 *
 * Counterfactuals change one attribute at a time: a site that carries two attributes can cancel itself when both change at once.
 * Sites that cannot matter are not run: queries and outputs of the last layer where no answer is read, and sites whose activation the
 * counterfactual does not change (tokens before the first changed one, or heads that do not look at it); their effect is 0.
 */
import type { Gpt2 } from '../model/index.ts';
import { positionsOf, promptsPerRun } from '../task/activations.ts';
import type { Prompts } from '../task/prompts.ts';
import { formatSite, hookOf, type SiteAddress } from '../task/sites.ts';
import { gatherRows, sub, sumSquaresRows, Tensor } from '../tensor/index.ts';
import { mean, meanAbsoluteDifference } from './formulas.ts';
import { activationsOf, ANSWER_POSITION, chunksByLength, PatchedPrompts, type Patch } from './patching.ts';
import type { SiteRow } from './results.ts';
import { Tally } from './tally.ts';

export const KINDS = ['q', 'k', 'v', 'z'] as const;

/** Relative change of an activation below which a counterfactual is taken not to reach it: rounding of float32 sums. */
const UNCHANGED = 1e-6;
/** Patched runs recorded before the queue is drained. */
const RUNS_IN_FLIGHT = 24;

/** Prompts and, for each attribute, the same prompts with that attribute changed. */
export interface Contrast {
  prompts: Prompts;
  counterfactuals: ReadonlyMap<string, Prompts>;
}

export interface DiscoverOptions {
  /** Share of the mean clean logit difference that selects a site. */
  threshold: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** One hook at one position: all heads of one kind and layer. */
interface Row {
  kind: SiteAddress['kind'];
  layer: number;
  position: string;
}

/** Effects of every site, strongest first; equal ones in the order of layer, head, kind and position. */
export async function rankSites(model: Gpt2, contrast: Contrast, options: DiscoverOptions): Promise<SiteRow[]> {
  const { heads } = model.config;
  const positions = Object.keys(contrast.prompts.positions);
  const rows: Row[] = [];
  for (let layer = 0; layer < model.config.layers; layer++) {
    for (const kind of KINDS) for (const position of positions) rows.push({ kind, layer, position });
  }
  const attributes = [...contrast.counterfactuals.keys()];
  const tally = new Tally(model.gpu, contrast.prompts.count);
  const longest = contrast.prompts.tokens.reduce((most, tokens) => Math.max(most, tokens.length), 0);
  const chunks = chunksByLength(contrast.prompts, promptsPerRun(model, longest), Infinity);
  try {
    for (const [index, [start, end]] of chunks.entries()) {
      const part = { prompts: contrast.prompts.slice(start, end), counterfactuals: new Map([...contrast.counterfactuals].map(([name, p]) => [name, p.slice(start, end)])) };
      await measureChunk(model, part, rows, tally, start, {
        ...options, onProgress: (done, total) => options.onProgress?.(index * total + done, chunks.length * total),
      });
    }
    const measured = await tally.read();
    const clean = measured.get('clean');
    const ranked = rows.flatMap(({ kind, layer, position }) => Array.from({ length: heads }, (_, head): SiteRow => {
      const site = formatSite({ kind, layer, head, position });
      const byAttribute: SiteRow['byAttribute'] = {};
      for (const attribute of attributes) {
        const name = `${site}|${attribute}`;
        byAttribute[attribute] = measured.has(name) ? effectOf(measured.get(name), clean) : { effect: 0, signed: 0 };
      }
      const effect = Math.max(...Object.values(byAttribute).map((value) => value.effect));
      return { site, kind, layer, head, position, effect, byAttribute, selected: effect >= options.threshold };
    }));
    const order = ranked.map((_, i) => i).sort((a, b) => ranked[b]!.effect! - ranked[a]!.effect! || a - b);
    return order.map((i) => ranked[i]!);
  } finally {
    tally.dispose();
  }
}

/** Mean |change| and mean change of the logit difference, as shares of the mean clean one. */
export function effectOf(patched: ArrayLike<number>, clean: ArrayLike<number>): { effect: number; signed: number } {
  const scale = Math.abs(mean(clean));
  if (scale === 0) return { effect: 0, signed: 0 };
  return { effect: meanAbsoluteDifference(patched, clean) / scale, signed: (mean(patched) - mean(clean)) / scale };
}

async function measureChunk(model: Gpt2, { prompts, counterfactuals }: Contrast, rows: readonly Row[], tally: Tally, start: number, options: DiscoverOptions): Promise<void> {
  const { gpu } = model;
  const clean = new PatchedPrompts(model, prompts, []);
  tally.put('clean', start, clean.clean.logitDiff);
  const own = capture(model, prompts, rows);
  try {
    let runs = 0;
    for (const [attributeIndex, [attribute, counterfactual]] of [...counterfactuals].entries()) {
      const other = capture(model, counterfactual, rows);
      try {
        const sites = await changedSites(model, prompts, rows, own, other);
        for (const [index, { site, row }] of sites.entries()) {
          gpu.scope(() => {
            const values = headOf(other[row]!, site.head, model.config.headWidth);
            tally.put(`${formatSite(site)}|${attribute}`, start, clean.patched([{ site, values }]).logitDiff);
          });
          if (++runs % RUNS_IN_FLIGHT === 0) await gpu.idle();
          options.signal?.throwIfAborted();
          options.onProgress?.(attributeIndex * sites.length + index + 1, counterfactuals.size * sites.length);
        }
      } finally {
        for (const tensor of other) tensor.dispose();
      }
    }
  } finally {
    for (const tensor of own) tensor.dispose();
    clean.dispose();
  }
}

/** Activations of all heads of each row: [prompts, heads * headWidth] each. */
function capture(model: Gpt2, prompts: Prompts, rows: readonly Row[]): Tensor[] {
  const run = model.run(prompts.tokens, {
    logits: 'none',
    captures: rows.map((row) => ({ hook: hookOf(row), positions: positionsOf(prompts, row.position) })),
  });
  const captured = run.captured.map((tensor) => tensor.reshape([prompts.count, -1]));
  run.dispose();
  return captured;
}

function headOf(values: Tensor, head: number, width: number): Tensor {
  const count = values.shape[0]!;
  return gatherRows(values, Tensor.from(values.gpu, Uint32Array.from({ length: count }, (_, i) => i), [count]), { offset: head * width, width });
}

/** Sites whose patch can matter: their activation differs on some prompt, and somebody reads it. */
async function changedSites(model: Gpt2, prompts: Prompts, rows: readonly Row[], own: readonly Tensor[], other: readonly Tensor[]): Promise<{ site: SiteAddress; row: number }[]> {
  const { gpu } = model;
  const { heads, headWidth, layers } = model.config;
  const changes = new Tally(gpu, prompts.count * heads);
  gpu.scope(() => rows.forEach((_, i) => {
    const before = own[i]!.reshape([prompts.count * heads, headWidth]);
    const after = other[i]!.reshape([prompts.count * heads, headWidth]);
    changes.put(`change ${i}`, 0, sumSquaresRows(sub(after, before)));
    changes.put(`size ${i}`, 0, sumSquaresRows(before));
  }));
  const measured = await changes.read();
  const ends = positionsOf(prompts, ANSWER_POSITION);
  return rows.flatMap((row, i) => {
    const read = row.layer < layers - 1 || row.kind === 'k' || row.kind === 'v' || positionsOf(prompts, row.position).some((at, p) => at === ends[p]);
    if (!read) return [];
    const change = measured.get(`change ${i}`);
    const size = measured.get(`size ${i}`);
    return Array.from({ length: heads }, (_, head) => head)
      .filter((head) => change.some((value, at) => at % heads === head && value > UNCHANGED ** 2 * size[at]!))
      .map((head) => ({ site: { kind: row.kind, layer: row.layer, head, position: row.position }, row: i }));
  });
}

/** Effect per attribute of patching all of a set of sites jointly. */
export async function jointEffects(model: Gpt2, contrast: Contrast, sections: readonly { name: string; sites: SiteAddress[] }[], signal?: AbortSignal): Promise<Map<string, Record<string, number>>> {
  const { gpu } = model;
  const { prompts } = contrast;
  const sites = [...new Map(sections.flatMap((section) => section.sites).map((site) => [formatSite(site), site])).values()];
  const tally = new Tally(gpu, prompts.count);
  const longest = prompts.tokens.reduce((most, tokens) => Math.max(most, tokens.length), 0);
  try {
    for (const [start, end] of chunksByLength(prompts, promptsPerRun(model, longest), Infinity)) {
      signal?.throwIfAborted();
      gpu.scope(() => {
        const clean = new PatchedPrompts(model, prompts.slice(start, end), []);
        tally.put('clean', start, clean.clean.logitDiff);
        for (const [attribute, counterfactual] of contrast.counterfactuals) {
          const targets = activationsOf(model, counterfactual.slice(start, end), sites);
          for (const section of sections) {
            const patches = section.sites.map((site): Patch => ({ site, values: targets.get(formatSite(site))! }));
            tally.put(`${section.name}|${attribute}`, start, clean.patched(patches).logitDiff);
          }
          for (const tensor of targets.values()) tensor.dispose();
        }
      });
      await gpu.idle();
    }
    const measured = await tally.read();
    const clean = measured.get('clean');
    return new Map(sections.map(({ name }) => [name, Object.fromEntries([...contrast.counterfactuals.keys()].map((attribute) =>
      [attribute, effectOf(measured.get(`${name}|${attribute}`), clean).effect]))]));
  } finally {
    tally.dispose();
  }
}
