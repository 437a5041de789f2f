/** The charts of a reproduction, a section each, for the stages that have results. */
import type { Reproduction, StageResults } from '../../reproduction/index.ts';
import type { Chart, Panel } from '../charts.ts';
import { groupBy, meanOf } from '../groups.ts';
import { legendOf, linesPanel, looksOf, namedPanel, scatterPanel, type NamedRow } from '../panels.ts';
import { score } from '../text.ts';
import { muted } from '../theme.ts';
import { accuracyPanels, checkpointsCharts, greaterThanChart, promptsChart, recoveredChart, swapsChart, syntheticChart, tradeOffChart, weightsChart } from './control-charts.ts';

type Tests = NonNullable<StageResults['tests']>;

/** All charts that there are results for, in reading order. */
export function reproductionCharts({ results }: Reproduction): Chart[] {
  const { tests, interpretability, geometry, parametrizations, checkpoints, probing, mechanism, occlusion } = results;
  const charts = [
    tests && approximationChart(tests), tests && promptsChart(tests), tests && controlChart(tests), tests && tradeOffChart(tests),
    tests && weightsChart(tests), tests && methodsChart(tests), tests && swapsChart(tests),
    results.recovered && recoveredChart(results.recovered), ...(checkpoints ? checkpointsCharts(checkpoints, tests) : []),
    results.synthetic && syntheticChart(results.synthetic), interpretability && interpretabilityChart(interpretability),
    results.causal && causalChart(results.causal), results.causal && patchingChart(results.causal),
    parametrizations && parametrizationsChart(parametrizations), geometry && geometryChart(geometry), probing && probingChart(probing),
    mechanism && mechanismChart(mechanism), occlusion && occlusionChart(occlusion), results['over-splitting'] && overSplittingChart(results['over-splitting']),
    results['over-splitting-toy'] && overSplittingToyChart(results['over-splitting-toy']), results['occlusion-toy'] && occlusionToyChart(results['occlusion-toy']),
    results['greater-than'] && greaterThanChart(results['greater-than']),
  ];
  return charts.filter((chart): chart is Chart => chart !== null && chart.panels.length > 0);
}

function approximationChart({ approximation }: Tests): Chart {
  const looks = looksOf(['sufficiency', 'necessity']);
  const panels = [...groupBy(approximation, (row) => row.crossSection)].map(([section, rows]): Panel => namedPanel({
    title: section, looks, rules: [{ x: 1 }], x: { title: 'Ratio of mean logit differences', domain: [-0.5, 1.5], format: '.1f' },
    rows: rows.flatMap((row): NamedRow[] => [
      { label: row.dictionary, series: 'sufficiency', value: row.sufficiency ?? Number.NaN }, { label: row.dictionary, series: 'necessity', value: row.necessity ?? Number.NaN },
    ]),
  }));
  return {
    id: 'approximation', title: 'Approximation: do reconstructions do the work of the activations?', legend: legendOf(looks), panels,
    reading: 'Sufficiency: the share of the model’s logit difference that is left when reconstructions replace the activations of a cross-section. Necessity: how much of it goes '
      + 'when only what the reconstructions miss is kept. Both are best at 1, the dashed line. Scores beyond the axis are drawn at its edge; the table has them all. '
      + '“Names” is the paper’s negative control among the supervised parametrizations, “frozen” the one among SAEs.',
  };
}

function controlChart({ control, task }: Tests): Chart {
  const rows = control.filter(({ method }) => method === 'agnostic' || method === 'supervised');
  const looks = looksOf([...new Set(rows.map(({ dictionary }) => dictionary))].filter((name) => !/^supervised ./.test(name)));
  return {
    id: 'control', title: 'Control: do edits of few features do what they should?', legend: [...legendOf(looks), { label: 'no edit', colour: muted, shape: 'dashed' }],
    panels: accuracyPanels(rows.filter(({ dictionary }) => looks.has(dictionary)), looks),
    reading: 'Height: the share of prompts where an edit gives the prediction that patching in the true counterfactual activations gives. To the right: the share of the original '
      + 'reconstruction that the edit took away. Best is the top left corner. A line goes through the numbers of features k that a greedy edit may change at each site; which SAE a '
      + `site uses was settled on other prompts. Sampling error of an accuracy is at most ±${score(1.96 * Math.sqrt(0.25 / Math.max(1, task.prompts)))} (95 %, ${task.prompts} prompts).`,
  };
}

const WAYS = ['agnostic', 'reconstruction', 'aware', 'threshold'] as const;

