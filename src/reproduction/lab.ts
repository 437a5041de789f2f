/** What the stages of a reproduction work with: the model, the task, the settings, and samples, activations and dictionaries made when first asked for. */
import { columnIds, loadSae, type SupervisedCodes } from '../dictionary/index.ts';
import {
  addRankings, Catalogue, fitSupervised, fitSupervisedCodes, editedAttributes, editsOf, Interpreter, type Interpreted, sampleEdited, seedsOf, withEveryValue,
  type EditedPrompts, type EditedSection, type Entry, type EvaluationTask,
} from '../evaluation/index.ts';
import { memorySource } from '../files/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { collectActivations, distinctSites, formatSite, type Prompts, type SiteAddress } from '../task/index.ts';
import type { Tensor } from '../tensor/index.ts';
import type { SweepEntry, SweepStore } from '../training/index.ts';
import type { Settings } from './settings.ts';
import { storeWithin } from './stage.ts';

/** The result of the stage `sections`, as far as the lab needs it. */
export interface SectionsResult { sections: EditedSection[] }
/** The result of the stage `saes`. */
export interface SaesResult { folder: string; entries: SweepEntry[] }

/** The settings behind the lab's samples and dictionaries: among the inputs of every stage that asks the lab for any. */
export function labInputs({ seed, sizes, prompts, selectionPrompts, trainPrompts, parametrizations, codes, released }: Settings): Partial<Settings> {
  return { seed, sizes, prompts, selectionPrompts, trainPrompts, parametrizations, codes, released };
}

/** How a part of a stage is stopped, and tells how far it is. */
interface StepWatching { signal?: AbortSignal; onProgress?: (done: number, total: number) => void }

export class Lab {
  readonly model: Gpt2;
  readonly task: EvaluationTask;
  readonly settings: Settings;
  readonly store: SweepStore;
  readonly seeds: ReturnType<typeof seedsOf>;
  private readonly kept: { dispose(): void }[] = [];
  private readonly made = new Map<string, unknown>();

  constructor(model: Gpt2, task: EvaluationTask, settings: Settings, store: SweepStore) {
    this.model = model;
    this.task = task;
    this.settings = settings;
    this.store = store;
    this.seeds = seedsOf(settings.seed);
  }

  /** Prompts that dictionaries are fitted on. */
  training(): Prompts {
    return this.once('training', () => this.task.training(this.settings.trainPrompts, this.seeds.training));
  }

  /** Those and as many more as show every value of every attribute: what F1 is computed on. */
  interpreted(): Prompts {
    return this.once('interpreted', () => withEveryValue(this.task, this.training(), this.seeds.interpretability));
  }

  /** Prompts that are scored, and those that SAEs are chosen on, with their counterfactuals for every edit of the sections. */
  samples(sections: readonly EditedSection[]): { scored: EditedPrompts; selection: EditedPrompts; edits: Map<string, readonly string[]> } {
    return this.once('samples', () => {
      const { prompts, selectionPrompts, released } = this.settings;
      const edits = editsOf(sections);
      const scored = sampleEdited(this.task, prompts, this.seeds.evaluation, this.seeds.counterfactual, edits);
      const selection = released.includes('shared-selection') ? scored : sampleEdited(this.task, selectionPrompts, this.seeds.selection, this.seeds.counterfactual, edits);
      return { scored, selection, edits };
    });
  }

  /** Every site of the sections once. */
  sites(sections: readonly EditedSection[]): SiteAddress[] {
    return distinctSites(sections.flatMap((section) => section.sites));
  }

  /** Activations of prompts at sites, by address; those of one name are collected once. They are the lab's. */
  activations(name: 'interpreted' | 'scored', prompts: Prompts, sites: readonly SiteAddress[], signal?: AbortSignal): Promise<Map<string, Tensor>> {
    return this.onceDone(`activations ${name}`, async () => {
      const tensors = await collectActivations(this.model, prompts, sites, { signal });
      for (const tensor of tensors) this.kept.push(this.model.gpu.keep(tensor));
      return new Map(sites.map((site, i) => [formatSite(site), tensors[i]!]));
    });
  }

