/** Charts of how prompts differ, of what edits take away, and of all checkpoints of the sweep. */
import { quantile, tradeOffCurves, type ControlRow, type TradeOffCurve } from '../../evaluation/index.ts';
import type { StageResults } from '../../reproduction/index.ts';
import type { Chart, Panel } from '../charts.ts';
import { groupBy } from '../groups.ts';
import { legendOf, linesPanel, looksOf, namedPanel, type Looks, type NamedRow } from '../panels.ts';
import { percent, score } from '../text.ts';

type Tests = NonNullable<StageResults['tests']>;
type Checkpoints = NonNullable<StageResults['checkpoints']>;
type Distribution = NonNullable<Tests['approximation'][number]['change']>;

/** A box of the middle half around the median, whiskers to the 5th and 95th percentile; nothing where there are no numbers. */
function boxOf(label: string, series: string, { quantiles: q, count }: Distribution): NamedRow[] {
  const [low, from, value, to, high] = [q['0.05'], q['0.25'], q['0.5'], q['0.75'], q['0.95']];
  if (low === null || from === null || value === null || to === null || high === null) return [];
  return [{ label, series, value, whiskers: [low, high], box: [from, to], tip: `${label}: median ${score(value, 3)}, middle half ${score(from, 3)} to ${score(to, 3)}, of ${count} prompts` }];
}

/** Median and range of some values; nothing where there are none. */
function spreadOf(label: string, series: string, values: readonly (number | null)[], text: (value: number) => string = score): NamedRow[] {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  const [low, high, value] = [known[0], known.at(-1), quantile(known, 0.5)];
  if (low === undefined || high === undefined || value === null) return [];
  return [{ label, series, value, text: text(value), whiskers: [low, high], tip: `${label}: median ${text(value)}, from ${text(low)} to ${text(high)}, at ${known.length} sites` }];
}

export function promptsChart({ approximation }: Tests): Chart {
  const looks = looksOf(['median and spread']);
  const panels = [...groupBy(approximation.filter(({ change }) => change), (row) => row.crossSection)].map(([title, rows]): Panel => namedPanel({
    title, looks, x: { title: '|logit difference patched − clean|' }, rows: rows.flatMap((row) => boxOf(row.dictionary, 'median and spread', row.change!)),
  }));
  return {
    id: 'prompts', title: 'Approximation, prompt by prompt', legend: legendOf(looks), panels,
    reading: 'A ratio of means can hide errors that cancel. Here is by how much reconstructions change the logit difference of single prompts: the mark is the median, the thick line the middle '
      + 'half, the thin one the middle nine tenths.',
  };
}

type Rows = readonly ControlRow[];

/** A panel for each cross-section and edit, a line for each dictionary through its numbers of features: accuracy against weight removed, with the accuracy of no edit dashed. */
export function accuracyPanels(rows: Rows, looks: Looks): Panel[] {
  return curvesByEdit(rows).map(([title, curves, own]) => linesPanel({
    title, looks, rules: [{ y: own[0]!.accuracyNoEdit }], x: { title: 'Weight removed (share)', domain: [0, 1.1], format: '.1f' }, y: { title: 'Edit accuracy (share)', domain: [0, 1.02], format: '.1f' },
    points: curves.flatMap(({ dictionary, points }) => points.flatMap(({ k, accuracy, weightRemoved }) => (weightRemoved === null ? [] : [{
      x: weightRemoved, y: accuracy, series: dictionary, tip: `${dictionary}, k = ${k}: accuracy ${score(accuracy, 3)}, weight removed ${score(weightRemoved, 3)}`,
    }]))),
  }));
}

function curvesByEdit(rows: Rows): [title: string, curves: TradeOffCurve[], rows: Rows][] {
  return [...groupBy(rows, (row) => `${row.crossSection}: edit ${row.attribute}`)].map(([title, own]) => [title, tradeOffCurves(own), own]);
}

