/** Tables and lists of the report. */
import type { Results } from '../evaluation/index.ts';
import { grouped } from './groups.ts';
import { seriesOf } from './series.ts';
import { attributes, range, summary } from './summary.ts';
import { bytes, escapeHtml, integer, percent, score, seconds, short } from './text.ts';

type Cell = string | number;

/** An HTML table in a box that scrolls sideways; the first `labels` columns are text, the others numbers. All cells are escaped. */
export function table(caption: string, head: string[], groups: Cell[][][], labels: number): string {
  const row = (cells: Cell[]) => `<tr>${cells.map((cell, index) => {
    const text = escapeHtml(String(cell));
    return index === 0 ? `<th scope="row">${text}</th>` : index < labels ? `<td class="text">${text}</td>` : `<td>${text}</td>`;
  }).join('')}</tr>`;
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(caption)}"><table><caption>${escapeHtml(caption)}</caption>
<thead><tr>${head.map((title, index) => `<th scope="col"${index < labels ? ' class="text"' : ''}>${escapeHtml(title)}</th>`).join('')}</tr></thead>
${groups.map((rows) => `<tbody class="group">${rows.map(row).join('\n')}</tbody>`).join('\n')}</table></div>`;
}

/** One row a cross-section and variant; an SAE variant's dictionaries of several λ are a range. */
export function summaryTable(results: Results): string {
  const edited = attributes(results);
  const { variantOf } = seriesOf(results);
  const groups = grouped(summary(results), (row) => row.crossSection).map((rows) => {
    const { crossSection } = rows[0]!;
    const noEdit = edited.map((attribute) => score(results.tests.control.find((row) => row.crossSection === crossSection && row.attribute === attribute)?.accuracyNoEdit));
    return [
      ...grouped(rows, (row) => variantOf(row.dictionary)).map((own): Cell[] => {
        const scores = own.flatMap((row) => row.approximation ?? []);
        const edits = own.find((row) => row.control.size)?.control;
        const explained = own.flatMap((row) => row.interpretability ?? []);
        return [
          crossSection, variantOf(own[0]!.dictionary), range(scores.map((row) => score(row.sufficiency))), range(scores.map((row) => score(row.necessity))),
          ...edited.map((attribute) => range((edits?.get(attribute) ?? []).map((row) => score(row.accuracy)))),
          range(explained.map((sum) => percent(sum.alive ? sum.interpretable['0.8'] / sum.alive : null))),
        ];
      }),
      ...(edited.length ? [[crossSection, 'no edit', '', '', ...noEdit, '']] : []),
    ];
  });
  return table(
    'Scores by cross-section and kind of dictionary',
    ['Cross-section', 'Dictionary', 'Sufficiency', 'Necessity', ...edited.map((attribute) => `Edit ${attribute}`), 'F1 ≥ 0.8'], groups, 2,
  );
}

export function approximationTable(results: Results): string {
  return table(
    'Approximation: scores and the mean logit differences (LD) that they compare',
    ['Cross-section', 'Dictionary', 'Sufficiency', 'Necessity', 'LD clean', 'LD mean-ablated', 'LD reconstructed', 'LD residual', 'Mean |change|', 'Note'],
    grouped(results.tests.approximation, (row) => row.crossSection).map((rows) => rows.map((row) => [
      row.crossSection, row.dictionary, score(row.sufficiency, 3), score(row.necessity, 3), score(row.logitDiffClean, 3), score(row.logitDiffMeanAblated, 3),
      score(row.logitDiffReconstructed, 3), score(row.logitDiffResidual, 3), score(row.meanAbsoluteChange, 3), row.note ?? '',
    ])), 2,
  );
}

export function controlTable(results: Results): string {
  return table(
    'Control: edits, their accuracy and cost',
    ['Cross-section', 'Edit', 'Dictionary', 'k', 'Accuracy', 'No edit', 'Relative to supervised', 'Weight removed', 'Distance', 'Distance, no edit', 'LD', 'LD, true patch'],
    grouped(results.tests.control, (row) => JSON.stringify([row.crossSection, row.attribute])).map((rows) => rows.map((row) => [
      row.crossSection, row.attribute, row.dictionary, row.k, score(row.accuracy, 3), score(row.accuracyNoEdit, 3), score(row.accuracyRelative, 3),
      score(row.weightRemoved, 3), score(row.distance, 3), score(row.distanceNoEdit, 3), score(row.logitDiff), score(row.logitDiffGroundTruth),
    ])), 3,
  );
}

export function weightTable(results: Results): string {
  if (results.tests.weights.length === 0) return '';
  return table(
    'Weights of active features in their reconstruction',
    ['Site', 'Dictionary', 'Weights', 'Negative', 'Mean of negative', 'Above 1', 'Mean sum'],
    grouped(results.tests.weights, (row) => row.site).map((rows) => rows.map((row) => [
      row.site, row.dictionary, integer(row.weights), percent(row.negative, 1), score(row.meanNegative, 4), percent(row.aboveOne, 1), score(row.meanSum, 4),
    ])), 2,
  );
}

/** What sets dictionaries apart that were not trained on the task, in words; nothing where there are none. */
export function textNote(results: Results): string {
  const text = results.dictionaries.filter(({ trainedOn }) => trainedOn === 'text');
  if (text.length === 0) return '';
  const kinds = text.map(({ reads }) => reads);
  const lines = [
    'Dictionaries marked “text” were trained on the model’s activations at every position of text, not on the task, and serve every position of a site.',
    kinds.some((hook) => hook?.includes('.attn.')) ? '“All heads”: trained on all heads of a layer together; a head takes its columns.' : '',
    kinds.some((hook) => hook && !hook.includes('.attn.'))
      ? '“Residual”: trained on the residual stream and read through the layer norm and the head’s weights, which is linear with the layer norm’s scale that of the clean activation.' : '',
    text.some(({ dropped }) => dropped) ? `Features that were active on fewer than one in ${integer(1 / Math.max(...text.map(({ minFrequency }) => minFrequency ?? 0)))} tokens in training are left out.` : '',
  ];
  return `<p class="reading">${escapeHtml(lines.filter(Boolean).join(' '))}</p>`;
}

export function dictionaryTable(results: Results): string {
  // Columns that say something of at least one dictionary.
  const loaded = results.dictionaries.some(({ trainedOn }) => trainedOn !== undefined);
  const filtered = results.dictionaries.some(({ dropped }) => dropped !== undefined);
  const scored = new Map(results.tests.interpretability.map((row) => [JSON.stringify([row.site, row.dictionary]), row]));
  return table(
    'Dictionaries and their features',
    [
      'Site', 'Dictionary', ...(loaded ? ['Trained on'] : []), 'Features', ...(filtered ? ['Left out'] : []), 'Alive', 'F1 ≥ 0.5', '≥ 0.6', '≥ 0.8', 'Mean F1', 'Median', 'L0', 'Explained variance', 'λ',
    ],
    grouped(results.dictionaries, (row) => row.site).map((rows) => rows.map((row) => {
      const found = scored.get(JSON.stringify([row.site, row.name]));
      return [
        row.site, row.name, ...(loaded ? [row.trainedOn === undefined ? '–' : row.reads === undefined ? row.trainedOn : `${row.trainedOn}, ${row.reads}`] : []),
        integer(row.features), ...(filtered ? [row.dropped === undefined ? '–' : integer(row.dropped)] : []), found ? integer(found.alive) : '–', ...(['0.5', '0.6', '0.8'] as const).map((level) => (found ? integer(found.interpretable[level]) : '–')),
        score(found?.f1.mean, 3), score(found?.f1.median, 3), score(row.l0, 1), score(row.explainedVariance, 3), short(row.lambda),
      ];
    })), loaded ? 3 : 2,
  );
}

/** The three best features of every site and dictionary. */
export function examplesTable(results: Results): string {
  const rows = results.tests.interpretability.flatMap((row) => row.best.slice(0, 3).map((feature) => ({ row, feature })));
  if (rows.length === 0) return '<p>No feature matches a property.</p>';
  const body = table(
    'Features with the best interpretations',
    ['Site', 'Dictionary', 'Feature', 'Property', 'F1', 'Precision', 'Recall', 'Active prompts'],
    grouped(rows, ({ row }) => row.site).map((group) => group.map(({ row, feature }) => [
      row.site, row.dictionary, `#${feature.feature}`, feature.property, score(feature.f1), score(feature.precision), score(feature.recall), integer(feature.active),
    ])), 4,
  );
  return rows.length > 24 ? `<details><summary>${rows.length} features</summary>${body}</details>` : body;
}

