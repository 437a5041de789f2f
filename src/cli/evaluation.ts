/** An evaluation from the command line: opens what it needs, runs it with progress, writes its files. `eval` and `demo` both are this. */
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { UsageError } from '../errors.ts';
import { evaluate, evaluationDefaults, ioiEvaluation, resultsText, type EvaluationOptions, type EvaluationTask, type LoadedDictionary, type Results } from '../evaluation/index.ts';
import { openSource } from '../files/index.ts';
import { assertWritable, writeFileAtomic } from '../files/node-write.ts';
import type { Gpt2, WeightProcessing, WeightType } from '../model/index.ts';
import { renderReport } from '../report/index.ts';
import { grammarFor, GreaterThanTask, IoiTask, parseCrossSection, taskFromFile } from '../task/index.ts';
import { loadModel, openModelSource, type ModelFlags } from './model.ts';
import { loadDictionaries, processingOfSaes } from './sae-directories.ts';
import { progress } from './terminal.ts';

declare const DIFFRACT_VERSION: string;

export interface EvaluationRequest extends Partial<Omit<EvaluationOptions, 'loaded' | 'origin' | 'versions' | 'saePaths' | 'crossSections'>> {
  /** the model: a directory, URL or name on the hub, where it may have a revision */
  model: string;
  revision?: string;
  /** directory for results.json and report.html */
  out: string;
  /** directory of word lists instead of the model's own */
  lexicon?: string;
  /** the task: indirect objects unless given */
  task?: TaskChoice;
  /** directories in SAELens' layout or folders of them, each as DIR or SITE=DIR */
  saes?: readonly string[];
  /** NAME=SITE,SITE,… at the task's positions */
  crossSections?: readonly string[];
  /** find cross-sections by patching even where published ones exist */
  discover?: boolean;
  /** how weight matrices are stored; f32 by default */
  weights?: WeightType;
  /** of dictionaries trained on text, features active on a smaller share of its tokens are left out; 1e-6 unless given */
  minFrequency?: number;
  /** what is done to the model's weights on loading; unless given, what the SAEs were trained with, as far as they say */
  processing?: Partial<WeightProcessing>;
  /** settings of kernels for the adapter: a file that the benchmark's tuner made */
  tuning?: string;
}

/** A built-in task by name, or a file that describes one. */
export type TaskChoice = { name: 'ioi' | 'greater-than' } | { file: string };

export interface EvaluationFiles {
  results: Results;
  resultsPath: string;
  reportPath: string;
}

/** Dictionaries trained on text are also tried with so many features: fewer often do little (arXiv 2405.08366, section 5). */
export const TEXT_K = 32;

/** Runs an evaluation and writes results.json and report.html, each whole or not at all. The output directory is proved writable first. */
export async function runEvaluation(request: EvaluationRequest, signal?: AbortSignal): Promise<EvaluationFiles> {
  const { model: where, revision, out, lexicon, saes = [], crossSections: specs, discover, tuning, weights, task: choice, minFrequency, ks, processing, ...options } = request;
  await assertWritable(out);
  const { model, task } = await openTask({ model: where, revision, lexicon, tuning, weights, task: choice, processing: processing ?? await processingOfSaes(saes) }, signal);
  let loaded: LoadedDictionary[] = [];
  try {
    const crossSections = specs?.map((spec) => parseCrossSection(spec, task.positions));
    loaded = await loadDictionaries(model, saes, { positions: task.positions, ...(minFrequency === undefined ? {} : { minFrequency }) });
    const known = crossSections || discover ? null : task.crossSections(model.config);
    const bars = new PhaseBars();
    const results = await evaluate(model, task, {
      ...options,
      ks: ks ?? (loaded.some(({ trainedOn }) => trainedOn === 'text') ? [...evaluationDefaults.ks, TEXT_K] : evaluationDefaults.ks),
      loaded,
      saePaths: saes,
      crossSections: crossSections ?? known?.sections ?? null,
      origin: known?.origin ?? 'given',
      versions: versions(),
    }, { signal, onProgress: (phase, done, total, note) => bars.update(phase, done, total, note) }).finally(() => bars.stop());
    const resultsPath = join(out, 'results.json');
    const reportPath = join(out, 'report.html');
    const page = await renderReport(results, {});
    await writeFileAtomic(resultsPath, resultsText(results));
    await writeFileAtomic(reportPath, page);
    return { results, resultsPath, reportPath };
  } finally {
    for (const { dictionary } of loaded) dictionary.dispose();
    model.dispose();
  }
}

interface TaskFlags extends ModelFlags {
  lexicon?: string;
  processing?: Partial<WeightProcessing>;
  tuning?: string;
  weights?: WeightType;
  task?: TaskChoice;
  coupledTargets?: boolean;
}

/** Loads a model and makes the task for it: indirect objects from its word lists (or the given ones, or the project's own for GPT-2's vocabulary) unless another is chosen. */
export async function openTask(
  { lexicon, task = { name: 'ioi' }, coupledTargets = false, processing, ...flags }: TaskFlags, signal?: AbortSignal,
): Promise<{ model: Gpt2; task: EvaluationTask }> {
  const source = await openModelSource(flags, signal);
  const file = 'file' in task ? await openSource(dirname(task.file)).json(basename(task.file)) : null;
  const model = await loadModel(flags, { source, processing });
  try {
    const { tokenizer } = model;
    if (!tokenizer) throw new UsageError(`${flags.model} has no tokenizer.json, which prompts need`);
    if ('file' in task) return { model, task: await taskFromFile(tokenizer, file, task.file) };
    if (task.name === 'greater-than') return { model, task: new GreaterThanTask(tokenizer) };
    const grammar = await grammarFor(source, lexicon === undefined ? undefined : openSource(lexicon));
    return { model, task: ioiEvaluation(IoiTask.create(tokenizer, grammar), { coupledTargets }) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** One bar per phase, each taking the place of the last. */
export class PhaseBars {
  private name = '';
  private bar: ReturnType<typeof progress> | null = null;

  update(phase: string, done: number, total: number, note?: string): void {
    if (phase !== this.name) {
      this.stop();
      this.name = phase;
      this.bar = progress(phase);
    }
    this.bar?.update(done, total, note);
  }

  stop(): void {
    this.bar?.stop();
    this.bar = null;
    this.name = '';
  }
}

export function versions(): Record<string, string> {
  const webgpu = (createRequire(import.meta.url)('webgpu/package.json') as { version: string }).version;
  return { diffract: DIFFRACT_VERSION, node: process.version, webgpu };
}

/** Runs work that Ctrl-C stops: the signal is aborted, and the exit code becomes 130. A second Ctrl-C ends the process as usual. */
export async function stoppable(work: (signal: AbortSignal) => Promise<void>, left = 'nothing was written'): Promise<void> {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  process.once('SIGINT', stop);
  try {
    await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    process.stderr.write(`stopped; ${left}\n`);
    process.exitCode = 130;
  } finally {
    process.removeListener('SIGINT', stop);
  }
}

export { evaluationDefaults };