export function tradeOffChart({ control }: Tests): Chart {
  const rows = control.filter(({ method, dictionary }) => method === 'agnostic' || dictionary === 'supervised');
  const looks = looksOf(rows.map(({ dictionary }) => dictionary));
  const panels = curvesByEdit(rows).flatMap(([title, curves]): Panel[] => {
    const points = curves.flatMap(({ dictionary, points: own }) => own.flatMap(({ k, weightRelative, accuracyRelativeClipped }) => (weightRelative === null || accuracyRelativeClipped == null ? [] : [{
      x: weightRelative, y: accuracyRelativeClipped, series: dictionary,
      tip: `${dictionary}, k = ${k}: accuracy ${score(accuracyRelativeClipped, 3)}, weight removed ${score(weightRelative, 3)} on the paper’s scale`,
    }])));
    return points.length === 0 ? [] : [linesPanel({
      title, looks, points, rules: [{ y: 1 }, { x: 0 }],
      x: { title: 'Weight removed (0 supervised, 1 everything)', domain: [Math.max(-5, Math.min(-1, ...points.map(({ x }) => Math.floor(x)))), 1], format: '~g' },
      y: { title: 'Accuracy (0 no edit, 1 supervised)', domain: [0, 2], format: '.1f' },
    })];
  });
  return {
    id: 'trade-off', title: 'Accuracy against weight removed, on the paper’s scale', legend: legendOf(looks), panels,
    reading: 'As in figure 4 of arXiv 2405.08366: the supervised edit stands at (0, 1), where the dashed lines cross, no edit at height 0, and removing everything at the right end. An SAE whose line '
      + 'comes near the crossing edits as well, and as sparingly, as supervised features. Accuracies are clipped to [0, 2], weights at −5; an edit without any effect to compare with is left out.',
  };
}

export function weightsChart({ control, weights }: Tests): Chart {
  const looks = looksOf(['median and spread']);
  const rows = control.filter(({ method, weightNormalised }) => method === 'agnostic' && weightNormalised && weightNormalised.count > 0);
  const k = Math.min(...rows.map((row) => row.k));
  const panels = [...groupBy(rows.filter((row) => row.k === k), (row) => `${row.crossSection}: edit ${row.attribute}`)].map(([title, own]): Panel => namedPanel({
    title, looks, rules: [{ x: 0 }], x: { title: 'Normalised weight removed', domain: [-5, 1.5], format: '.1f' }, rows: own.flatMap((row) => boxOf(row.dictionary, 'median and spread', row.weightNormalised!)),
  }));
  const shares = ([['negative', 'Weights below 0'], ['aboveOne', 'Weights above 1']] as const).map(([field, title]): Panel => namedPanel({
    title, looks, x: { title: 'Share of the weights of active features', format: '.0%' },
    rows: [...groupBy(weights, (row) => row.dictionary)].flatMap(([dictionary, own]) => (
      spreadOf(dictionary.replace('supervised m', 'm'), 'median and spread', own.map((row) => row[field]), (value) => percent(value, 1))
    )),
  }));
  return {
    id: 'weights', title: `How much edits take away, prompt by prompt, k = ${k}`, legend: legendOf(looks), panels: [...panels, ...shares],
    reading: 'The same scale for every prompt by itself: 0 is what the supervised edit removes, 1 everything. Mean over the sites of a cross-section, clipped below at −5 (figure 22 of the paper). Last: '
      + 'how many features work against the reconstruction that they are part of, and how many are more than all of it; median and range over sites.',
  };
}

