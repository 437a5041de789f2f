import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { comparePublished, settingsOf, type StageResults } from '../../src/reproduction/index.ts';
import { PUBLISHED_EDITS, PUBLISHED_GATED_TRAINING, PUBLISHED_NUMBERS, PUBLISHED_TRAJECTORY } from '../../src/reproduction/published.ts';
import { formatSite } from '../../src/task/index.ts';

const test = suite('published numbers beside measured ones');

const small = { name: 'gpt2', layers: 12, heads: 12, width: 768, headWidth: 64, vocabulary: 50257 };
const paper = settingsOf('workshop', 'paper');
const nothing = Object.fromEntries(['sections', 'saes', 'tests', 'recovered', 'interpretability', 'causal', 'features', 'geometry', 'parametrizations',
  'checkpoints', 'synthetic', 'probing', 'mechanism', 'metrics', 'occlusion',
  'over-splitting', 'over-splitting-toy', 'occlusion-toy', 'greater-than'].map((name) => [name, null])) as unknown as StageResults;

const SITES = [['(B)NM out', 'z', 9], ['(B)NM q', 'q', 9], ['(B)NM qk', 'q', 9], ['(B)NM qk', 'k', 10], ['S-I out', 'z', 7], ['S-I v', 'v', 7], ['Ind+DT out', 'z', 3]] as const;
const address = (kind: 'q' | 'k' | 'v' | 'z', layer: number, head: number) => ({ kind, layer, head, position: 'end' });

/** Every published edit as if this run had found it, those of the last epoch 0.001 off and those of all checkpoints 0.002. */
function edits<Row>(pool: 'last' | 'overall'): Row[] {
  const off = pool === 'last' ? 0.001 : 0.002;
  return PUBLISHED_EDITS.filter((edit) => edit.pool === pool).map(({ crossSection, attribute, variant, method, k, accuracy, weight }) => ({
    crossSection, attribute, k, dictionary: method === 'aware' ? `${variant}, aware` : variant, accuracy: accuracy + off, weightRemoved: weight === null ? null : weight + off,
  })) as unknown as Row[];
}

/** Gated SAEs of three heads a place, with figures whose middle one is that of the paper. */
function entries(): NonNullable<StageResults['saes']>['entries'] {
  const { epochs, places, lambda } = PUBLISHED_TRAJECTORY;
  return SITES.flatMap(([crossSection, kind, layer]) => [0, 1, 2].flatMap((head) => {
    const scaled = (figures: { l0: number; l2: number; dead: number }) => ({ l0: figures.l0 * 2 ** (head - 1), mse: figures.l2 * 3 ** (head - 1), dead_fraction: figures.dead + 0.01 * (head - 1) });
    const entry = (sparsity: number, epoch: number, figures: { l0: number; l2: number; dead: number }) => ({
      name: '', site: formatSite(address(kind, layer, head)), variant: 'gated' as const, sparsity, epoch, finished: epoch === 2000, path: '', figures: scaled(figures),
    });
    const place = places.find((own) => own.crossSection === crossSection && own.kind === kind);
    return [
      ...epochs.map((own) => entry(lambda, own.epoch, own)), ...PUBLISHED_GATED_TRAINING.filter((own) => own.lambda !== lambda).map((own) => entry(own.lambda, 2000, own)),
      ...(place ? [entry(lambda, 2000, place)] : []),
    ];
  }));
}

function results(): StageResults {
  const sections = ['(B)NM out', '(B)NM q', '(B)NM qk', 'S-I out', 'S-I v', 'Ind+DT out'].map((name) => ({
    name, sites: SITES.filter(([own]) => own === name).flatMap(([, kind, layer]) => [0, 1, 2].map((head) => address(kind, layer, head))), edits: [['Pos']], origin: 'published', effects: {},
  }));
  const correlation = (attribute: string, l0: number | null, variant = 'gated') => ({ site: '', attribute, variant, dictionaries: 56, l0, error: null, recovered: null });
  return {
    ...nothing, sections: { ranking: [], sections } as unknown as StageResults['sections'], saes: { folder: '', entries: entries() },
    tests: { task: { prompts: 5000, accuracy: 0.9, logitDiff: 4, positive: 0.99, example: '' }, approximation: [], control: edits('last'), dictionaries: [], weights: [] },
    checkpoints: {
      k: 2, control: edits('overall'), tradeOffs: [], summaries: [],
      correlations: [correlation('IO', 0.9), correlation('IO', 0.5), correlation('IO', 1), correlation('IO', null), correlation('IO', -1, 'vanilla'), correlation('Pos', 0.4)],
    },
  };
}