function methodsChart({ control }: Tests): Chart {
  const names: Record<(typeof WAYS)[number], string> = { agnostic: 'to the activation', reconstruction: 'to the reconstruction', aware: 'by interpretations', threshold: 'by weights' };
  const looks = looksOf(WAYS.map((way) => names[way]));
  const rows = control.filter((row) => WAYS.some((way) => way === row.method));
  const least = Math.min(...rows.filter(({ method }) => method === 'agnostic').map(({ k }) => k));
  const panels = [...groupBy(rows.filter((row) => row.k === 0 || row.k === 2 * least), (row) => `${row.crossSection}: edit ${row.attribute}`)].map(([title, own]): Panel => namedPanel({
    title, looks, rules: [{ x: own[0]!.accuracyNoEdit }], x: { title: 'Edit accuracy (share)', domain: [0, 1], format: '.1f' },
    rows: own.map((row) => ({ label: row.dictionary.split(',')[0]!, series: names[row.method as (typeof WAYS)[number]], value: row.accuracy })),
  }));
  return {
    id: 'methods', title: `Ways of choosing the features of an edit, k = ${2 * least}`, legend: legendOf(looks), panels,
    reading: 'The same edits with features chosen greedily towards the counterfactual activation or its reconstruction, by which features best tell the old and the new value (half of k '
      + 'go, half come), or by a weight above 0.1 in one of the two prompts alone (as many as there are). The dashed line is no edit.',
  };
}

function interpretabilityChart({ rows, prompts }: NonNullable<StageResults['interpretability']>): Chart {
  const looks = looksOf(['F1 ≥ 0.5', 'F1 ≥ 0.8']);
  const named = [...groupBy(rows, (row) => row.dictionary)].flatMap(([dictionary, own]): NamedRow[] => (['0.5', '0.8'] as const).map((level) => ({
    label: dictionary, series: `F1 ≥ ${level}`, value: own.reduce((sum, row) => sum + row.interpretable[level], 0) / Math.max(1, own.reduce((sum, row) => sum + row.alive, 0)),
  })));
  const ofSaes = rows.filter(({ dictionary }) => dictionary !== 'supervised');
  const kinds = [...groupBy(ofSaes.flatMap((row) => Object.entries(row.byProperty).map(([kind, levels]) => ({ kind, count: levels['0.5'] }))), (row) => row.kind)]
    .map(([kind, own]) => ({ kind, own, count: own.reduce((sum, { count }) => sum + count, 0) })).sort((a, b) => b.count - a.count).slice(0, 12);
  const all = looksOf(['features']);
  return {
    id: 'interpretability', title: 'Interpretability: which property does a feature stand for?', legend: legendOf(looks), wide: true,
    reading: `A feature is a detector of the property with the highest F1 between “it is active” and “the property holds” over ${prompts} prompts: values of attributes, of attributes with `
      + 'position, and unions of up to ten values. Left: share of alive features, over all sites. Right: what the features with an F1 of at least 0.5 stand for, over all SAEs.',
    panels: [
      namedPanel({ title: 'Alive features with an interpretation', looks, rows: named, x: { title: 'Share of alive features', domain: [0, 1], format: '.1f' } }),
      namedPanel({ title: 'Kinds of properties', looks: all, bars: true, rows: kinds.map(({ kind, count }) => ({ label: kind, series: 'features', value: count })), x: { title: 'Features with F1 ≥ 0.5' } }),
    ],
  };
}

function causalChart({ approximation: rows, prompts }: NonNullable<StageResults['causal']>): Chart {
  const looks = looksOf(['', ...new Set(rows.map(({ dictionary }) => dictionary))]);
  looks.delete('');
  const panels = [...groupBy(rows, (row) => row.crossSection)].flatMap(([section, own]): Panel[] => ([['sufficiency', 'Sufficiency'], ['necessity', 'Necessity']] as const).map(([field, title]) => linesPanel({
    title: `${section}: ${field}`, looks, rules: [{ y: 1 }], x: { title: 'Least F1 of an interpretation', domain: [0, 1], format: '.1f' }, y: { title, domain: [-0.5, 1.5], format: '.1f' }, height: 150,
    points: own.map((row) => ({ x: row.threshold, y: row[field] ?? Number.NaN, series: row.dictionary })),
  })));
  return {
    id: 'causal', title: 'Are interpretations causal? Features kept or taken away by their F1', legend: legendOf(looks), panels, wide: true,
    reading: `Sufficiency: features whose best F1 lies below the threshold are taken away, the others and the reconstruction’s error stay. Necessity: those at or above it are taken away. Normalised as `
      + `in the test of approximation. If what can be interpreted does the work, both stay high up to a high threshold. ${prompts} prompts.`,
  };
}