/** How the best of all checkpoints compares with the last epoch's; what L0 and the logit difference kept say about edits; and how the two go together. */
export function checkpointsCharts({ control, summaries, tradeOffs, k }: Checkpoints, tests: Tests | null): Chart[] {
  const pools = looksOf(['last epoch', 'best checkpoint']);
  const of = (rows: Rows, series: string) => rows.filter((row) => row.k === k && (row.method === 'agnostic' || row.method === 'aware')).map((row) => ({ row, series }));
  const both = [...of(tests?.control ?? [], 'last epoch'), ...of(control, 'best checkpoint')];
  const best: Chart = {
    id: 'checkpoints', title: `The best of all checkpoints, k = ${k}`, legend: legendOf(pools),
    panels: [...groupBy(both, ({ row }) => `${row.crossSection}: edit ${row.attribute}`)].map(([title, own]) => namedPanel({
      title, looks: pools, rules: [{ x: own[0]!.row.accuracyNoEdit }], x: { title: 'Edit accuracy (share)', domain: [0, 1], format: '.1f' },
      rows: own.map(({ row, series }) => ({ label: row.dictionary, series, value: row.accuracy })),
    })),
    reading: 'Each site uses one SAE of a kind, settled on other prompts: of the last epoch, as in the tests above, or of all sparsities and epochs that were kept '
      + 'the one whose edits come closest to the counterfactual activation. The dashed line is no edit.',
  };
  const guides = looksOf(['L0', 'squared error', '|1 − logit difference recovered|']);
  const foretells: Chart = {
    id: 'foretells', title: `What foretells control, k = ${k}?`, legend: legendOf(guides),
    panels: [...groupBy(summaries, (row) => row.attribute)].map(([attribute, own]) => namedPanel({
      title: `Edit ${attribute}`, looks: guides, rules: [{ x: 0 }], x: { title: 'Rank correlation with the distance of edits', domain: [-1, 1], format: '.1f' },
      rows: own.flatMap((row): NamedRow[] => ([['l0', 'L0'], ['error', 'squared error'], ['recovered', '|1 − logit difference recovered|']] as const).flatMap(([field, series]) => {
        const { median, min, max, sites } = row[field];
        return median === null || min === null || max === null ? [] : [{
          label: row.variant, series, value: median, whiskers: [min, max] as const, tip: `${row.variant}, ${series}: median ${score(median)} over ${sites} sites, from ${score(min)} to ${score(max)}`,
        }];
      })),
    })),
    reading: 'Over all sparsities and checkpoints of a kind of SAE at a site: does a smaller L0, a smaller error of reconstructions, or a logit difference that is kept, go with edits that come closer to '
      + 'the counterfactual activation? Median and range over sites. The paper compares L0 and the logit difference and finds L0 the better guide, with 56 SAEs a site; few SAEs give coarse correlations.',
  };
  const kinds = looksOf(tradeOffs.map(({ variant }) => variant));
  const most = Math.max(1, ...tradeOffs.map(({ l0 }) => l0));
  const plane: Chart = {
    id: 'sparsity', title: 'Sparsity against the logit difference kept, site by site', legend: legendOf(kinds),
    panels: [...groupBy(tradeOffs.filter(({ recovered }) => recovered !== null), (row) => row.site)].slice(0, MOST_SITES).map(([title, own]) => linesPanel({
      title, looks: kinds, join: false, rules: [{ y: 1 }], x: { title: 'Active features (L0)', domain: [0, Math.ceil(most)], format: '.0f' },
      y: { title: 'Logit difference recovered', domain: [-0.5, 1.5], format: '.1f' },
      points: own.map((row) => ({ x: row.l0, y: row.recovered!, series: row.variant, tip: `${row.dictionary}: ${score(row.l0, 1)} active, ${score(row.recovered, 3)} recovered` })),
    })),
    reading: 'What SAEs are chosen by in the arXiv version: few active features (below 25) and a logit difference near the clean one when the site alone is reconstructed. One mark a checkpoint'
      + `${new Set(tradeOffs.map(({ site }) => site)).size > MOST_SITES ? `; ${MOST_SITES} sites are drawn, the results have all` : ''}.`,
  };
  return [best, foretells, plane];
}

