/**
 * Which sites matter for a task, found by patching. Every head's q, k, v and z at every semantic position is set, alone, to its activation on
 * counterfactual prompts that differ in one attribute; the effect of the site is
 *
 *   effect = max over attributes of mean over prompts |LD_patched - LD_clean| / mean LD_clean
 *
 * Counterfactuals change one attribute at a time: a site that carries two attributes can cancel itself when both change at once.
 * Sites that cannot matter are not run: queries and outputs of the last layer where no answer is read, and sites whose activation the
 * counterfactual does not change (tokens before the first changed one, or heads that do not look at it); their effect is 0.
 * The others are run on a few prompts first, and on all of them if those few show at least half of what would select the site.
 */
import type { Gpt2 } from '../model/index.ts';
import { ANSWER_POSITION, distinctSites, formatSite, hookOf, positionsOf, type Prompts, batchFor, SITE_KINDS, type SiteAddress } from '../task/index.ts';
import { gatherRows, sub, sumSquaresRows, Tensor } from '../tensor/index.ts';
import { mean, meanAbsoluteDifference } from './formulas.ts';
import { activationsOf, chunksBySpan, PatchedPrompts, type Patch } from './patching.ts';
import type { SiteRow } from './results.ts';
import { Tally } from './tally.ts';

/** Relative change of an activation below which a counterfactual is taken not to reach it: rounding of float32 sums. */
const UNCHANGED = 1e-6;
/** Patched runs recorded before the queue is drained. */
const RUNS_IN_FLIGHT = 24;
/** Prompts of the first look at every site. */
const FIRST_LOOK = 8;
/** On a software driver a batch ends where spans change once it has this many prompts: there a run pays for positions more than for itself. */
const ENOUGH = 12;

/** Prompts and, for each attribute, the same prompts with that attribute changed. */
export interface Contrast {
  prompts: Prompts;
  counterfactuals: ReadonlyMap<string, Prompts>;
}

export interface DiscoverOptions {
  /** Share of the mean clean logit difference that selects a site. */
  threshold: number;
  /** Kinds and positions to look at; all if not given. */
  kinds?: readonly SiteAddress['kind'][];
  positions?: readonly string[];
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** One hook at one position: all heads of one kind and layer. */
interface Row {
  kind: SiteAddress['kind'];
  layer: number;
  position: string;
}

/** A patch of one site from the counterfactual of one attribute. */
interface Probe {
  site: SiteAddress;
  /** which of the rows holds the site's activations */
  row: number;
  attribute: string;
}

/** Effects of every site, strongest first; equal ones in the order of layer, kind, position and head. Prompts should be sorted by span. */
export async function rankSites(model: Gpt2, contrast: Contrast, options: DiscoverOptions): Promise<SiteRow[]> {
  const { layers } = model.config;
  const { prompts } = contrast;
  const rows: Row[] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (const kind of options.kinds ?? SITE_KINDS) for (const position of options.positions ?? Object.keys(prompts.positions)) rows.push({ kind, layer, position });
  }
  // neighbours in span, so that runs waste nothing
  const middle = Math.max(0, Math.floor((prompts.count - FIRST_LOOK) / 2));
  const few = part(contrast, middle, Math.min(prompts.count, middle + FIRST_LOOK));
  const first = await measure(model, few, rows, () => true, { ...options, onProgress: (done, total) => options.onProgress?.(done, 2 * total) });
  const strength = new Map<string, number>();
  for (const [name, { effect }] of first) strength.set(siteOf(name), Math.max(strength.get(siteOf(name)) ?? 0, effect));
  const again = await measure(model, contrast, rows, ({ site }) => strength.get(formatSite(site))! >= options.threshold / 2, {
    ...options, onProgress: (done, total) => options.onProgress?.(total + done, 2 * total),
  });
  return ranking(model, rows, [...contrast.counterfactuals.keys()], { few: first, all: again }, { few: few.prompts.count, all: prompts.count }, options.threshold);
}

type Effects = Map<string, { effect: number; signed: number }>;
const probeName = (site: string, attribute: string): string => `${site}|${attribute}`;
const siteOf = (name: string): string => name.slice(0, name.indexOf('|'));