function patchingChart({ patches, prompts }: NonNullable<StageResults['causal']>): Chart {
  const looks = looksOf(['', ...new Set(patches.map(({ dictionary }) => dictionary))]);
  looks.delete('');
  const panels = [...groupBy(patches, (row) => `${row.crossSection}, ${row.attribute}`)].flatMap(([where, own]): Panel[] => (['faithfulness', 'completeness'] as const).map((field) => linesPanel({
    title: `${where}: ${field}`, looks, x: { title: 'Least F1 of an interpretation', domain: [0, 1], format: '.1f' }, y: { title: 'Share of prompts', domain: [0, 1.02], format: '.1f' }, height: 150,
    points: own.map((row) => ({ x: row.threshold, y: row[field] ?? Number.NaN, series: row.dictionary })),
  })));
  return {
    id: 'patching', title: 'Counterfactual feature patching', legend: legendOf(looks), panels, wide: true,
    reading: 'Faithfulness: features that reach the threshold take their codes from the counterfactual prompt; does the model predict that prompt’s answer? Completeness: all '
      + `other features do; does the prediction stay? ${prompts} prompts.`,
  };
}

function parametrizationsChart({ explained, coupling }: NonNullable<StageResults['parametrizations']>): Chart {
  const byReference = explained.filter(({ by }) => by === 'supervised');
  const looks = looksOf(['variance explained']);
  const cosines = looksOf(['cosine']);
  return {
    id: 'parametrizations', title: 'Supervised dictionaries by parametrization', legend: [], wide: true,
    reading: 'Left: how much of the variance of each supervised dictionary’s reconstruction the main one (mean codes of independent attributes) explains, mean and range over sites. '
      + 'Right: cosine between the difference of coupled codes (IO, Pos) or (S, Pos) in Pos and the difference of the codes of Pos, mean over values, by site; 1 where coupled codes are sums.',
    panels: [
      namedPanel({
        title: 'Explained by mean, independent codes', looks, x: { title: 'Share of variance', domain: [-1, 1], format: '.1f' },
        rows: [...groupBy(byReference, (row) => row.reconstruction)].map(([label, own]) => {
          const values = own.flatMap(({ varianceExplained }) => varianceExplained ?? []);
          return { label: label.replace('supervised ', ''), series: 'variance explained', value: meanOf(values), whiskers: [Math.min(...values), Math.max(...values)] as const };
        }),
      }),
      namedPanel({
        title: 'Coupled codes against codes of Pos', looks: cosines, x: { title: 'Mean cosine', domain: [-1, 1], format: '.1f' },
        rows: coupling.map((row) => ({ label: `${row.site} ${row.attribute}`, series: 'cosine', value: row.meanCosine ?? Number.NaN })),
      }),
    ],
  };
}

function geometryChart({ rows }: NonNullable<StageResults['geometry']>): Chart {
  const looks = looksOf([...new Set(rows.map(({ attribute }) => attribute))]);
  const panel = (title: string, field: 'meanMaxCosine' | 'meanMaxCosineOfCodes') => namedPanel({
    title, looks, rules: [{ x: rows[0]?.randomCosine ?? 0 }], x: { title: 'Mean over sites of the mean largest cosine', domain: [0, 1], format: '.1f' },
    rows: [...groupBy(rows, (row) => `${row.dictionary}|${row.attribute}`)].map(([key, own]) => ({ label: key.split('|')[0]!, series: key.split('|')[1]!, value: meanOf(own.map((row) => row[field])) })),
  });
  return {
    id: 'geometry', title: 'Do features point along supervised ones?', legend: legendOf(looks), wide: true,
    panels: [panel('Features, by their nearest code', 'meanMaxCosine'), panel('Codes, by their nearest feature', 'meanMaxCosineOfCodes')],
    reading: 'Left: the mean over an SAE’s features of the largest cosine with a supervised code of an attribute. Right: the other way round. The dashed line is what two random directions have.',
  };
}