export function list(entries: [string, string][]): string {
  return `<dl>${entries.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`).join('')}</dl>`;
}

/** Where a model came from, to stand behind its name; nothing for a directory or URL. */
export function originText(origin: Results['model']['origin']): string {
  return origin ? ` (${origin.repository} on the hub, revision ${origin.revision}, commit ${origin.commit})` : '';
}

/** A setting as text: lists with commas, records as `name value` pairs, in parentheses within lists. */
export function setting(value: unknown): string {
  if (value === null) return 'none';
  const isRecord = (inner: unknown): boolean => typeof inner === 'object' && inner !== null && !Array.isArray(inner);
  if (Array.isArray(value)) return value.length ? value.map((inner: unknown) => (isRecord(inner) ? `(${setting(inner)})` : setting(inner))).join(', ') : 'none';
  if (typeof value === 'object') return Object.entries(value).map(([name, inner]) => `${name} ${setting(inner)}`).join('; ');
  return String(value);
}

export function environmentList(results: Results): string {
  const { model, task, config, environment, crossSections } = results;
  const { adapter, versions, times } = environment;
  return [
    '<h3>Cross-sections</h3>',
    list(crossSections.map(({ name, origin, sites, edits }) => [name, `${sites.join(', ')} (${origin}; edits ${edits.map((edit) => edit.join('+')).join(', ') || 'none'})`])),
    '<h3 style="margin-top:1rem">Task and model</h3>',
    list([
      ['Task', `${task.name}: ${task.attributes.map(({ name, values }) => `${name} (${values} values)`).join(', ')}; positions ${task.positions.join(', ')}`],
      ['Example', task.exampleText],
      ['Word lists', setting(task.lexicon)],
      ['Model', `${model.name}${originText(model.origin)}, hash ${model.hash}, ${model.layers} layers, ${model.heads} heads of width ${model.headWidth}, vocabulary ${integer(model.vocabulary)}`],
      ['Weight processing', setting(model.processing)],
      ['Weights stored as', model.weights ?? 'f32'],
      ['Answers', `${percent(task.accuracy, 1)} right; logit difference ${score(task.logitDiff.mean)} ± ${score(task.logitDiff.deviation)}, positive on ${percent(task.logitDiff.positive, 1)}`],
    ]),
    '<h3 style="margin-top:1rem">Settings</h3>',
    list(Object.entries(config).map(([name, value]) => [name, setting(value)])),
    '<h3 style="margin-top:1rem">Environment</h3>',
    list([
      ['Adapter', `${[adapter.vendor, adapter.architecture, adapter.device, adapter.description].filter(Boolean).join(' ')}${adapter.software ? ' (software)' : ''}`],
      ['Versions', setting(versions)],
      ['Seed', String(environment.seed)],
      ['Started', times.startedAt],
      ['Time', `${seconds(times.totalSeconds)}: ${times.phases.map(({ name, seconds: spent }) => `${name} ${seconds(spent)}`).join(', ')}`],
      ['Peak GPU memory', bytes(times.peakGpuBytes)],
    ]),
  ].join('\n');
}
