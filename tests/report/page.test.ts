import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { resultsText, type Results } from '../../src/evaluation/results.ts';
import { charts, renderReport } from '../../src/report/index.ts';
import { fixture } from './fixture.ts';
import { all, parseHtml, textOf, type Element } from './html.ts';

const test = suite('report page');
/** The default fixture's page, drawn once. */
let drawn: Promise<string> | null = null;
const defaultPage = () => (drawn ??= renderReport(fixture()));
const find = (root: Element, id: string): Element => {
  const found = all(root).filter((element) => element.attributes.id === id);
  assert.is(found.length, 1, `#${id} occurs ${found.length} times`);
  return found[0]!;
};
const rowsOf = (element: Element) => all(element).filter(({ tag }) => tag === 'tr')
  .map((row) => row.children.filter((cell): cell is Element => typeof cell !== 'string').map(textOf));

test('is one well-formed page that asks the network for nothing', async () => {
  const html = await defaultPage();
  const page = parseHtml(html);
  assert.not.match(html, /https?:|\/\/[a-z]/i);
  for (const { tag, attributes } of all(page)) {
    assert.not.ok(['link', 'img', 'iframe', 'object', 'embed', 'base', 'image', 'use'].includes(tag), tag);
    for (const name of ['src', 'srcset', 'data', 'action', 'xlink:href']) assert.is(attributes[name], undefined, `${tag} ${name}`);
    if (attributes.href !== undefined) assert.match(attributes.href, /^#/);
    for (const name of Object.keys(attributes)) assert.not.match(name, /^on/);
  }
  const style = textOf(all(page).find(({ tag }) => tag === 'style')!);
  assert.not.match(style, /@import|url\(/);
  assert.match(style, /prefers-color-scheme: dark/);
  const policy = all(page).find(({ attributes }) => attributes['http-equiv'] === 'Content-Security-Policy');
  assert.match(policy!.attributes.content!, /default-src 'none'/);
});

test('every identifier is unique and every reference has its target', async () => {
  const page = parseHtml(await defaultPage());
  const ids = all(page).flatMap(({ attributes }) => attributes.id ?? []);
  assert.equal(ids, [...new Set(ids)]);
  for (const { attributes } of all(page)) {
    if (attributes.href) assert.ok(ids.includes(attributes.href.slice(1)), attributes.href);
    for (const value of Object.values(attributes)) for (const [, id] of value.matchAll(/url\(#([^)]+)\)/g)) assert.ok(ids.includes(id!), id);
  }
});

test('every chart has a title, a sentence on how to read it, axis titles, and a drawing with a label for each panel', async () => {
  const results = fixture();
  const page = parseHtml(await defaultPage());
  const made = charts(results);
  assert.equal(made.map(({ id }) => id), ['approximation', 'control', 'f1', 'properties', 'ranking', 'map', 'training']);
  for (const chart of made) {
    const section = find(page, chart.id);
    const text = textOf(section);
    assert.ok(text.includes(chart.title) && text.includes(chart.reading), chart.id);
    const figures = all(section).filter(({ tag }) => tag === 'figure');
    assert.is(figures.length, chart.panels.length);
    figures.forEach((figure, index) => {
      const drawing = all(figure).find(({ tag }) => tag === 'svg')!;
      assert.is(drawing.attributes.role, 'img');
      assert.is(drawing.attributes['aria-label'], chart.panels[index]!.alt);
      assert.ok(textOf(figure).includes(chart.panels[index]!.title));
      assert.ok(all(drawing).some(({ attributes }) => attributes.class?.includes('role-axis-title')), `${chart.id} ${index} names no axis`);
    });
  }
  const panels = Object.fromEntries(made.map((chart) => [chart.id, chart.panels.length]));
  // Control: three cross-sections with three attributes. Ranking: thirty sites in three parts. Map: q, k, v, z. F1: supervised and two SAEs.
  assert.equal(panels, { approximation: 2, control: 9, f1: 3, properties: 3, ranking: 3, map: 4, training: 3 });
});

test('draws every value: a mark for each row, its numbers in the label', async () => {
  const results = fixture();
  const page = parseHtml(await defaultPage());
  const labels = (id: string) => all(find(page, id)).filter((e) => e.attributes['aria-roledescription']).map((e) => e.attributes['aria-label'] ?? '');
  const control = labels('control');
  for (const row of results.tests.control) {
    const label = `${row.dictionary}, k = ${row.k}: accuracy ${row.accuracy.toFixed(3)}, weight removed ${row.weightRemoved!.toFixed(3)}`;
    assert.ok(control.includes(label), label);
  }
  assert.is(control.filter((label) => label.startsWith('no edit: accuracy')).length, 9);
  const approximation = labels('approximation');
  for (const row of results.tests.approximation) {
    for (const metric of ['sufficiency', 'necessity'] as const) assert.ok(approximation.includes(`${row.crossSection}, ${row.dictionary}: ${metric} ${row[metric]!.toFixed(3)}`));
  }
  const map = labels('map').filter((label) => label.includes('@'));
  assert.is(map.length, results.sites.length);
  assert.is(map.filter((label) => label.endsWith(', selected')).length, results.sites.filter((site) => site.selected).length);
  const bins = labels('f1').filter((label) => label.startsWith('F1 '));
  const supervised = results.tests.interpretability.filter((row) => row.dictionary === 'supervised');
  const top = supervised.reduce((sum, row) => sum + row.f1.bins[19]!, 0);
  assert.ok(bins.some((label) => label.startsWith(`F1 0.95 to 1.00: ${top} features`)), `${top}`);
});

test('the length of a bar is proportional to its score', async () => {
  const results = fixture({ sections: 1, lambdas: [0.1] });
  const page = parseHtml(await renderReport(results));
  const bars = all(find(page, 'approximation')).filter((e) => e.attributes['aria-roledescription'] === 'bar');
  const width = (label: string) => {
    const bar = bars.find((e) => e.attributes['aria-label']!.includes(label))!;
    const xs = [...bar.attributes.d!.matchAll(/[hH](-?[\d.]+)|[aAcC][^a-zA-Z]*/g)];
    return xs.length ? Number(/h(-?[\d.]+)/.exec(bar.attributes.d!)?.[1] ?? NaN) : NaN;
  };
  const [supervised, vanilla] = ['supervised', 'vanilla'].map((dictionary) => results.tests.approximation.find((row) => row.dictionary === dictionary)!.sufficiency!);
  const ratio = width('vanilla: sufficiency') / width('supervised: sufficiency');
  // Rounded corners take a pixel or two from either.
  assert.ok(Math.abs(ratio - vanilla! / supervised!) < 0.02, `${ratio} against ${vanilla! / supervised!}`);
});

test('the summary table has the values of every cross-section and dictionary', async () => {
  const results = fixture();
  const rows = rowsOf(find(parseHtml(await defaultPage()), 'summary'));
  assert.equal(rows[0], ['Cross-section', 'Dictionary', 'Sufficiency', 'Necessity', 'Edit IO', 'Edit S', 'Edit Pos', 'F1 ≥ 0.8']);
  assert.equal(rows[1], ['z@end', 'supervised', '0.98', '0.99', '0.97', '0.97', '0.97', '10 %']);
  const vanilla = rows[2]!;
  const io = results.tests.control.filter((row) => row.crossSection === 'z@end' && row.attribute === 'IO' && row.dictionary === 'vanilla');
  const sae = results.tests.approximation.filter((row) => row.crossSection === 'z@end' && row.dictionary.startsWith('vanilla'));
  assert.is(sae.length, 2);
  assert.is(vanilla[1], 'vanilla');
  assert.is(vanilla[2], `${sae[0]!.sufficiency!.toFixed(2)} … ${sae[1]!.sufficiency!.toFixed(2)}`);
  assert.is(vanilla[4], `${io[0]!.accuracy.toFixed(2)} … ${io[3]!.accuracy.toFixed(2)}`);
  assert.equal(rows[3], ['z@end', 'no edit', '', '', '0.00', '0.52', '0.44', '']);
  assert.is(rows.length, 1 + 3 * 3);
});

test('the page is the data: its JSON is the results', async () => {
  const results = fixture();
  const embedded = find(parseHtml(await defaultPage()), 'results');
  assert.is(embedded.attributes.type, 'application/json');
  assert.equal(JSON.parse(textOf(embedded)), JSON.parse(resultsText(results)));
});

test('text from the results cannot become markup, script or style', async () => {
  const evil = `</script><script>alert(1)</script><img src=x onerror=alert(2)> "quoted" & 'single' <!-- -->`;
  const results = fixture({ variants: [`vanilla${evil}`] });
  results.model.name = evil;
  results.task.exampleText = evil;
  results.crossSections[0]!.name = evil;
  results.environment.adapter.description = evil;
  results.environment.versions = { diffract: evil };
  for (const rows of [results.tests.approximation, results.tests.control]) for (const row of rows) if (row.crossSection === 'z@end') row.crossSection = evil;
  for (const row of results.tests.interpretability) row.best[0]!.property = evil;
  results.tests.approximation[0]!.note = evil;
  const page = parseHtml(await renderReport(results));
  assert.is(all(page).filter(({ tag }) => tag === 'script').length, 2);
  assert.is(all(page).filter(({ tag }) => tag === 'img').length, 0);
  assert.ok(textOf(find(page, 'summary')).includes(evil), 'the text itself is shown');
  assert.equal(JSON.parse(textOf(find(page, 'results'))).model.name, evil);
});

test('parts without data are left out, and scores that do not exist are dashes', async () => {
  const results: Results = fixture({ sections: 1, variants: [] });
  results.sites = [];
  results.config.discovery = null;
  results.tests.interpretability = [];
  results.tests.weights = [];
  results.tests.approximation[0]!.sufficiency = null;
  results.tests.approximation[0]!.note = 'the clean logit difference vanishes';
  results.tests.control[0]!.weightRemoved = null;
  const page = parseHtml(await renderReport(results));
  assert.equal(charts(results).map(({ id }) => id), ['approximation', 'control']);
  assert.is(all(page).filter((e) => e.attributes['data-chart'] !== undefined).length, 2);
  assert.is(rowsOf(find(page, 'summary'))[1]![2], '–');
  assert.ok(textOf(find(page, 'approximation')).includes('the clean logit difference vanishes'));
  assert.not.match(textOf(find(page, 'setup')), /undefined|NaN|\[object/);
});

test('dictionaries trained on text stand beside the others: what they are is said once, and where they come from in the table', async () => {
  const results: Results = fixture({ sections: 2, variants: ['vanilla', 'vanilla (text)', 'vanilla (text, residual)'], lambdas: [0.5, 2, 8] });
  for (const row of results.dictionaries) {
    if (!row.variant.includes('text')) continue;
    Object.assign(row, { source: 'loaded', trainedOn: 'text', dropped: 12, minFrequency: 1e-6, curve: [] });
    if (row.variant.includes('residual')) Object.assign(row, { reads: 'blocks.1.hook_resid_post', note: 'through the layer norm' });
  }
  // Residual dictionaries reach one of the two cross-sections.
  results.tests.approximation = results.tests.approximation.filter(({ crossSection, dictionary }) => crossSection === 'v@s2' || !dictionary.includes('residual'));
  const page = parseHtml(await renderReport(results));
  const summary = textOf(find(page, 'summary'));
  assert.match(summary, /Dictionaries marked “text” were trained .* “Residual”: .* scale that of the clean activation/);
  assert.match(summary, /fewer than one in 1,000,000 tokens in training are left out/);
  assert.not.match(summary, /“All heads”/);
  const rows = rowsOf(find(page, 'f1')).filter((row) => row[1]!.startsWith('vanilla'));
  assert.equal(new Set(rows.map((row) => [row[1]!.replace(/ λ=\d\S*/, ''), row[2], row[4]].join('; '))), new Set(['vanilla; –; –', 'vanilla (text); text; 12', 'vanilla (text, residual); text, blocks.1.hook_resid_post; 12']));
  assert.not.match(textOf(find(parseHtml(await defaultPage()), 'summary')), /marked “text”/);
  // Ten dictionaries are ten colours, and bars of a cross-section have no gaps where others have more.
  const { legend, panels } = charts(results).find(({ id }) => id === 'approximation')!;
  assert.is(new Set(legend.map(({ colour }) => colour)).size, 10);
  const values = (panels[0]!.spec as unknown as { data: { values: { section: string; slot: number }[] } }).data.values;
  for (const section of ['z@end', 'v@s2']) {
    const slots = values.filter((row) => row.section === section).map(({ slot }) => slot);
    assert.equal(slots, slots.map((_, at) => at));
    assert.is(slots.length, section === 'z@end' ? 7 : 10);
  }
});

test('the same results give the same page', async () => {
  assert.is(await renderReport(fixture({ sections: 1 })), await renderReport(fixture({ sections: 1 })));
});

test.run();