function probingChart({ edits }: NonNullable<StageResults['probing']>): Chart {
  const looks = looksOf(['edited attribute: new value read', 'others: old value kept']);
  const panels = [...groupBy(edits, (row) => row.edited)].map(([edited, own]): Panel => namedPanel({
    title: `Edit ${edited}`, looks, x: { title: 'Share of prompts, mean over sites', domain: [0, 1], format: '.1f' },
    rows: [...groupBy(own, (row) => `${row.dictionary}, k = ${row.k}`)].flatMap(([label, rows]): NamedRow[] => [
      { label, series: 'edited attribute: new value read', value: meanOf(rows.filter(({ probed }) => edited.split('+').includes(probed)).map(({ accuracyAfter }) => accuracyAfter)) },
      { label, series: 'others: old value kept', value: meanOf(rows.filter(({ probed }) => !edited.split('+').includes(probed)).map(({ accuracyAfter }) => accuracyAfter)) },
    ]),
  }));
  return {
    id: 'probing', title: 'Probes read edited activations', legend: legendOf(looks), panels,
    reading: 'Linear probes of each attribute, trained on clean activations, read activations that were edited in one attribute. A clean edit makes the probe of that attribute read the new '
      + 'value and leaves the others as they were. An attribute that a site does not carry cannot be read there at all, which lowers the second mark.',
  };
}

function mechanismChart({ attention, composition }: NonNullable<StageResults['mechanism']>): Chart {
  const looks = looksOf(['contribution']);
  const box = (row: { contribution: { median: number; quartile1: number; quartile3: number; percentile5: number; percentile95: number } }, label: string): NamedRow => ({
    label, series: 'contribution', value: row.contribution.median, box: [row.contribution.quartile1, row.contribution.quartile3], whiskers: [row.contribution.percentile5, row.contribution.percentile95],
  });
  const scores = [...groupBy(attention.pairs, (row) => `${row.head}: ${row.queryPosition} to ${row.keyPosition}`)].map(([title, own]): Panel => namedPanel({
    title, looks, rules: [{ x: 0 }], x: { title: 'Part of the attention score' },
    rows: [...own].sort((a, b) => b.contribution.meanAbsolute - a.contribution.meanAbsolute).slice(0, 8).map((row) => box(row, `${row.query} × ${row.key}`)),
  }));
  const inputs = [...groupBy(composition.rows, (row) => `${row.head}: what its ${row.kind} at ${row.position} is made of`)].map(([title, own]): Panel => namedPanel({
    title, looks, rules: [{ x: 0 }], x: { title: 'Share of the deviation from the mean' },
    rows: [...own].sort((a, b) => b.share.meanAbsolute - a.share.meanAbsolute).slice(0, 10).map((row) => box({ contribution: row.share }, `${row.component}${row.term ? ` ${row.term}` : ''}`)),
  }));
  const gap = Math.max(0, ...attention.scores.map(({ closure }) => closure), ...composition.closures.map(({ closure }) => closure));
  return {
    id: 'mechanism', title: 'Mechanism: attention scores and heads’ inputs taken apart', legend: [], wide: true, panels: [...scores, ...inputs],
    reading: 'A score is a sum over pairs of terms of the query and of the key: the mean, the attributes’ codes, the error. The eight largest pairs, with median, middle half and 5th to 95th '
      + `percentile over prompts. Below: how much of a query’s deviation from its mean each earlier component makes. All terms together give the exact value, but for ${gap.toExponential(1)} at most.`,
  };
}

function occlusionChart({ sweep, alpha, site, attributes, threshold, occluding }: NonNullable<StageResults['occlusion']>): Chart {
  const names = attributes.map(({ name }) => name);
  const looks = looksOf(names);
  const y = { title: `Values told with F1 ≥ ${threshold}`, domain: [0, 1] as const, format: '.1f' };
  return {
    id: 'occlusion', title: `Occlusion at ${site}`, legend: legendOf(looks),
    reading: `Of how many values of an attribute does some feature tell? Codes have mean lengths of ${attributes.map(({ name, norm }) => `${score(norm.mean)} (${name})`).join(' and ')}. `
      + `Last: a share α of each prompt’s code of ${occluding} is taken away before training. Where one attribute hides the other, its count falls and the other’s rises.`,
    panels: [
      ...[...groupBy(sweep, ({ features }) => `${features} features`)].map(([title, own]) => linesPanel({
        title, looks, x: { title: 'λ', log: true }, y, points: own.flatMap((row) => names.map((series) => ({ x: row.lambda, y: row.coverage[series]!.share, series }))),
      })),
      linesPanel({
        title: `Against the share of ${occluding} taken away`, looks, x: { title: 'α', domain: [0, 1] }, y,
        points: alpha.flatMap((row) => names.map((series) => ({ x: row.alpha, y: row.coverage[series]!.share, series }))),
      }),
    ],
  };
}

