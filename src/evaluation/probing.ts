/**
 * Probing test of disentanglement (the ICLR 2025 version of arXiv 2405.08366, under control): linear probes learn to read each attribute from
 * a site's clean activations; then they read activations that a dictionary has edited in one attribute. A good edit makes the probe of that
 * attribute read the new value, and leaves the others reading what they read before.
 */
import * as z from 'zod';
import type { Dictionary, Examples, SupervisedCodes } from '../dictionary/index.ts';
import { trainProbe, type Probe, type ProbeOptions } from './probe.ts';

const share = z.number().min(0).max(1);
const count = z.int().nonnegative();

export const probeRow = z.object({
  site: z.string(),
  attribute: z.string(),
  classes: count.describe('values that the training prompts show, and the probe can name'),
  trainAccuracy: share,
  testAccuracy: share.describe('on the clean prompts that are edited'),
  iterations: count,
  converged: z.boolean().describe('whether the gradient was small enough before the limit of steps'),
}).describe('a linear probe of one attribute at one site');

export const probingRow = z.object({
  site: z.string(),
  dictionary: z.string(),
  k: count.describe('features that may change'),
  edited: z.string().describe("the edited attribute, or several joined by '+'"),
  probed: z.string().describe('the attribute that the probe reads'),
  accuracyClean: share.describe('probe against the original value, on clean activations'),
  accuracyAfter: share.describe('probe on edited activations, against the new value of an edited attribute and the original one of others'),
  accuracyCounterfactual: share.describe('the same on the activations of the counterfactual prompts themselves'),
  accuracyOriginal: share.describe('probe on edited activations against the original value'),
}).describe('what the probe of one attribute reads after an edit of another or the same');

export type ProbeRow = z.infer<typeof probeRow>;
export type ProbingRow = z.infer<typeof probingRow>;

export interface ProbedSite {
  /** as results name it */
  site: string;
  /** What probes learn from. */
  training: Examples;
  /** Prompts to edit, apart from those. */
  clean: Examples;
  /** For each set of attributes the counterfactuals of the same prompts. */
  counterfactuals: readonly { edit: readonly string[]; target: Examples }[];
  /** Those that say they cannot edit an attribute are left out there; those that say how many features an edit changes are not tried with other numbers. */
  dictionaries: readonly { name: string; dictionary: Pick<Dictionary, 'edit'> & Partial<Pick<SupervisedCodes, 'canEdit' | 'changes'>> }[];
}

export interface ProbingOptions extends ProbeOptions {
  /** Attributes that get a probe. */
  attributes: readonly string[];
  /** Numbers of features that SAEs may change. */
  ks: readonly number[];
  /** After each site. */
  onProgress?: (done: number, total: number) => void;
}

/** Trains one probe per site and attribute and reads every edit with each of them. */
export async function probingTest(sites: readonly ProbedSite[], options: ProbingOptions): Promise<{ probes: ProbeRow[]; edits: ProbingRow[] }> {
  const probes: ProbeRow[] = [];
  const edits: ProbingRow[] = [];
  for (const [done, site] of sites.entries()) {
    const trained = new Map<string, Probe>();
    try {
      for (const attribute of options.attributes) {
        const probe = await trainProbe(site.training.activations, site.training.attributes[attribute]!, options);
        trained.set(attribute, probe);
        probes.push({
          site: site.site, attribute, classes: probe.classes.length,
          trainAccuracy: await probe.accuracy(site.training.activations, site.training.attributes[attribute]!),
          testAccuracy: await probe.accuracy(site.clean.activations, site.clean.attributes[attribute]!),
          iterations: probe.iterations, converged: probe.converged,
        });
      }
      edits.push(...await readEdits(site, trained, options));
    } finally {
      for (const probe of trained.values()) probe.dispose();
    }
    options.onProgress?.(done + 1, sites.length);
  }
  return { probes, edits };
}

/** Edits of one site through each dictionary, as every probe reads them. */
async function readEdits({ site, clean, counterfactuals, dictionaries }: ProbedSite, probes: ReadonlyMap<string, Probe>, { ks, signal }: ProbingOptions): Promise<ProbingRow[]> {
  const { gpu } = clean.activations;
  const rows: ProbingRow[] = [];
  const before = await readings(probes, clean.activations);
  for (const { edit, target } of counterfactuals) {
    const there = await readings(probes, target.activations);
    for (const { name, dictionary } of dictionaries) {
      if (dictionary.canEdit && !dictionary.canEdit(edit)) continue;
      for (const k of dictionary.changes ? [dictionary.changes(edit)] : ks) {
        signal?.throwIfAborted();
        const after = await gpu.scope(async () => readings(probes, dictionary.edit(clean, target, { attributes: edit, k }).activations));
        for (const [probed, predicted] of after) {
          const [old, fresh] = [clean.attributes[probed]!, target.attributes[probed]!];
          rows.push({
            site, dictionary: name, k, edited: edit.join('+'), probed,
            accuracyClean: agree(before.get(probed)!, old), accuracyAfter: agree(predicted, edit.includes(probed) ? fresh : old),
            accuracyCounterfactual: agree(there.get(probed)!, edit.includes(probed) ? fresh : old), accuracyOriginal: agree(predicted, old),
          });
        }
      }
    }
  }
  return rows;
}

async function readings(probes: ReadonlyMap<string, Probe>, activations: Examples['activations']): Promise<Map<string, Uint32Array>> {
  const read = new Map<string, Uint32Array>();
  for (const [attribute, probe] of probes) read.set(attribute, await probe.predict(activations));
  return read;
}

function agree(predicted: Uint32Array, labels: Uint32Array): number {
  return predicted.reduce((right, value, row) => right + (value === labels[row] ? 1 : 0), 0) / labels.length;
}
