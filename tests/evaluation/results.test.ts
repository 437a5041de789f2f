import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseResults, resultsJsonSchema, resultsText, rounded, withoutTimes, type Results } from '../../src/evaluation/results.ts';

const test = suite('results.json');

/** The least that is a valid record. */
function small(): Results {
  return {
    schema: 'diffract.results/1',
    model: { name: 'm', hash: 'h', layers: 1, heads: 1, width: 4, headWidth: 4, vocabulary: 9, processing: { foldLn: false } },
    task: {
      name: 'ioi', prompts: 2, selectionPrompts: 1, trainPrompts: 3, interpretabilityPrompts: 3, attributes: [{ name: 'S', values: 2 }], positions: ['end'],
      lexicon: {}, exampleText: 'x', accuracy: 1, logitDiff: { mean: 3, deviation: 1, positive: 1 },
    },
    sites: [{ site: 'z@L0H0@end', kind: 'z', layer: 0, head: 0, position: 'end', effect: 0.5, byAttribute: { S: { effect: 0.5, signed: -0.5 } }, prompts: 8, selected: true }],
    crossSections: [{ name: 'a', origin: 'discovered', sites: ['z@L0H0@end'], edits: [['S']], effects: { S: 0.5 } }],
    dictionaries: [],
    tests: {
      approximation: [{
        crossSection: 'a', dictionary: 'supervised', sufficiency: 1 / 3, necessity: null, logitDiffClean: 3, logitDiffMeanAblated: 3,
        logitDiffReconstructed: 1, logitDiffResidual: 3, meanAbsoluteChange: 2, note: 'mean ablation changes nothing',
      }],
      control: [], interpretability: [], weights: [],
    },
    config: {
      prompts: 2, selectionPrompts: 1, trainPrompts: 3, seed: 0, dictionaries: ['supervised'], saePaths: [], ks: [2], batch: 2, discovery: null, sae: null,
      denominatorGuard: 0.01,
    },
    environment: {
      adapter: { vendor: 'v', architecture: 'a', device: 'd', description: 'e', software: true }, tuned: false, versions: { diffract: '0' }, seed: 0,
      times: { startedAt: '2024-01-01T00:00:00Z', totalSeconds: 1, phases: [{ name: 'sites', seconds: 1 }], peakGpuBytes: 1 },
    },
  };
}

test('what is written can be read and fits the schema', () => {
  const results = small();
  const text = resultsText(results);
  assert.ok(text.endsWith('}\n'));
  const read = parseResults(JSON.parse(text));
  assert.is(read.tests.approximation[0]!.sufficiency, 0.333333333);
  assert.equal({ ...read, tests: null }, { ...results, tests: null });
});

test('numbers that are none, and fields that are missing or wrong, are refused', () => {
  assert.is(rounded(NaN), null);
  assert.is(rounded(-Infinity), null);
  const broken = small();
  broken.tests.approximation[0]!.logitDiffClean = NaN;
  assert.throws(() => parseResults(JSON.parse(resultsText(broken))), /logitDiffClean/);
  assert.throws(() => parseResults({ ...small(), schema: 'diffract.results/0' }), /schema/);
  const { sites: _sites, ...withoutSites } = small();
  assert.throws(() => parseResults(withoutSites), /sites/);
});

test('two runs that differ in times alone are equal without them', () => {
  const later = small();
  later.environment.times = { ...later.environment.times, totalSeconds: 9, startedAt: '2025-01-01T00:00:00Z' };
  assert.not.equal(later, small());
  assert.equal(withoutTimes(later), withoutTimes(small()));
});

test('the JSON Schema has the contract and documents it', () => {
  const schema = resultsJsonSchema() as { required: string[]; properties: Record<string, { properties?: Record<string, unknown> }> };
  assert.equal(schema.required, ['schema', 'model', 'task', 'sites', 'crossSections', 'dictionaries', 'tests', 'config', 'environment']);
  assert.equal(Object.keys(schema.properties.tests!.properties!), ['approximation', 'control', 'interpretability', 'weights']);
  const text = JSON.stringify(schema);
  for (const field of ['sufficiency', 'necessity', 'logitDiffMeanAblated', 'accuracyNoEdit', 'weightRemoved', 'byProperty', 'interpretable']) assert.ok(text.includes(`"${field}"`), field);
  assert.match(text, 'a replaced by mean');
});

test.run();