  /** The training prompts' part of the interpreted prompts' activations. */
  trainingActivations(sections: readonly EditedSection[], signal?: AbortSignal): Promise<Map<string, Tensor>> {
    return this.onceDone('training activations', async () => {
      const all = await this.activations('interpreted', this.interpreted(), this.sites(sections), signal);
      const part = new Map([...all].map(([site, tensor]) => [site, tensor.rows(0, this.training().count)]));
      for (const tensor of part.values()) this.kept.push(this.model.gpu.keep(tensor));
      return part;
    });
  }

  /** Supervised dictionaries of one plan, by address. */
  supervised(method: 'mean' | 'mse', parametrization: string, sections: readonly EditedSection[], signal?: AbortSignal): Promise<Map<string, SupervisedCodes>> {
    return this.onceDone(`supervised ${method} ${parametrization}`, async () => {
      const codes = await fitSupervisedCodes(this.training(), this.sites(sections), await this.trainingActivations(sections, signal), { method, parametrization });
      for (const own of codes.values()) this.kept.push(own);
      return codes;
    });
  }

  /** Independent mean codes of sites that need not be in the sections; the caller's to dispose. */
  async codesAt(sites: readonly SiteAddress[], signal?: AbortSignal): Promise<Map<string, SupervisedCodes>> {
    const tensors = await collectActivations(this.model, this.training(), sites, { signal });
    const codes = await fitSupervisedCodes(this.training(), sites, new Map(sites.map((site, i) => [formatSite(site), tensors[i]!])), { method: 'mean', parametrization: 'independent' });
    for (const tensor of tensors) tensor.dispose();
    return codes;
  }

  /**
   * All dictionaries of the sections: supervised ones of every parametrization and method, and the finished SAEs as the store has them, so that a
   * run that trained them sees the same as one that found them.
   */
  catalogue(sections: readonly EditedSection[], saes: SaesResult, signal?: AbortSignal): Promise<Catalogue> {
    return this.onceDone('catalogue', async () => {
      const catalogue = new Catalogue();
      this.kept.push(catalogue);
      const sites = this.sites(sections);
      // Means alone: supervised dictionaries come below, by every plan.
      fitSupervised(catalogue, this.training(), sites, await this.trainingActivations(sections, signal), false);
      for (const method of this.settings.codes) {
        for (const parametrization of parametrizationsFor(this.task, this.settings)) {
          const codes = await this.supervised(method, parametrization, sections, signal);
          for (const site of sites) {
            const dictionary = codes.get(formatSite(site))!;
            // The lab frees them: they are not the catalogue's own.
            catalogue.add(site, { name: dictionary.name, variant: dictionary.name, dictionary, source: 'loaded', lambda: null, scale: null, curve: [] });
          }
        }
      }
      for (const entry of saes.entries.filter(({ finished }) => finished)) await this.addSae(catalogue, sites, saes.folder, entry);
      await addRankings(this.model.gpu, catalogue, sites, await this.rankedPrompts(sections, signal), { attributesAt: editedAttributes(sections), signal });
      return catalogue;
    });
  }

  /**
   * What the features of every SAE and of the main supervised codes stand for: by address, then by name. Codes of other parametrizations are no
   * features that are interpreted. Worked out once for all stages.
   */
  interpretations(sections: readonly EditedSection[], catalogue: Catalogue, { signal, onProgress }: StepWatching = {}): Promise<Map<string, Map<string, Interpreted>>> {
    return this.onceDone('interpretations', async () => {
      const sites = this.sites(sections);
      return this.interpretEntries(sections, sites, (site) => catalogue.at(site).filter(({ name }) => !name.startsWith('supervised') || name === 'supervised'), { signal, onProgress });
    });
  }