function overSplittingChart({ comparisons, dictionaries, site, attribute }: NonNullable<StageResults['over-splitting']>): Chart {
  const looks = looksOf(['measured', 'permuted']);
  const panel = (title: string, field: 'cosine' | 'jaccard', baseline: 'cosineBaseline' | 'jaccardBaseline') => namedPanel({
    title, looks, x: { title: field === 'cosine' ? 'Mean largest |cosine|' : 'Mean largest Jaccard index', domain: [0, 1], format: '.1f' },
    rows: comparisons.flatMap((row): NamedRow[] => [
      { label: `${row.kind}: ${row.value}`, series: 'measured', value: row[field] ?? Number.NaN }, { label: `${row.kind}: ${row.value}`, series: 'permuted', value: row[baseline] ?? Number.NaN },
    ]),
  });
  const counts = looksOf(['features']);
  return {
    id: 'over-splitting', title: `Over-splitting of ${attribute} at ${site}`, legend: legendOf(looks),
    reading: 'Features that belong to one value of an attribute, of SAEs from other initial weights (seed) or other prompts (dataset): are they the same ones? Against permuted directions and '
      + 'permuted prompts. Where there is no mark, one of the two has no such feature.',
    panels: [
      namedPanel({
        title: 'Features that each value is split into', looks: counts, bars: true, x: { title: 'Features' },
        rows: dictionaries.flatMap((own) => own.splits.map(({ value, features }) => ({ label: `data ${own.dataset}, seed ${own.seed}: ${value}`, series: 'features', value: features }))),
      }),
      panel('Directions', 'cosine', 'cosineBaseline'), panel('Where they are active', 'jaccard', 'jaccardBaseline'),
    ],
  };
}

function overSplittingToyChart({ families, twoFeatures, wide }: NonNullable<StageResults['over-splitting-toy']>): Chart {
  const looks = looksOf(['ideal, 2 features', `random, ${families.features} features`]);
  const [ideal, random] = [...looks.keys()] as [string, string];
  const trained = looksOf(['two features', 'many features']);
  return {
    id: 'over-splitting-toy', title: 'Toy model of over-splitting: x = ±μ + noise', legend: legendOf(looks),
    reading: 'Left: by how much the best of two ideal features, and of many random ones, lowers the loss below that of a dictionary that never speaks, on the same samples. Random features beat '
      + 'the true ones at every λ: the loss itself asks for splitting. Middle: two trained features find ±μ where λ is neither small nor large. Right: trained wide dictionaries keep many features.',
    panels: [
      linesPanel({
        title: 'Gain in loss (log scale)', looks, x: { title: 'λ' }, y: { title: 'Gain', log: true, format: '~g' },
        points: families.rows.flatMap((row) => [{ x: row.lambda, y: row.idealGain, series: ideal }, { x: row.lambda, y: row.randomGain, series: random }]),
      }),
      linesPanel({
        title: 'Two trained features', looks: trained, x: { title: 'λ' }, y: { title: 'Cosine with ±μ (worse one)', domain: [-1, 1] },
        points: twoFeatures.flatMap((row) => (row.cosine === null ? [] : [{ x: row.lambda, y: row.cosine, series: 'two features' }])),
      }),
      linesPanel({
        title: 'Many trained features', looks: trained, x: { title: 'λ' }, y: { title: 'Features in use', domain: [0, Math.max(1, ...wide.map(({ activeOften }) => activeOften))] },
        points: wide.map((row) => ({ x: row.lambda, y: row.activeOften, series: 'many features' })),
      }),
    ],
  };
}

function occlusionToyChart({ rows, lengths, threshold, highAtLeastLow }: NonNullable<StageResults['occlusion-toy']>): Chart {
  const looks = looksOf([...new Set(rows.map(({ features }) => `${features} features`))]);
  return {
    id: 'occlusion-toy', title: 'Toy model of occlusion: long features hide short ones', legend: legendOf(looks),
    reading: `Activations are sums of one long and one short feature, of mean lengths ${score(lengths.high)} and ${score(lengths.low)}. Each mark is a trained SAE: the share of the short and of the `
      + `long features that some feature tells with an F1 of at least ${threshold}. On or above the diagonal in ${score(100 * highAtLeastLow, 0)} % of runs.`,
    panels: [scatterPanel({
      title: 'Coverage of long against short features', looks, x: { title: 'Short features covered (share)', domain: [0, 1] }, y: { title: 'Long features covered (share)', domain: [0, 1] },
      points: rows.map((row) => ({
        x: row.low, y: row.high, series: `${row.features} features`, tip: `${row.features} features, λ = ${row.lambda}, rate ${row.learningRate}: short ${score(row.low)}, long ${score(row.high)}`,
      })),
    })],
  };
}
