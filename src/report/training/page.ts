/** A training run -> one self-contained HTML page, and its final figures as a table for a terminal. */
import { logLine, type LogRecord } from '../../training/index.ts';
import { chartSection, contents, factList, pageEnd, pageHead, saveButton } from '../frame.ts';
import { groupBy } from '../groups.ts';
import { list, setting, table } from '../sections.ts';
import { escapeHtml, integer, percent, plural, score, short } from '../text.ts';
import { curvesChart, sparsityText } from './charts.ts';

/** A run as its directory tells of it. */
export interface TrainingRun {
  name: string;
  /** All lines of metrics.jsonl, in their order. */
  records: readonly LogRecord[];
  /** What is wrong with the directory's files, in a sentence each. */
  notes: readonly string[];
  /** Of a finished run: figures with the final weights, the settings and what all dictionaries were trained on. */
  finished: { steps: number; final: readonly LogRecord[]; settings: Readonly<Record<string, unknown>>; metadata: Readonly<Record<string, unknown>> } | null;
  /** The dictionaries that lie there, each with what its configuration says. */
  dictionaries: readonly { folder: string; architecture: string; inputs: number; features: number; hook: string }[];
  version?: string;
}

/** The figures that a run ends with: with the final weights, or the last that were logged. */
export function finalFigures({ records, finished }: Pick<TrainingRun, 'records' | 'finished'>): readonly LogRecord[] {
  return finished?.final ?? [...groupBy(records, (record) => record.name)].map(([, own]) => own.reduce((a, b) => (b.step >= a.step ? b : a)));
}

const HEAD = ['Dictionary', 'Variant', 'Sparsity', 'Step', 'Loss', 'mse', 'L0', 'Explained variance', 'Dead', 'Dead features'];

function cells(record: LogRecord): string[] {
  const { name, variant, step, loss, mse, l0, explained_variance: explained, dead_fraction: dead, dead_features: number } = record;
  return [name, variant, sparsityText(record), integer(step), short(loss), short(mse), score(l0), score(explained, 4), percent(dead, 1), number === null ? '–' : integer(number)];
}

/** The page. The same run gives the same text. */
export async function renderTraining(run: TrainingRun, options: { title?: string } = {}): Promise<string> {
  const { name, records, notes, finished, dictionaries, version } = run;
  const final = finalFigures(run);
  const title = options.title ?? `Training of ${name}`;
  const reached = Math.max(...records.map(({ step }) => step));
  const samples = Math.max(...records.map(({ training_samples: count }) => count ?? 0));
  const best = Math.max(...final.map((record) => record.explained_variance));
  const caption = finished ? 'With the final weights, over all examples of the last round' : 'The last that were logged: means over the examples of that round, or epoch';
  const figures = table(caption, HEAD, [final.map(cells)], 2);
  const chart = curvesChart(records);
  const links: [string, string][] = [['figures', 'Figures'], ['curves', 'Over the steps'], ...(dictionaries.length ? [['dictionaries', 'Dictionaries'] as [string, string]] : []), ['setup', 'Settings']];
  return `${pageHead(title)}
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="muted">${finished ? `Finished after ${plural(finished.steps, 'step')}.` : `No run.json tells that it is finished: what was logged up to step ${integer(reached)}.`}</p>
${notes.map((text) => `<p role="note">${escapeHtml(text)}</p>`).join('\n')}
${factList([[integer(final.length), final.length === 1 ? 'dictionary' : 'dictionaries'], [integer(finished?.steps ?? reached), 'steps'], ...(samples ? [[integer(samples), 'examples trained on'] as const] : []), [score(best, 3), 'variance explained by the best']])}
${contents(links)}
</header>
<main>
<section id="figures"><h2>Final figures</h2>
<p class="reading">mse, L0 and explained variance carry SAELens’ meaning; mse and loss are in units of the activations as they were brought to one scale for training.</p>
${figures}</section>
${await chartSection(chart)}
${dictionaries.length ? `<section id="dictionaries"><h2>Dictionaries</h2>${table('What lies in the directory, in SAELens’ layout', ['Folder', 'Architecture', 'Hook', 'Width', 'Features'],
    [dictionaries.map(({ folder, architecture, hook, inputs, features }) => [folder, architecture, hook, integer(inputs), integer(features)])], 3)}</section>` : ''}
<section id="setup"><h2>Settings</h2>
${finished ? list([...Object.entries(finished.metadata), ...Object.entries(finished.settings)]
    // The dictionaries' own rate goes before the settings'.
    .filter(([key]) => key !== 'learningRate' || finished.metadata['learning_rate'] === undefined).map(([key, value]): [string, string] => [key, setting(value)])) : '<p class="muted">They stand in run.json, which a run writes once it is finished.</p>'}
${saveButton('training.json')}</section>
</main>
${pageEnd(version, JSON.stringify({ name, finished: finished !== null, notes, settings: finished?.settings ?? null, final: final.map(lineOf), metrics: records.map(lineOf) }))}`;
}

/** A record as the object that its line in metrics.jsonl holds. */
function lineOf(record: LogRecord): unknown {
  return JSON.parse(logLine(record)) as unknown;
}

/** The final figures with aligned columns; ends with a line feed. */
export function renderTrainingTable(run: Pick<TrainingRun, 'records' | 'finished'>): string {
  const rows = [HEAD, ...finalFigures(run).map(cells)];
  const widths = HEAD.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) => `${row.map((text, i) => (i < 2 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  ').trimEnd()}\n`).join('');
}