  /** The same of some dictionaries at some sites, with unions of up to `unionLimit` values. */
  async interpretEntries(
    sections: readonly EditedSection[], sites: readonly SiteAddress[], entriesAt: (site: SiteAddress) => readonly Entry[],
    { unionLimit, signal, onProgress }: StepWatching & { unionLimit?: number } = {},
  ): Promise<Map<string, Map<string, Interpreted>>> {
    const prompts = this.interpreted();
    const activations = await this.activations('interpreted', prompts, this.sites(sections), signal);
    const attributes = columnIds(prompts);
    const interpreter = new Interpreter(this.model.gpu, prompts, { unionLimit });
    const found = new Map<string, Map<string, Interpreted>>();
    try {
      for (const [i, site] of sites.entries()) {
        const own = new Map<string, Interpreted>();
        found.set(formatSite(site), own);
        for (const { name, dictionary } of entriesAt(site)) {
          signal?.throwIfAborted();
          const codes = dictionary.encode({ activations: activations.get(formatSite(site))!, attributes });
          own.set(name, await interpreter.interpret(codes, site.position));
          codes.dispose();
        }
        onProgress?.(i + 1, sites.length);
      }
    } finally {
      interpreter.dispose();
    }
    return found;
  }

  /** What features are ranked on: prompts that show every value, or as released those that are scored. */
  async rankedPrompts(sections: readonly EditedSection[], signal?: AbortSignal): Promise<{ prompts: Prompts; activations: Map<string, Tensor> }> {
    if (!this.settings.released.includes('f1-eval-prompts')) {
      return { prompts: this.interpreted(), activations: await this.activations('interpreted', this.interpreted(), this.sites(sections), signal) };
    }
    const { prompts } = this.samples(sections).scored;
    return { prompts, activations: await this.activations('scored', prompts, this.sites(sections), signal) };
  }

  private async addSae(catalogue: Catalogue, sites: readonly SiteAddress[], folder: string, entry: SweepEntry): Promise<void> {
    const site = sites.find((candidate) => formatSite(candidate) === entry.site);
    if (!site) return;
    catalogue.add(site, {
      name: `${entry.variant} ${sparsityName(entry)}`, variant: entry.variant, dictionary: await this.sae(folder, entry), source: 'trained',
      lambda: entry.sparsity, scale: null, curve: [],
    });
  }

  /** A dictionary of the sweep, read from the store; the caller's to dispose. */
  async sae(folder: string, entry: SweepEntry): Promise<Awaited<ReturnType<typeof loadSae>>> {
    const inside = storeWithin(this.store, folder);
    const [config, weights] = await Promise.all(['cfg.json', 'sae_weights.safetensors'].map((file) => inside.get(`${entry.path}/${file}`)));
    return loadSae(this.model.gpu, memorySource({ ...(config ? { 'cfg.json': config } : {}), ...(weights ? { 'sae_weights.safetensors': weights } : {}) }, `${folder}/${entry.path}`));
  }

  dispose(): void {
    for (const own of this.kept.reverse()) own.dispose();
    this.kept.length = 0;
    this.made.clear();
  }

  private once<T>(name: string, make: () => T): T {
    if (!this.made.has(name)) this.made.set(name, make());
    return this.made.get(name) as T;
  }

  /** The same for what takes time; what failed is tried again. */
  private async onceDone<T>(name: string, make: () => Promise<T>): Promise<T> {
    if (!this.made.has(name)) this.made.set(name, await make());
    return this.made.get(name) as T;
  }
}

/** λ or K of a dictionary, as names have it. */
export function sparsityName({ variant, sparsity }: Pick<SweepEntry, 'variant' | 'sparsity'>): string {
  return `${variant === 'topk' || variant === 'batchtopk' ? 'K' : 'λ'}=${sparsity}`;
}

/** Parametrizations other than the independent one speak of names and are for indirect objects alone. */
export function parametrizationsFor(task: EvaluationTask, { parametrizations }: Settings): string[] {
  return task.name === 'ioi' ? [...parametrizations] : ['independent'];
}
