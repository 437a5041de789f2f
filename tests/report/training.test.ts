/** The page of a training run: its curves, its final figures, and what is said of files that are cut short or broken. */
import { Command } from 'commander';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { register } from '../../src/cli/report.ts';
import { readMetrics, readTrainingRun } from '../../src/cli/training-report.ts';
import { recordText, runRecord } from '../../src/cli/training-record.ts';
import { FileError } from '../../src/errors.ts';
import { finalFigures, renderTraining, renderTrainingTable } from '../../src/report/index.ts';
import { curvesChart } from '../../src/report/training/charts.ts';
import { logLine, StreamedExamples, trainVariants, variantPolicies, type LogRecord, type SaeJob } from '../../src/training/index.ts';
import { refusal } from '../support/refusal.ts';
import { all, parseHtml, textOf } from './html.ts';

const test = suite<{ folder: string }>('training report');
test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-curves-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

function record(name: string, variant: LogRecord['variant'], step: number, more: Partial<LogRecord> = {}): LogRecord {
  const byK = variantPolicies[variant].sparsity === 'k';
  return {
    name, variant, step, epoch: step / 10, training_samples: step * 4, l1_coefficient: byK ? 0 : 0.5, k: byK ? 3 : null, loss: 100 / step, mse: 50 / step, l1_loss: byK || variant === 'jumprelu' ? 0 : 1, l0_loss: variant === 'jumprelu' ? 1 : 0,
    auxiliary_reconstruction_loss: 0, l0: 3, dead_fraction: 0.25, dead_features: 4, mean_passes_since_fired: null, explained_variance: 1 - 1 / step, learning_rate: 0.01, ...more,
  };
}

const two = (steps: readonly number[]): LogRecord[] => steps.flatMap((step) => [record('a <b>', 'vanilla', step), record('c', 'topk', step)]);

test('the page has a panel a figure, a line a dictionary, all final figures and every line as JSON', async () => {
  const records = two([10, 20, 30]);
  const run = { name: 'R & D', records, notes: ['Something <is> cut.'], finished: null, dictionaries: [{ folder: 'f', architecture: 'topk', hook: 'blocks.0.hook_resid_post', inputs: 6, features: 1024 }] };
  const html = await renderTraining(run);
  assert.is(await renderTraining(run), html);
  const page = all(parseHtml(html));
  assert.equal(page.filter(({ tag }) => tag === 'h3').map(textOf), ['Loss', 'Squared error', 'L0', 'Explained variance', 'Dead features', 'Learning rate']);
  assert.equal(page.filter(({ attributes }) => attributes['class'] === 'legend').flatMap((list) => all(list).filter(({ tag }) => tag === 'li').map(textOf)), ['a <b>', 'c']);
  const text = page.find(({ tag }) => tag === 'body')!;
  assert.match(textOf(text), /Training of R & D[\s\S]*No run\.json tells that it is finished: what was logged up to step 30\.[\s\S]*Something <is> cut\.[\s\S]*1,024/);
  const rows = page.filter(({ tag, attributes }) => tag === 'section' && attributes['id'] === 'figures').flatMap((section) => all(section).filter(({ tag }) => tag === 'tr').map((row) => row.children.map((cell) => (typeof cell === 'string' ? cell : textOf(cell)))));
  assert.equal(rows.slice(1), [['a <b>', 'vanilla', 'λ=0.5', '30', '3.33', '1.67', '3.00', '0.9667', '25.0 %', '4'], ['c', 'topk', 'k=3', '30', '3.33', '1.67', '3.00', '0.9667', '25.0 %', '4']]);
  const json = JSON.parse(textOf(page.find(({ attributes }) => attributes['id'] === 'results')!));
  assert.equal(json.metrics, records.map((one) => JSON.parse(logLine(one))));
  assert.not.match(html, /https?:\/\/(?!www\.w3\.org)/);
  assert.match(renderTrainingTable(run), /^Dictionary +Variant +Sparsity[^\n]+\na <b> +vanilla +λ=0\.5 +30 +3\.33 +1\.67 [^\n]+\nc +topk +k=3 /);
});