/** Synthetic dictionaries beside the supervised one that they are made of. */
export function syntheticChart({ control, prompts }: NonNullable<StageResults['synthetic']>): Chart {
  const looks = looksOf(control.map(({ dictionary }) => dictionary));
  return {
    id: 'synthetic', title: 'Dictionaries with known answers', legend: legendOf(looks), wide: false,
    panels: accuracyPanels(control, looks),
    reading: 'Made of the supervised codes and known beforehand: a feature for each gender beside those of names; features for overlapping sets of names; one feature for every combination of values. '
      + `All approximate as the supervised dictionary does; edits take a feature more, several, or the whole reconstruction. The tests have to say so (${prompts} prompts).`,
  };
}

/** Supervised codes swapped in every way, by parametrization and method of fitting. */
export function swapsChart({ control }: Tests): Chart {
  const rows = control.filter(({ method }) => method === 'supervised').map((row) => {
    const [dictionary, way = 'arithmetic'] = row.dictionary.split(' by ') as [string, string?];
    return { row, label: dictionary === 'supervised' ? 'mean independent' : dictionary.replace('supervised ', ''), way };
  });
  const looks = looksOf(rows.map(({ way }) => way));
  return {
    id: 'swaps', title: 'Ways of swapping supervised codes', legend: legendOf(looks),
    panels: [...groupBy(rows, ({ row }) => `${row.crossSection}: edit ${row.attribute}`)].map(([title, own]) => namedPanel({
      title, looks, rules: [{ x: own[0]!.row.accuracyNoEdit }], x: { title: 'Edit accuracy (share)', domain: [0, 1], format: '.1f' },
      rows: own.map(({ row, label, way }) => ({ label, series: way, value: row.accuracy })),
    })),
    reading: 'Arithmetic takes the old value’s code away and adds the new one’s. Ablation takes away all that points along the old code, down to zero or to the mean, before the new code is added. '
      + 'For every parametrization and both ways of fitting codes; the dashed line is no edit.',
  };
}

/** What is left of each site’s own effect when reconstructions replace it. */
export function recoveredChart({ rows }: NonNullable<StageResults['recovered']>): Chart {
  const looks = looksOf(['median and range over sites']);
  const missing = rows.filter(({ recovered }) => recovered === null).length;
  return {
    id: 'recovered', title: 'Logit difference recovered at single sites', legend: legendOf(looks), wide: true,
    panels: [namedPanel({
      title: 'Each site patched alone', looks, rules: [{ x: 1 }], x: { title: 'Logit difference recovered', domain: [-0.5, 1.5], format: '.1f' },
      rows: [...groupBy(rows, (row) => row.dictionary)].flatMap(([dictionary, own]) => spreadOf(dictionary, 'median and range over sites', own.map((row) => row.recovered))),
    })],
    reading: 'The distance between the logit difference with the reconstruction and with the mean in its place, as a share of the distance between the clean one and that with the mean; best 1.'
      + `${missing > 0 ? ` Left out where the mean changes too little to divide by (${missing} of ${rows.length}).` : ''}`,
  };
}

/** The second task: control by its supervised codes and its own SAEs, and how much their reconstructions keep. */
export function greaterThanChart({ approximation, control, prompts }: NonNullable<StageResults['greater-than']>): Chart {
  const looks = looksOf(control.map(({ dictionary }) => dictionary));
  const scores = looksOf(['sufficiency', 'necessity']);
  return {
    id: 'greater-than', title: 'The greater-than task', legend: legendOf(looks),
    panels: [...accuracyPanels(control, looks), ...[...groupBy(approximation, (row) => row.crossSection)].map(([title, own]) => namedPanel({
      title: `${title}: approximation (● sufficiency, ■ necessity)`, looks: scores, rules: [{ x: 1 }], x: { title: 'Ratio of mean metrics', domain: [-0.5, 1.5], format: '.1f' },
      rows: own.flatMap((row): NamedRow[] => (['sufficiency', 'necessity'] as const).map((series) => ({ label: row.dictionary, series, value: row[series] ?? Number.NaN }))),
    }))],
    reading: 'A century is given and the first year of a span; later years should be likely. Edits of the year, at all heads of the published '
      + `cross-section at once (${prompts} prompts). The dashed line of accuracy is no edit.`,
  };
}

const MOST_SITES = 9;
