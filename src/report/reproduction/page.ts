/** A reproduction -> one self-contained HTML page: published numbers beside measured ones, every chart, every table, and where the time went. */
import type { ControlRow } from '../../evaluation/index.ts';
import { reproductionText, type Reproduction } from '../../reproduction/index.ts';
import { chartSection, contents, factList, pageEnd, pageHead, saveButton } from '../frame.ts';
import { grouped, groupBy } from '../groups.ts';
import { looksOf, namedPanel } from '../panels.ts';
import { list, originText, setting, table } from '../sections.ts';
import { renderSvg } from '../svg.ts';
import { bytes, escapeHtml, integer, percent, plural, score, seconds } from '../text.ts';
import { reproductionCharts } from './charts.ts';

/** The page. The same reproduction gives the same text. */
export async function renderReproduction(reproduction: Reproduction): Promise<string> {
  const { model, task, preset, results, environment } = reproduction;
  const title = `${model.name} on ${task.name}: arXiv 2405.08366, ${preset}`;
  const charts = reproductionCharts(reproduction);
  const sections: string[] = [];
  for (const chart of charts) sections.push(await chartSection(chart, TABLES[chart.id]?.(reproduction), chart.id === 'synthetic'));
  const links: [string, string][] = [
    ['published', 'Published numbers'], ...charts.map(({ id }): [string, string] => [id, SHORT[id] ?? capital(id)]), ...(results.metrics ? [['metrics', 'Metrics'] as [string, string]] : []),
    ...(results.features ? [['features', 'Features'] as [string, string]] : []), ['time', 'Time'], ['setup', 'Settings'],
  ];
  return `${pageHead(title, '.inner { margin: .8rem 0 0 1.1rem; }\n')}
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="muted">All tests and phenomena of “Towards Principled Evaluations of Sparse Autoencoders for Interpretability and Control”,
${reproduction.sizes === 'paper' ? 'at the paper’s sizes' : 'at reduced sizes'}.</p>
${facts(reproduction)}
${contents(links)}
</header>
<main>
<section id="published"><h2>Published numbers beside measured ones</h2>
${publishedSection(reproduction)}</section>
${sections.join('\n')}
${results.metrics ? `<section id="metrics"><h2>Metrics of SAEs on the task’s tokens</h2>${metricsTable(results.metrics)}</section>` : ''}
${results.features ? featureSection(results.features) : ''}
${await timeSection(reproduction)}
<section id="setup"><h2>Settings and environment</h2>
${list([['Adapter', `${environment.adapter.description || environment.adapter.device}${environment.adapter.software ? ' (software)' : ''}`], ['Versions', setting(environment.versions)],
    ['Model', `${model.name}${originText(model.origin)}, hash ${model.hash.slice(0, 16)}, ${model.layers} layers of ${model.heads} heads, width ${model.width}`],
    ['Released behaviours', reproduction.released.map(({ name, description }) => `${name}: ${description}`).join('; ') || 'none'],
    ...Object.entries(reproduction.settings).map(([name, value]): [string, string] => [name, setting(value)])])}
${saveButton('reproduction.json')}</section>
</main>
${pageEnd(environment.versions['diffract'], reproductionText(reproduction))}`;
}

/** Names of charts in the contents, where the anchor says too little. */
const SHORT: Record<string, string> = {
  prompts: 'Single prompts', weights: 'Weight removed', methods: 'Ways of editing', foretells: 'What foretells control', sparsity: 'Sparsity and effect', synthetic: 'Known answers',
  causal: 'Causal interpretations', patching: 'Feature patching', swaps: 'Ways of swapping codes', recovered: 'Single sites', geometry: 'Directions', probing: 'Probes',
};

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function facts({ results, stages, environment, published }: Reproduction): string {
  const { tests } = results;
  const compared = published.filter(({ within }) => within !== null);
  return factList([
    ...(tests ? [[percent(tests.task.accuracy, 1), `of ${integer(tests.task.prompts)} prompts answered right`], [score(tests.task.logitDiff), 'mean logit difference']] as const : []),
    [integer(results.saes?.entries.length ?? 0), 'SAEs, checkpoints included'],
    [`${stages.filter(({ leftOut }) => leftOut === null).length} of ${stages.length}`, 'stages with a result'],
    [compared.length > 0 ? `${compared.filter(({ within }) => within).length} of ${compared.length}` : '–', 'published numbers within tolerance'],
    [seconds(environment.times.stages.reduce((sum, stage) => sum + stage.seconds, 0)), 'of work'],
  ]);
}

