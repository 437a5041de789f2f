/** The evaluate panel's side in the worker: the three tests of the paper by the library's own function, and what the browser keeps of finished ones. */
import { saeFiles, type FeatureEdit } from '../../dictionary/index.ts';
import { FileError, UsageError } from '../../errors.ts';
import { evaluate, evaluationDefaults, resultsText, withDistinctNames, type LoadedDictionary, type Results } from '../../evaluation/index.ts';
import { formatSite, parseCrossSection } from '../../task/index.ts';
import type { Session } from './session.ts';
import { removeStored, storedFiles, writeStored } from './stored.ts';

declare const DIFFRACT_VERSION: string;

/** The options of `diffract eval ioi`. */
export interface EvaluateAsked {
  prompts: number;
  trainPrompts: number;
  selectionPrompts: number;
  seed: number;
  /** Of those that are made: supervised, vanilla. */
  dictionaries: string[];
  /** Ids of loaded ones. */
  loaded: string[];
  /** NAME=SITE,SITE,…; none for the published or found ones. */
  crossSections: string[];
  discover: boolean;
  threshold: number;
  ks: number[];
  methods: FeatureEdit[];
  lambdas: number[];
  features: number;
  epochs: number;
}

/** A finished evaluation in a few figures. */
export interface EvaluationFacts {
  /** What other calls name it by; it begins with the time. */
  name: string;
  model: string;
  prompts: number;
  seconds: number;
  /** Trained SAEs that were kept with it. */
  trained: number;
  bytes: number;
}

export interface EvaluationFiles {
  name: string;
  /** results.json as the command line writes it. */
  results: string;
  /** report.html as the command line writes it. */
  report: string;
  /** The summary as the command line prints it. */
  table: string;
}

export interface EvaluateDone extends EvaluationFiles {
  /** Trained SAEs in SAELens' layout, by path in an archive. */
  trained: Record<string, Uint8Array>;
  /** Why the browser did not keep it; null where it did. */
  unsaved: string | null;
}

const FOLDER = 'evaluations';

export class EvaluateEngine {
  constructor(private readonly session: Session) {}

  /**
   * Runs an evaluation. Rejects with what does not go together before any work is done, and with an AbortError when the job `evaluate` is cancelled.
   * What it gives is kept in the browser's storage too, where there is room.
   */
  run(asked: EvaluateAsked, browser: string, onProgress: (phase: string, done: number, total: number, note?: string) => void): Promise<EvaluateDone> {
    const { session } = this;
    return session.job('evaluate', async (signal) => {
      const { model, task } = session;
      if (!task) throw new UsageError('this model cannot do the task');
      const sections = asked.crossSections.map((spec) => parseCrossSection(spec, task.positions));
      const known = sections.length > 0 || asked.discover ? null : task.crossSections(model.config);
      const loaded = asked.loaded.map((id) => session.dictionary(id));
      const trained: Record<string, Uint8Array> = {};
      const results = await evaluate(model, task, {
        prompts: asked.prompts, trainPrompts: asked.trainPrompts, selectionPrompts: asked.selectionPrompts, seed: asked.seed,
        dictionaries: asked.dictionaries, ks: asked.ks, methods: asked.methods,
        loaded: apart(loaded.map((one) => one.loaded), asked), saePaths: loaded.map(({ facts }) => facts.name),
        crossSections: sections.length > 0 ? sections : known?.sections ?? null, origin: known?.origin ?? 'given',
        discovery: { ...evaluationDefaults.discovery, threshold: asked.threshold },
        sae: { ...evaluationDefaults.sae, lambdas: asked.lambdas, features: asked.features, epochs: asked.epochs },
        versions: { diffract: DIFFRACT_VERSION, browser },
      }, {
        signal, onProgress,
        onTrained: async (list) => {
          for (const { site, name, sae } of list) for (const [file, bytes] of Object.entries(await saeFiles(sae))) trained[`${formatSite(site)} ${name}/${file}`] = bytes;
        },
      });
      onProgress('report', 0, 1);
      const files = { name: `${stamp(new Date())} ${model.name}`, results: resultsText(results), ...(await render(results)) };
      return { ...files, trained, unsaved: await keep(files, trained) };
    });
  }

