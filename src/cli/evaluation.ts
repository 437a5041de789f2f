/** An evaluation from the command line: opens what it needs, runs it with progress, writes its files. `eval` and `demo` both are this. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { UsageError } from '../errors.ts';
import { evaluate, evaluationDefaults, ioiEvaluation, resultsText, type EvaluationOptions, type EvaluationTask, type LoadedDictionary, type Results } from '../evaluation/index.ts';
import { openSource } from '../files/index.ts';
import { assertWritable, writeFileAtomic } from '../files/node-write.ts';
import { Gpt2, type WeightType } from '../model/index.ts';
import { renderReport } from '../report/index.ts';
import { gpt2SmallCrossSections, grammarFor, IoiTask, type CrossSection } from '../task/index.ts';
import { openDevice } from './device.ts';
import { loadDictionaries } from './sae-directories.ts';
import { progress } from './terminal.ts';

declare const DIFFRACT_VERSION: string;

export interface EvaluationRequest extends Partial<Omit<EvaluationOptions, 'loaded' | 'origin' | 'versions' | 'saePaths' | 'crossSections'>> {
  /** directory or URL of the model */
  model: string;
  /** directory for results.json and report.html */
  out: string;
  /** directory of word lists instead of the model's own */
  lexicon?: string;
  /** directories in SAELens' layout or folders of them, each as DIR or SITE=DIR */
  saes?: readonly string[];
  crossSections?: readonly CrossSection[];
  /** find cross-sections by patching even where published ones exist */
  discover?: boolean;
  /** how weight matrices are stored; f32 by default */
  weights?: WeightType;
  /** settings of kernels for the adapter: a file that the benchmark's tuner made */
  tuning?: string;
}

export interface EvaluationFiles {
  results: Results;
  resultsPath: string;
  reportPath: string;
}

/** Runs an evaluation and writes results.json and report.html, each whole or not at all. The output directory is proved writable first. */
export async function runEvaluation(request: EvaluationRequest, signal?: AbortSignal): Promise<EvaluationFiles> {
  const { model: where, out, lexicon, saes = [], crossSections, discover, tuning, weights, ...options } = request;
  await assertWritable(out);
  const { model, task } = await openTask(where, lexicon, { tuning, weights });
  let loaded: LoadedDictionary[] = [];
  try {
    loaded = await loadDictionaries(model, saes);
    const published = !crossSections && !discover && isGpt2Small(model);
    const bars = new PhaseBars();
    const results = await evaluate(model, task, {
      ...options,
      loaded,
      saePaths: saes,
      crossSections: crossSections ?? (published ? gpt2SmallCrossSections() : null),
      origin: published ? 'published' : 'given',
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

/** Loads a model and makes the task from its word lists (or the given ones, or the project's own for GPT-2's vocabulary). */
export async function openTask(where: string, lexicon?: string, { tuning, weights }: { tuning?: string; weights?: WeightType } = {}): Promise<{ model: Gpt2; task: EvaluationTask }> {
  const source = openSource(where);
  const bar = progress('loading the model');
  const gpu = await openDevice(tuning);
  const model = await Gpt2.load(gpu, source, { weights, onProgress: (done: number, total: number) => bar.update(done, total) }).finally(() => bar.stop());
  try {
    if (!model.tokenizer) throw new UsageError(`${where} has no tokenizer.json, which prompts need`);
    const grammar = await grammarFor(source, lexicon === undefined ? undefined : openSource(lexicon));
    return { model, task: ioiEvaluation(IoiTask.create(model.tokenizer, grammar)) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** A published set of cross-sections exists for models of this shape. */
export function isGpt2Small(model: Gpt2): boolean {
  const { layers, heads, width } = model.config;
  return layers === 12 && heads === 12 && width === 768;
}

/** One bar per phase, each taking the place of the last. */
class PhaseBars {
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

function versions(): Record<string, string> {
  const webgpu = (createRequire(import.meta.url)('webgpu/package.json') as { version: string }).version;
  return { diffract: DIFFRACT_VERSION, node: process.version, webgpu };
}

/** Runs work that Ctrl-C stops: the signal is aborted, and the exit code becomes 130. A second Ctrl-C ends the process as usual. */
export async function stoppable(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  process.once('SIGINT', stop);
  try {
    await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    process.stderr.write('stopped; nothing was written\n');
    process.exitCode = 130;
  } finally {
    process.removeListener('SIGINT', stop);
  }
}

export { evaluationDefaults };
