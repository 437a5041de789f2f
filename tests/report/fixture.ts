/** Results of a made-up evaluation, of the shape and size that the demo gives, for tests of the report alone. */
import { RESULTS_SCHEMA, parseResults, type ControlRow, type Results, type Thresholds } from '../../src/evaluation/results.ts';

const POSITIONS = ['io', 's1', 's1+1', 's2', 'end'];
const KINDS = ['q', 'k', 'v', 'z'] as const;
const KS = [2, 4, 8, 16];

/** A number in [0, 1) that depends on its arguments alone. */
export function noise(...numbers: number[]): number {
  const x = Math.sin(numbers.reduce((sum, n, i) => sum + n * (12.9898 + 7.13 * i), 1)) * 43758.5453;
  return x - Math.floor(x);
}

/** Counts that fall as the threshold rises. */
const above = (n: number): Thresholds => ({ '0.5': n, '0.6': Math.floor(0.7 * n), '0.8': Math.floor(0.3 * n) });

const upTo = (n: number) => Array.from({ length: n }, (_, index) => index);

function siteRows(layers: number, heads: number): Results['sites'] {
  const rows = KINDS.flatMap((kind, k) => upTo(layers).flatMap((layer) => upTo(heads).flatMap((head) => POSITIONS.map((position, p) => {
    const effect = noise(k, layer, head, p) ** 30;
    return {
      site: `${kind}@L${layer}H${head}@${position}`, kind, layer, head, position, effect, selected: effect >= 0.1,
      prompts: 32,
      byAttribute: { IO: { effect, signed: -effect }, S: { effect: effect / 2, signed: effect / 2 }, Pos: { effect: effect / 3, signed: -effect / 3 } },
    };
  }))));
  return rows.sort((a, b) => b.effect - a.effect);
}

interface Size { sections?: number; variants?: string[]; lambdas?: number[]; layers?: number; heads?: number }