  /** Finished evaluations that the browser keeps, newest first. */
  async list(): Promise<EvaluationFacts[]> {
    const names = new Map<string, { path: string; file: File }[]>();
    for (const { path, file } of await storedFiles(FOLDER)) {
      const [name = '', ...rest] = path.split('/');
      names.set(name, [...(names.get(name) ?? []), { path: rest.join('/'), file }]);
    }
    const all: EvaluationFacts[] = [];
    for (const [name, files] of names) {
      const text = await files.find(({ path }) => path === 'results.json')?.file.text();
      // One that was not written whole has no results.
      if (text === undefined) continue;
      const { model, task, environment } = JSON.parse(text) as Results;
      all.push({
        name, model: model.name, prompts: task.prompts, seconds: environment.times.totalSeconds, bytes: files.reduce((sum, { file }) => sum + file.size, 0),
        trained: files.filter(({ path }) => path.endsWith('/cfg.json')).length,
      });
    }
    return all.sort((a, b) => (a.name < b.name ? 1 : -1));
  }

  /** One of them, to be shown again. FileError where it is gone. */
  async read(name: string): Promise<EvaluationFiles> {
    const files = await this.files(name);
    const text = async (path: string): Promise<string> => {
      const found = files.find((one) => one.path === path);
      if (!found) throw new FileError(`${name}: ${path} is no longer in the browser’s storage`);
      return found.file.text();
    };
    const [results, report] = [await text('results.json'), await text('report.html')];
    return { name, results, report, table: (await import('../../report/index.ts')).renderTable(JSON.parse(results) as Results) };
  }

  /** The SAEs that it trained, by path in an archive. */
  async trained(name: string): Promise<Record<string, Uint8Array>> {
    const files = (await this.files(name)).filter(({ path }) => path.startsWith('dictionaries/'));
    return Object.fromEntries(await Promise.all(files.map(async ({ path, file }) => [path.slice('dictionaries/'.length), new Uint8Array(await file.arrayBuffer())] as const)));
  }

  remove(name: string): Promise<void> {
    return removeStored(`${FOLDER}/${name}`);
  }

  private files(name: string): Promise<{ path: string; file: File }[]> {
    return storedFiles(`${FOLDER}/${name}`);
  }
}

/** Loaded dictionaries under names that they share neither with each other nor with those that are trained. */
function apart(loaded: readonly LoadedDictionary[], { dictionaries, lambdas }: EvaluateAsked): LoadedDictionary[] {
  const trained = dictionaries.includes('vanilla') ? lambdas.map((l1) => `vanilla λ=${l1}`) : [];
  return withDistinctNames(loaded).map((one) => (trained.includes(one.name) ? { ...one, name: `${one.name}, loaded` } : one));
}

/** The report and the table; what draws charts is large and comes when it is needed. */
async function render(results: Results): Promise<{ report: string; table: string }> {
  const { renderReport, renderTable } = await import('../../report/index.ts');
  return { report: await renderReport(results), table: renderTable(results) };
}

/** Puts it by, results.json last: what has none is not whole. Why it could not be done, or null. */
async function keep({ name, results, report }: Omit<EvaluationFiles, 'table'>, trained: Readonly<Record<string, Uint8Array>>): Promise<string | null> {
  try {
    for (const [path, bytes] of Object.entries(trained)) await writeStored(`${FOLDER}/${name}/dictionaries/${path}`, bytes);
    await writeStored(`${FOLDER}/${name}/report.html`, report);
    await writeStored(`${FOLDER}/${name}/results.json`, results);
    return null;
  } catch (error) {
    await removeStored(`${FOLDER}/${name}`).catch(() => {});
    return (error as Error).message;
  }
}

/** A moment as part of a file's name, 2026-11-24 08.05.09 in local time. */
function stamp(when: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${two(when.getHours())}.${two(when.getMinutes())}.${two(when.getSeconds())}`;
}