test('curves hold the records\' values; what a scale has no place for is left out; many dictionaries are drawn by kind with their median', () => {
  const values = (records: LogRecord[], panel: number, layer: number): { step: number; value: number; series: string }[] => {
    const { spec } = curvesChart(records).panels[panel]!;
    return (spec as unknown as { layer: { data: { values: { step: number; value: number; series: string }[] } }[] }).layer[layer]!.data.values;
  };
  const few = [...two([20, 10]), record('c', 'topk', 30, { l0: 0, explained_variance: -Infinity })];
  assert.equal(values(few, 0, 0).map(({ series, step, value }) => [series, step, value]), [['a <b>', 10, 10], ['a <b>', 20, 5], ['c', 10, 10], ['c', 20, 5], ['c', 30, 100 / 30]]);
  for (const panel of [2, 3]) assert.equal(values(few, panel, 0).map(({ step }) => step), [10, 20, 10, 20]);
  assert.match(curvesChart(few).panels[4]!.alt, /^Dead features over training steps\. At the end: a <b>: 25 %; c: 25 %\.$/);
  const many = Array.from({ length: 10 }, (_, i) => [10, 20].map((step) => record(`${i}`, i < 3 ? 'topk' : 'vanilla', step, { mse: i + step }))).flat();
  assert.equal(curvesChart(many).legend.map(({ label }) => label), ['topk k=3', 'vanilla λ=0.5']);
  assert.is(values(many, 1, 0).length, 20);
  assert.equal(values(many, 1, 1).map(({ series, step, value }) => [series, step, value]), [['topk k=3', 10, 11], ['topk k=3', 20, 21], ['vanilla λ=0.5', 10, 16], ['vanilla λ=0.5', 20, 26]]);
  // A single line of figures of each is a dot.
  const marks = (curvesChart(two([10])).panels[0]!.spec as unknown as { layer: { mark: { type: string } }[] }).layer.map(({ mark }) => mark.type);
  assert.equal(marks, ['line', 'circle']);
  // Long runs are thinned, and keep their end.
  const long = values(Array.from({ length: 1000 }, (_, i) => record('a', 'gated', i + 1)), 0, 0);
  assert.ok(long.length <= 161 && long.at(-1)!.step === 1000);
});

test('report draws a directory; a cut last line and broken ones are left out and said', async ({ folder }) => {
  const data = new StreamedExamples(8, 6);
  const jobs = trainVariants.map((variant, i): SaeJob => ({ name: variant, variant, data, seed: i, metadata: { hook_name: 'h', i }, ...(variantPolicies[variant].sparsity === 'k' ? { k: 3 } : { l1: 0.5 }) }));
  const records = [10, 20].flatMap((step) => jobs.map(({ name, variant }) => record(name, variant!, step)));
  const lines = records.map(logLine);
  writeFileSync(join(folder, 'metrics.jsonl'), `${lines.slice(0, 8).join('')}{"x": 1}\n${lines.slice(8).join('')}{"name": "top`);
  mkdirSync(join(folder, 'topk'));
  writeFileSync(join(folder, 'topk', 'cfg.json'), JSON.stringify({ architecture: 'topk', d_in: 6, d_sae: 16, metadata: { hook_name: 'h' } }));
  mkdirSync(join(folder, 'checkpoints'));
  const run = await readTrainingRun(folder);
  assert.equal(run.records, records);
  assert.is(run.finished, null);
  assert.match(run.notes.join('\n'), /^The last line of metrics\.jsonl was cut short and is left out: \{"name": "top\nA line of metrics\.jsonl could not be read, and is left out: .*metrics\.jsonl: line 9: a line is no record of training/);
  assert.equal(run.dictionaries, [{ folder: 'topk', architecture: 'topk', hook: 'h', inputs: 6, features: 16 }]);
  assert.equal(finalFigures(run), records.slice(-jobs.length));

  // Finished: the final figures, an explained variance of −∞ among them, are those of the record.
  const final = records.slice(-jobs.length).map((one) => ({ ...one, mse: 0.125, explained_variance: -Infinity }));
  writeFileSync(join(folder, 'run.json'), recordText(runRecord({ features: 16, epochs: 2 }, jobs, jobs.map(() => 'topk'), 20, final)));
  const finished = await readTrainingRun(folder);
  assert.equal(finalFigures(finished), final);
  assert.equal(finished.finished!.metadata, { hook_name: 'h' });
  assert.is(finished.finished!.settings['features'], 16);

  const written = [process.stdout, process.stderr].map((stream) => ({ stream, write: stream.write, text: '' }));
  for (const one of written) one.stream.write = ((chunk: string) => { one.text += chunk; return true; }) as typeof one.write;
  try {
    const program = new Command().exitOverride();
    register(program);
    await program.parseAsync(['node', 'diffract', 'report', folder]);
  } finally {
    for (const one of written) one.stream.write = one.write;
  }
  assert.match(written[0]!.text, /^Dictionary .*\nvanilla .* 0\.125 [\s\S]*\nReport: .*report\.html\n$/);
  assert.match(written[1]!.text, /cut short/);
  const html = readFileSync(join(folder, 'report.html'), 'utf8');
  assert.match(html, new RegExp(`<h1>Training of ${basename(folder)}</h1>[\\s\\S]*Finished after 20 steps\\.`));
  parseHtml(html);
});

test('what is no training run is refused in a line', async ({ folder }) => {
  assert.match(await refusal(() => readTrainingRun(folder), FileError), /is no training run: it has no metrics\.jsonl$/);
  assert.match(await refusal(() => readMetrics('', 'm.jsonl'), FileError), /^m\.jsonl holds no line of figures$/);
  assert.match(await refusal(() => readMetrics('nothing\n', 'm.jsonl'), FileError), /^m\.jsonl: line 1: a line is no JSON: nothing$/);
  writeFileSync(join(folder, 'metrics.jsonl'), logLine(record('a', 'vanilla', 10)));
  writeFileSync(join(folder, 'run.json'), '{');
  assert.match(await refusal(() => readTrainingRun(folder), FileError), /run\.json: not JSON$/);
});

test.run();