export function fixture({ sections = 3, variants = ['vanilla'], lambdas = [0.05, 0.1], layers = 4, heads = 4 }: Size = {}): Results {
  const sites = siteRows(layers, heads);
  const crossSections = Array.from({ length: sections }, (_, index) => ({
    name: ['z@end', 'v@s2', 'q@end', 'k@io', 'z@s2', 'v@io'][index]!, origin: 'discovered' as const,
    sites: sites.slice(3 * index, 3 * index + 3).map((row) => row.site), edits: [['IO'], ['S'], ['Pos']], effects: { IO: 1.6, S: 0.2, Pos: 0.9 },
  }));
  const names = ['supervised', ...variants];
  const saeName = (variant: string, lambda: number) => (lambdas.length > 1 ? `${variant} λ=${lambda}` : variant);
  const dictionaries = ['supervised', ...variants.flatMap((variant) => lambdas.map((lambda) => saeName(variant, lambda)))];
  const used = crossSections.flatMap((section) => section.sites);
  const control = crossSections.flatMap((section, s) => ['IO', 'S', 'Pos'].flatMap((attribute, a) => names.flatMap((dictionary, d) => {
    const accuracyNoEdit = [0, 0.52, 0.44][a]!;
    return (d === 0 ? [2] : KS).map((k): ControlRow => {
      const accuracy = d === 0 ? 0.97 : accuracyNoEdit + (0.95 - accuracyNoEdit) * (1 - Math.exp(-k / (3 + 9 * noise(s, a, d))));
      const weightRemoved = d === 0 ? 0.3 + 0.2 * noise(s, a) : 0.9 * (1 - Math.exp(-k / (4 + 5 * noise(a, s, d))));
      return {
        crossSection: section.name, attribute, dictionary, k, accuracy, accuracyNoEdit, weightRemoved,
        accuracyRelative: (accuracy - accuracyNoEdit) / (0.97 - accuracyNoEdit), weightRelative: 0.1, distance: 1 / k, distanceNoEdit: 1.5, logitDiff: 3 - k / 4,
        logitDiffGroundTruth: -6, groundTruthFlipped: 0.9, weightSkipped: 0,
        chosen: d === 0 ? [] : section.sites.map((site) => ({ site, dictionary: saeName(dictionary, lambdas[0]!), distance: 0.4 })),
      };
    });
  })));
  return parseResults({
    schema: RESULTS_SCHEMA,
    model: { name: 'ioi-mini', hash: 'a1b2c3d4', layers, heads, width: 32 * heads, headWidth: 32, vocabulary: 1026, processing: { foldLayerNorm: true } },
    task: {
      name: 'ioi', prompts: 300, selectionPrompts: 200, trainPrompts: 3000, interpretabilityPrompts: 3000, attributes: [{ name: 'IO', values: 120 }, { name: 'S', values: 120 }, { name: 'Pos', values: 2 }],
      positions: POSITIONS, lexicon: { names: 120, templates: 3 }, exampleText: 'Then, Mary and John went to the shop. John gave a drink to', accuracy: 0.9967,
      logitDiff: { mean: 8.123456, deviation: 1.2, positive: 1 },
    },
    sites,
    crossSections,
    dictionaries: used.flatMap((site, s) => [
      { name: 'supervised', variant: 'supervised', site, source: 'fitted' as const, features: 242, lambda: null, scale: null, explainedVariance: 0.97, l0: 3, curve: [] },
      ...variants.flatMap((variant, v) => lambdas.map((lambda, l) => ({
        name: saeName(variant, lambda), variant, site, source: 'trained' as const, features: 256, lambda, scale: 3.2, explainedVariance: 0.93, l0: 9,
        curve: Array.from({ length: 60 }, (_, i) => ({
          step: 20 * i, loss: 0.1 + lambda + Math.exp(-i / (6 + s)), l2: 0.1, l1: 0.2, l0: 3 + 90 * Math.exp(-i / (4 + 2 * l + v)) + noise(s, l, i),
          dead: Math.max(0, 0.4 * noise(s, l, v) * (1 - Math.exp(-i / 9)) - (i > 40 ? 0.1 : 0)),
        })),
      }))),
    ]),
    tests: {
      approximation: crossSections.flatMap((section, s) => dictionaries.map((dictionary, d) => ({
        crossSection: section.name, dictionary, sufficiency: d === 0 ? 0.98 : 0.93 - 0.2 * noise(s, d), necessity: d === 0 ? 0.99 : 0.9 - 0.3 * noise(d, s),
        logitDiffClean: 8.12, logitDiffMeanAblated: 2.5, logitDiffReconstructed: 7.9, logitDiffResidual: 2.6, meanAbsoluteChange: 0.4, note: null,
      }))),
      control,
      interpretability: used.flatMap((site, s) => dictionaries.map((dictionary, d) => {
        const alive = d === 0 ? 242 : 100 + Math.floor(100 * noise(s, d));
        const bins = Array.from({ length: 20 }, (_, bin) => Math.floor(alive * Math.exp(-(((bin - (d === 0 ? 18 : 11)) / 4) ** 2)) / 8));
        return {
          site, dictionary, features: d === 0 ? 242 : 256, alive, interpretable: above(Math.max(5, 80 - 20 * d)), byProperty: { IO: above(Math.max(2, 40 - 10 * d)), 'IO∧Pos': above(20), Pos: above(3) },
          f1: { bins, mean: 0.6 + 0.3 * noise(s, d), median: 0.6, percentile90: 0.8 },
          best: [{ feature: 17, property: 'IO=Mary', kind: 'IO', f1: 0.91, precision: 0.92, recall: 0.9, active: 25 }], activePerPrompt: 9,
        };
      })),
      weights: used.map((site) => ({ site, dictionary: dictionaries.at(-1)!, weights: 2700, negative: 0.1, meanNegative: -0.02, aboveOne: 0, meanSum: 1 })),
    },
    config: {
      prompts: 300, selectionPrompts: 200, trainPrompts: 3000, seed: 7, dictionaries: names, saePaths: [], ks: KS, batch: 64,
      discovery: { prompts: 100, threshold: 0.1, counterfactuals: 'independent' }, sae: { lambdas, steps: 1200, learningRate: 1e-3 }, denominatorGuard: 0.02,
    },
    environment: {
      adapter: { vendor: 'mesa', architecture: '', device: 'llvmpipe', description: 'llvmpipe (LLVM 19)', software: true }, versions: { diffract: '0.1.0', node: '20.11.0' }, seed: 7,
      times: { startedAt: '2025-01-02T03:04:05.000Z', totalSeconds: 71.5, phases: [{ name: 'discovery', seconds: 9.5 }, { name: 'training', seconds: 40 }], peakGpuBytes: 150e6 },
    },
  });
}