test('edits are filled from their own pool: the last epoch, or the best checkpoint', () => {
  const rows = comparePublished(results(), small, paper).filter(({ what }) => what.startsWith('edit of'));
  const numbers = PUBLISHED_EDITS.flatMap(({ pool, accuracy, weight }) => [accuracy, ...(weight === null ? [] : [weight])].map((value) => value + (pool === 'last' ? 0.001 : 0.002)));
  assert.equal(rows.map(({ measured }) => measured), numbers);
  assert.ok(rows.length > 150 && rows.every(({ within }) => within === true));
  assert.equal(rows.filter(({ what }) => what.includes('best checkpoint')).length, rows.filter(({ measured, published }) => Math.abs(measured! - published - 0.002) < 1e-9).length);
  // The only words against a comparison: the released ranking never saw the new names.
  assert.equal([...new Set(rows.map(({ reason }) => reason))], [null, 'the published ranking never saw the new names; this one did']);
  assert.ok(rows.filter(({ reason }) => reason).every(({ what }) => /^edit of IO in \(B\)NM out, .* by interpretations/.test(what)));
});

test('training of gated SAEs: medians over sites, at each epoch and of each cross-section', () => {
  const rows = comparePublished(results(), small, paper);
  const of = (words: string) => rows.find(({ what }) => what === words)!;
  for (const { epoch, l0, l2, dead } of PUBLISHED_TRAJECTORY.epochs) {
    const found = ['median L0 while training', 'median squared error, inputs of mean norm 8', 'median share of dead features'].map((figure) => of(`gated SAEs with λ = 2.5 after epoch ${epoch}: ${figure}`));
    assert.equal(found.map(({ measured, published }) => [measured, published]), [[l0, l0], [l2, l2], [dead, dead]]);
    assert.equal(found.map(({ within, tolerance }) => [within, tolerance]), [[true, 0.2 * l0], [true, 0.25 * l2], [null, null]]);
  }
  for (const { crossSection, kind, l0, l2 } of PUBLISHED_TRAJECTORY.places) {
    assert.is(of(`gated SAEs with λ = 2.5 of ${kind} in ${crossSection}: median L0 while training`).measured, l0);
    assert.is(of(`gated SAEs with λ = 2.5 of ${kind} in ${crossSection}: median squared error, inputs of mean norm 8`).measured, l2);
  }
  // Of λ = 2.5 at its end the median over all places is that of places, not the published one of all sites.
  for (const { lambda, l2 } of PUBLISHED_GATED_TRAINING.filter((own) => own.lambda !== 2.5)) assert.is(of(`gated SAEs with λ = ${lambda}: median squared error, inputs of mean norm 8`).measured, l2);
});

test('numbers of the task and proxies; outside the tolerance is said', () => {
  const rows = comparePublished(results(), small, paper);
  const by = (value: number) => rows.filter(({ published }) => published === value);
  const [accuracy] = by(PUBLISHED_NUMBERS.accuracy.value);
  assert.equal([accuracy!.measured, accuracy!.within], [0.9, true]);
  const difference = rows.find(({ what }) => what === 'mean logit difference')!;
  assert.equal([difference.measured, difference.within], [4, false]);
  const proxies = rows.filter(({ what }) => what.startsWith('rank correlation'));
  assert.equal(proxies.map(({ measured, within }) => [measured, within]), [[0.9, true], [0.4, false]]);
});

test('what is not there is left out with the reason, never filled', () => {
  const all = comparePublished(nothing, small, paper);
  assert.ok(all.every(({ measured, within, reason }) => measured === null && within === null && reason !== null));
  assert.ok(all.filter(({ what }) => what.startsWith('edit of')).every(({ reason }) => reason === 'its stage was not run'));
  // Kinds of SAEs that were not trained, another model, and reduced sizes.
  const some = comparePublished({ ...results(), checkpoints: null }, small, { ...paper, variants: [{ variant: 'vanilla', values: [1] }] }).filter(({ what }) => what.startsWith('edit of'));
  assert.equal([...new Set(some.filter(({ what }) => what.includes('best checkpoint')).map(({ reason }) => reason))], ['its stage was not run']);
  assert.ok(some.filter(({ what }) => what.includes('gated') && !what.includes('best')).every(({ measured, reason }) => measured === null && reason === 'this run has no gated SAEs'));
  assert.ok(some.filter(({ what }) => what.includes('supervised')).every(({ within }) => within === true));
  const other = comparePublished(results(), { ...small, name: 'mini', layers: 4 }, paper).filter(({ what }) => !what.startsWith('toy'));
  assert.ok(other.every(({ measured, reason }) => measured === null && reason === 'published for GPT-2 Small; this is mini'));
  const reduced = comparePublished(results(), small, { ...paper, sizes: 'reduced' }).filter(({ what }) => what.startsWith('edit of'));
  assert.ok(reduced.every(({ measured, reason }) => measured !== null && reason === 'the sizes are reduced'));
});

test.run();