function publishedSection({ published }: Reproduction): string {
  const measured = published.filter((row) => row.measured !== null);
  const absent = [...groupBy(published.filter((row) => row.measured === null), (row) => row.reason ?? '')];
  const cells = (row: Reproduction['published'][number]) => [
    row.what, score(row.published, 3), row.source, row.tolerance === null ? '–' : `±${score(row.tolerance, 3)}`, score(row.measured, 3), row.within === null ? '–' : row.within ? 'yes' : 'no',
  ];
  const head = ['What', 'Published', 'Source', 'Tolerance', 'Measured', 'Within'];
  const leftOut = (rows: Reproduction['published']) => table('Published, not measured here', head.slice(0, 4), [rows.map((row) => cells(row).slice(0, 4))], 1);
  return `<p class="reading">A number is compared where this model and these settings can give it. ${measured.length} of ${published.length} are; the others are left out with the reason, never filled.</p>
${[...groupBy(measured, (row) => row.reason ?? '')].map(([reason, rows]) => table(`Measured beside published${reason ? `; to be taken with care: ${reason}` : ''}`, head, [rows.map(cells)], 1)).join('\n')}
${absent.map(([reason, rows]) => `<details><summary>${rows.length} left out: ${escapeHtml(reason)}</summary>${leftOut(rows)}</details>`).join('\n')}`;
}

async function timeSection({ environment, stages }: Reproduction): Promise<string> {
  const looks = looksOf(['seconds']);
  const panel = namedPanel({
    title: 'Seconds of each stage', looks, bars: true, x: { title: 'Seconds' },
    rows: environment.times.stages.map(({ name, seconds: value, reused }) => ({
      label: name, series: 'seconds', value, text: seconds(value), tip: `${name}: ${seconds(value)}${reused ? ', kept from an earlier run' : ''}`,
    })),
  });
  const leftOut = stages.filter((stage) => stage.leftOut !== null);
  return `<section id="time"><h2>Where the time went</h2>
<p class="reading">${seconds(environment.times.totalSeconds)} in this run, up to ${bytes(environment.times.peakGpuBytes)} of device memory.
A stage that was kept from an earlier run shows the time it took then.</p>
<div class="panels wide"><figure>${await renderSvg(panel.spec, { id: 'time-0', label: panel.alt })}</figure></div>
${leftOut.length > 0 ? `<h3>Left out</h3>${list(leftOut.map(({ title, leftOut: reason }) => [title, reason!]))}` : ''}</section>`;
}

/** Folded by site, and there a page for each feature: what it stands for, where it is most active, what it does to the logits. */
function featureSection({ pages, unions }: NonNullable<Reproduction['results']['features']>): string {
  const one = (page: Page): string => {
    const property = page.interpretation ? `: ${cut(page.interpretation.property, 90)} (F1 ${score(page.interpretation.f1)})` : '';
    return `<details><summary>${escapeHtml(`Feature ${page.feature}${property}`)}</summary>${list(featureFacts(page))}</details>`;
  };
  const at = ([site, own]: [string, Page[]]): string => `<details><summary>${escapeHtml(`${site}: ${plural(own.length, 'feature')}`)}</summary>
${[...groupBy(own, (page) => page.dictionary)].map(([dictionary, features]) => `<div class="inner"><h3>${escapeHtml(dictionary)}</h3>${features.map(one).join('\n')}</div>`).join('\n')}</details>`;
  return `<section id="features"><h2>Pages of features</h2>
<p class="reading">The best interpreted features of one SAE of each kind: the prompts on which they are most active, the position marked;
where in the prompt that comes from; and the tokens whose logits they raise and lower most through the head’s output and the unembedding.
A feature may stand for up to ${unions} values at once.</p>
${[...groupBy(pages, (page) => page.site)].map(at).join('\n')}</section>`;
}