function ranking(
  model: Gpt2, rows: readonly Row[], attributes: readonly string[], measured: { few: Effects; all: Effects }, prompts: { few: number; all: number }, threshold: number,
): SiteRow[] {
  const ranked = rows.flatMap(({ kind, layer, position }) => Array.from({ length: model.config.heads }, (_, head): SiteRow => {
    const site = formatSite({ kind, layer, head, position });
    const known = attributes.some((attribute) => measured.all.has(probeName(site, attribute))) ? 'all' : 'few';
    const byAttribute = Object.fromEntries(attributes.map((attribute) => [attribute, measured[known].get(probeName(site, attribute)) ?? { effect: 0, signed: 0 }]));
    const effect = Math.max(...Object.values(byAttribute).map((value) => value.effect));
    return { site, kind, layer, head, position, effect, byAttribute, prompts: prompts[known], selected: known === 'all' && effect >= threshold };
  }));
  const order = ranked.map((_, i) => i).sort((a, b) => ranked[b]!.effect! - ranked[a]!.effect! || a - b);
  return order.map((i) => ranked[i]!);
}

function part({ prompts, counterfactuals }: Contrast, start: number, end: number): Contrast {
  return { prompts: prompts.slice(start, end), counterfactuals: new Map([...counterfactuals].map(([name, changed]) => [name, changed.slice(start, end)])) };
}

/** Effects of the wanted probes, by probeName, over all prompts of a contrast. */
async function measure(model: Gpt2, contrast: Contrast, rows: readonly Row[], wanted: (probe: Probe) => boolean, options: DiscoverOptions): Promise<Effects> {
  const { prompts } = contrast;
  const tally = new Tally(model.gpu, prompts.count);
  const chunks = chunksBySpan(prompts, batchFor(model, prompts), model.gpu.software ? ENOUGH : Infinity);
  const names = new Set<string>();
  try {
    for (const [index, [start, end]] of chunks.entries()) {
      const done = await measureChunk(model, part(contrast, start, end), rows, wanted, tally, start, {
        ...options, onProgress: (share, total) => options.onProgress?.((index + share / total) / chunks.length, 1),
      });
      for (const name of done) names.add(name);
    }
    const measured = await tally.read();
    const clean = measured.get('clean');
    // a probe that no batch of prompts needed leaves zeros, not logit differences: batches that skipped it count as unchanged
    return new Map([...names].map((name) => [name, effectOf(filled(measured.get(name), measured.get(ranName(name)), clean), clean)]));
  } finally {
    tally.dispose();
  }
}

/** Marks the prompts whose batch ran a probe. */
const ranName = (name: string): string => `ran ${name}`;

function filled(values: ArrayLike<number>, ran: ArrayLike<number>, clean: ArrayLike<number>): Float32Array {
  return Float32Array.from({ length: clean.length }, (_, i) => (ran[i] ? values[i]! : clean[i]!));
}

/** Mean |change| and mean change of the logit difference, as shares of the mean clean one. */
export function effectOf(patched: ArrayLike<number>, clean: ArrayLike<number>): { effect: number; signed: number } {
  const scale = Math.abs(mean(clean));
  if (scale === 0) return { effect: 0, signed: 0 };
  return { effect: meanAbsoluteDifference(patched, clean) / scale, signed: (mean(patched) - mean(clean)) / scale };
}

/** Runs the wanted probes on one batch of prompts. Returns the names of those that were run. */
async function measureChunk(
  model: Gpt2, { prompts, counterfactuals }: Contrast, rows: readonly Row[], wanted: (probe: Probe) => boolean, tally: Tally, start: number, options: DiscoverOptions,
): Promise<string[]> {
  const { gpu } = model;
  const names: string[] = [];
  await gpu.scope(async () => {
    const clean = new PatchedPrompts(model, prompts, []);
    const ones = Tensor.from(gpu, new Float32Array(prompts.count).fill(1), [prompts.count]);
    const own = capture(model, prompts, rows);
    tally.put('clean', start, clean.clean.logitDiff);
    for (const [attributeIndex, [attribute, counterfactual]] of [...counterfactuals].entries()) {
      const other = capture(model, counterfactual, rows);
      const probes = (await changedSites(model, prompts, rows, own, other)).map((changed) => ({ ...changed, attribute })).filter(wanted);
      for (const [index, { site, row }] of probes.entries()) {
        const name = probeName(formatSite(site), attribute);
        gpu.scope(() => {
          const values = headOf(other[row]!, site.head, model.config.headWidth);
          tally.put(name, start, clean.patched([{ site, values }]).logitDiff);
          tally.put(ranName(name), start, ones);
        });
        names.push(name);
        if (names.length % RUNS_IN_FLIGHT !== 0) continue;
        await gpu.idle();
        options.signal?.throwIfAborted();
        options.onProgress?.(attributeIndex + (index + 1) / probes.length, counterfactuals.size);
      }
      for (const tensor of other) tensor.dispose();
    }
  });
  return names;
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
  const sites = distinctSites(sections.flatMap((section) => section.sites));
  const tally = new Tally(gpu, prompts.count);
  try {
    for (const [start, end] of chunksBySpan(prompts, batchFor(model, prompts), Infinity)) {
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