/** A text's beginning, at most `width` characters, cut at a word. */
function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, text.lastIndexOf(' ', width - 1))} …`;
}

type Page = NonNullable<Reproduction['results']['features']>['pages'][number];

/** What a feature's page says, as names and texts. */
function featureFacts({ interpretation, activity, examples, attributionNote, logits, logitsNote }: Page): [string, string][] {
  const effects = (list: readonly { token: string; effect: number }[]): string => list.map(({ token, effect }) => `${token} ${score(effect)}`).join(', ');
  return [
    ...(interpretation ? [['Stands for', `${interpretation.property}: precision ${score(interpretation.precision)}, recall ${score(interpretation.recall)}`] as [string, string]] : []),
    ...activity.map(({ source, density, positions, most }): [string, string] => [`Active in ${source}`, `${percent(density, 1)} of ${integer(positions)}, at most ${score(most)}`]),
    ...examples.map((example, i): [string, string] => [`Example ${i + 1}`, `${score(example.activation)}: ${exampleText(example)}`]),
    ...(attributionNote ? [['Sources', attributionNote] as [string, string]] : []),
    ...(logits ? [['Raises', effects(logits.top)], ['Lowers', effects(logits.bottom)]] as [string, string][] : [['Logits', logitsNote ?? 'none']] as [string, string][]),
  ];
}

/** The tokens with the position marked, and the three source positions that add most to the pre-activation. */
function exampleText({ tokens, first, position, attribution }: Page['examples'][number]): string {
  const text = tokens.map((token, i) => (first + i === position ? ` ⟦${token.trim()}⟧` : token)).join('');
  if (!attribution) return text;
  const sources = attribution.bySource.map((value, at) => ({ value, token: tokens[at - first] ?? String(at) })).sort((x, y) => y.value - x.value).slice(0, 3);
  return `${text} — from ${sources.map(({ token, value }) => `${token.trim()} ${score(value)}`).join(', ')}`;
}

function metricsTable({ rows, tokens }: NonNullable<Reproduction['results']['metrics']>): string {
  return table(`Over ${integer(tokens)} tokens; names are those of SAELens`,
    ['Site', 'Dictionary', 'kl_div_score', 'ce_loss_score', 'explained_variance', 'mse', 'cossim', 'l2_ratio', 'l0'],
    grouped(rows, (row) => row.site).map((group) => group.map(({ site, dictionary, metrics: { saelens } }) => [
      site, dictionary, score(saelens.model_behavior_preservation.kl_div_score, 3), score(saelens.model_performance_preservation.ce_loss_score, 3),
      score(saelens.reconstruction_quality.explained_variance, 3), score(saelens.reconstruction_quality.mse, 3), score(saelens.reconstruction_quality.cossim, 3),
      score(saelens.shrinkage.l2_ratio, 3), score(saelens.sparsity.l0, 2),
    ])), 2);
}

/** Every number of a chart. */
const TABLES: Record<string, (reproduction: Reproduction) => string> = {
  synthetic: ({ results }) => table('Known answers beside measured ones, means over sites, cross-sections and edits', ['Dictionary', 'Test', 'What', 'Known', 'Measured', 'Holds'],
    grouped(results.synthetic!.answers, (row) => row.dictionary).map((rows) => rows.map((row) => [
      row.dictionary.replace('synthetic ', ''), row.test, row.what, row.known, score(row.measured, 3), row.holds === null ? '–' : row.holds ? 'yes' : 'no',
    ])), 4),
  approximation: ({ results }) => table('Scores, and the mean logit differences that they compare',
    ['Cross-section', 'Dictionary', 'Sufficiency', 'Necessity', 'LD clean', 'LD mean-ablated', 'LD reconstructed', 'LD residual', 'Mean |change|'],
    grouped(results.tests!.approximation, (row) => row.crossSection).map((rows) => rows.map((row) => [
      row.crossSection, row.dictionary, score(row.sufficiency, 3), score(row.necessity, 3), score(row.logitDiffClean), score(row.logitDiffMeanAblated),
      score(row.logitDiffReconstructed), score(row.logitDiffResidual), score(row.meanAbsoluteChange),
    ])), 2),
  control: ({ results }) => editsTable('Edits by every method', results.tests!.control),
  checkpoints: ({ results }) => editsTable('Edits by the best of all checkpoints', results.checkpoints!.control),
  foretells: ({ results }) => table('Rank correlations with the distance of edits, over sites', ['Edit', 'Variant', 'With', 'Sites', 'Median', 'Mean', 'Least', 'Largest', 'Above 0.5'],
    grouped(results.checkpoints!.summaries, (row) => row.attribute).map((rows) => rows.flatMap(({ attribute, variant, l0, error, recovered }) => (
      [['L0', l0], ['squared error', error], ['|1 − recovered|', recovered]] as const).map(([what, own]) => [
      attribute, variant, what, own.sites, score(own.median), score(own.mean), score(own.min), score(own.max), percent(own.aboveHalf),
    ]))), 3),
  recovered: ({ results }) => table('Mean logit differences of single sites', ['Site', 'Dictionary', 'Clean', 'Mean-ablated', 'Reconstructed', 'Recovered'],
    grouped(results.recovered!.rows, (row) => row.site).map((rows) => rows.map((row) => [
      row.site, row.dictionary, score(row.logitDiffClean, 3), score(row.logitDiffMeanAblated, 3), score(row.logitDiffReconstructed, 3), score(row.recovered, 3),
    ])), 2),
  'greater-than': ({ results }) => editsTable('Edits of the year', results['greater-than']!.control),
};

function editsTable(caption: string, control: readonly ControlRow[]): string {
  return table(caption, ['Cross-section', 'Edit', 'Dictionary', 'k', 'Accuracy', 'No edit', 'Relative', 'Weight removed', 'Weight, relative', 'Distance'],
    grouped(control, (row) => `${row.crossSection} ${row.attribute}`).map((rows) => rows.map((row) => [
      row.crossSection, row.attribute, row.dictionary, row.k === 0 ? '–' : row.k, score(row.accuracy, 3), score(row.accuracyNoEdit, 3), score(row.accuracyRelative, 3),
      score(row.weightRemoved, 3), score(row.weightRelative, 3), score(row.distance, 3),
    ])), 3);
}
