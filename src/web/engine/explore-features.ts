/** Features of a dictionary at a site: which are active, what they add, what they stand for, and where else they are active. */
import type { Dictionary, Examples, SupervisedCodes } from '../../dictionary/index.ts';
import { UsageError } from '../../errors.ts';
import { featureDirections, featurePages, Interpreter, logitDirections, logitEffects, writing, writtenBy, type Interpretation, type Reading } from '../../evaluation/index.ts';
import { tokenText } from '../../model/index.ts';
import { SITE_KINDS, type ActivationPlace, type SiteKind } from '../../task/index.ts';
import { matmul, meanColumns, sub, sumRows, mul, sumSquaresRows, Tensor } from '../../tensor/index.ts';
import { SUPERVISED, type ActiveFeature, type Interpretations, type Interpreting, type PageShown, type SiteFeatures, type SiteShown } from './explore-facts.ts';
import { hookName } from './explore-site.ts';
import type { Session } from './session.ts';

/** Features listed at most. */
const LISTED = 60;
/** Dictionaries whose interpretations are kept. */
const KEPT = 16;
const [EXAMPLES, EFFECTS] = [6, 8];

/** A site of one prompt, seen through a dictionary. */
export interface FeaturesAsked {
  ids: readonly number[];
  site: SiteShown;
  position: number;
  dictionary: string;
  /** Tokens whose logits are compared. */
  pair: [number, number] | null;
  /** For supervised codes: the semantic position that the token is at, and the prompt's attributes. */
  task: { position: string; attributes: Record<string, number> } | null;
}

interface Opened { dictionary: Dictionary; reads: Reading; labels: ((feature: number) => string) | null }
interface Known { interpretations: Map<number, Interpretation>; explained: number; l0: number }

export class FeatureViews {
  private interpreter: Interpreter | null = null;
  private readonly known = new Map<Dictionary, Map<string, Known>>();

  constructor(private readonly session: Session) {
    session.onDrop(() => {
      this.interpreter?.dispose();
      this.interpreter = null;
      this.known.clear();
    });
  }

  /** Active features at a position of a prompt, those with the largest contributions first. */
  async at(asked: FeaturesAsked, signal: AbortSignal): Promise<SiteFeatures> {
    const { gpu, model } = this.session;
    const { ids, position, pair } = asked;
    const { dictionary, reads, labels } = await this.open(asked.dictionary, asked.site, asked.task?.position ?? null, signal);
    const attributes = Object.fromEntries(Object.entries(asked.task?.attributes ?? {}).map(([name, id]) => [name, Uint32Array.of(id)]));
    const last = ids.length - 1;
    const direction = pair && (await logitDirections(model, [pair[0]], [pair[1]])).along;
    return gpu.scope(async () => {
      const head = reads.head ?? undefined;
      const throughAttention = asked.site.kind === 'v' && head !== undefined;
      const run = model.run([ids], {
        captures: [
          { hook: reads.hook, head, positions: [position] }, ...(direction ? [{ hook: 'ln_final.hook_scale', positions: [last] }] : []),
          ...(direction && throughAttention ? [{ hook: hookName('pattern', asked.site.layer), head, positions: [last] }] : []),
        ], logits: 'none',
      });
      const activations = run.captured[0]!;
      const examples: Examples = { activations, attributes };
      const codes = dictionary.encode(examples);
      const back = dictionary.decode(codes, examples);
      const read = (tensor: Tensor | undefined): Promise<Float32Array> | null => tensor?.read() ?? null;
      const [found, additions, weights, error, norms, along, scale, pattern] = await Promise.all([
        codes.read(), read(dictionary.additions?.(examples)), dictionary.contributions(codes).read(), sumSquaresRows(sub(activations, back)).read(),
        Promise.all([sumSquaresRows(activations).read(), sumSquaresRows(back).read()]), sumRows(mul(activations, back)).read(), read(run.captured[1]), read(run.captured[2]),
      ]);
      const active = Array.from(found.keys()).filter((feature) => found[feature] !== 0);
      const size = (feature: number): number => Math.abs(weights[feature]!) || 0;
      const chosen = active.sort((a, b) => size(b) - size(a) || a - b).slice(0, LISTED);
      const effects = await this.effectsOf(dictionary, chosen, { asked, reads, direction, share: throughAttention ? pattern?.[position] ?? 0 : position === last ? 1 : null });
      const [square, backSquare] = [norms[0][0]!, norms[1][0]!];
      return {
        features: dictionary.features, active: active.length, effectNote: effects.note,
        rows: chosen.map((feature, i): ActiveFeature => ({
          feature, activation: found[feature]!, contribution: weights[feature]!, label: labels?.(feature) ?? null,
          effect: effects.values ? ((additions ?? found)[feature]! * effects.values[i]!) / scale![0]! : null,
        })),
        cosine: along[0]! / Math.sqrt(square * backSquare), relativeError: error[0]! / square, norm: Math.sqrt(square), reconstructedNorm: Math.sqrt(backSquare),
      };
    });
  }

  /** What a code of 1 of each feature adds to the logit difference at the last token, before the division by the final norm's scale. */
  private async effectsOf(dictionary: Dictionary, chosen: readonly number[], { asked, reads, direction, share }: { asked: FeaturesAsked; reads: Reading; direction: Float32Array | null; share: number | null }): Promise<{ values: Float32Array | null; note: string }> {
    const { gpu, model } = this.session;
    const { kind } = asked.site;
    if (kind === 'q' || kind === 'k') return { values: null, note: `A head’s ${kind} only moves attention: it has no direct effect on logits.` };
    const way = writing(model, placeOf(reads, asked.site, ''));
    if (!way) return { values: null, note: 'Nothing is written from here to the residual stream in a straight line.' };
    if (!direction) return { values: null, note: 'Choose two tokens to compare, and the effect on their logits is shown.' };
    if (kind === 'v' && reads.head === null) return { values: null, note: 'Each head attends differently: the effect of values of all heads together is not one number.' };
    if (share === null) return { values: null, note: 'The logits are read at the last token: what is written elsewhere has no direct effect on them.' };
    if (chosen.length === 0) return { values: null, note: '' };
    const values = await matmul(writtenBy(featureDirections(dictionary, gpu, chosen), way), Tensor.from(gpu, direction, [1, direction.length]), { transposeB: true }).read();
    const note = kind === 'v' ? `Effect: through this head’s attention from the last token, whose weight here is ${share.toFixed(3)}.` : 'Effect: what the feature adds directly to the logit difference.';
    return { values: values.map((value) => value * share), note };
  }

  /** What features stand for on the task's prompts: made once for a dictionary and position. */
  async interpretations(asked: Interpreting, features: readonly number[], signal: AbortSignal): Promise<Interpretations> {
    const { prompts } = this.session.data;
    const { interpretations, explained, l0 } = await this.interpreted(asked, signal);
    return {
      prompts: prompts.count, explained, l0,
      features: features.flatMap((feature) => {
        const found = interpretations.get(feature);
        return found ? [{ feature, kind: found.kind, property: found.property, f1: found.f1, precision: found.precision, recall: found.recall, active: found.active }] : [];
      }),
    };
  }

  private async interpreted(asked: Interpreting, signal: AbortSignal): Promise<Known> {
    const { session } = this;
    const { gpu, data } = session;
    const { dictionary, reads } = await this.open(asked.dictionary, asked.site, asked.position, signal);
    const own = this.known.get(dictionary) ?? new Map<string, Known>();
    this.known.delete(dictionary);
    this.known.set(dictionary, own);
    if (this.known.size > KEPT) this.known.delete(this.known.keys().next().value!);
    const before = own.get(asked.position);
    if (before) return before;
    const activations = await data.activations(placeOf(reads, asked.site, asked.position), signal);
    signal.throwIfAborted();
    this.interpreter ??= new Interpreter(gpu, data.prompts);
    const examples: Examples = { activations, attributes: data.attributes };
    const made = await gpu.scope(async (): Promise<Known> => {
      const codes = dictionary.encode(examples);
      const [found, error, spread] = [
        await this.interpreter!.interpret(codes, asked.position),
        await sumSquaresRows(sub(activations, dictionary.decode(codes, examples))).read(), await sumSquaresRows(sub(activations, meanColumns(activations))).read(),
      ];
      const total = (list: ArrayLike<number>): number => Array.from(list).reduce((a, b) => a + b, 0);
      return { interpretations: new Map(found.interpretations.map((one) => [one.feature, one])), explained: 1 - total(error) / total(spread), l0: total(found.counts.active) / data.prompts.count };
    });
    own.set(asked.position, made);
    return made;
  }

  /** Where a feature is most active on the task's prompts, and what it does to the logits: the latter alone for a model that cannot do the task. */
  async page(asked: Interpreting, feature: number, signal: AbortSignal): Promise<PageShown> {
    const { session } = this;
    const { model, data } = session;
    const { dictionary, reads } = await this.open(asked.dictionary, asked.site, asked.position, signal);
    if (!(Number.isInteger(feature) && feature >= 0 && feature < dictionary.features)) throw new UsageError(`the dictionary has the features 0 to ${dictionary.features - 1}, not ${feature}`);
    const place = placeOf(reads, asked.site, asked.position);
    if (!session.task) return { activity: [], examples: [], interpretation: null, attributionNote: null, ...(await this.logitsAlone(place, dictionary, feature)) };
    const { interpretations } = await this.interpreted(asked, signal);
    const activations = await data.activations(place, signal);
    const [page] = await featurePages(model, data.prompts, [{
      site: place, name: asked.dictionary, dictionary, examples: { activations, attributes: data.attributes }, interpretations: [...interpretations.values()].filter((one) => one.feature === feature), features: [feature],
    }], { examples: EXAMPLES, tokens: EFFECTS, signal });
    return page!;
  }

  private async logitsAlone(place: ActivationPlace, dictionary: Dictionary, feature: number): Promise<Pick<PageShown, 'logits' | 'logitsNote'>> {
    const { gpu, model } = this.session;
    const directions = featureDirections(dictionary, gpu, [feature]);
    const effects = await logitEffects(model, place, directions).finally(() => directions.dispose());
    if (!effects) return { logits: null, logitsNote: 'nothing is written from here to the residual stream in a straight line' };
    const [own] = effects;
    const order = Array.from(own!.keys()).sort((a, b) => own![b]! - own![a]!);
    const named = (ids: readonly number[]) => ids.map((id) => ({ token: tokenText(model, id), id, effect: own![id]! }));
    return { logits: { top: named(order.slice(0, EFFECTS)), bottom: named(order.slice(-EFFECTS).reverse()) }, logitsNote: null };
  }

  private async open(id: string, site: SiteShown, position: string | null, signal: AbortSignal): Promise<Opened> {
    const { session } = this;
    if (id !== SUPERVISED) {
      const { loaded, facts } = session.dictionary(id);
      return { dictionary: loaded.dictionary, reads: { hook: facts.hook, head: facts.head }, labels: null };
    }
    if (position === null || site.head === null || !isSiteKind(site.kind)) throw new UsageError('supervised codes are made for a head’s q, k, v or z at one of the task’s positions');
    const place = { kind: site.kind, layer: site.layer, head: site.head, position };
    const dictionary = await session.data.supervised(place, signal);
    return { dictionary, reads: { hook: hookName(site.kind, site.layer), head: site.head }, labels: (feature) => labelOf(dictionary, session.data.prompts.attributes, feature) };
  }
}

function isSiteKind(kind: string): kind is SiteKind {
  return (SITE_KINDS as readonly string[]).includes(kind);
}

/** The place that is read: one head of a site, or the whole of a hook. */
function placeOf({ hook, head }: Reading, { kind, layer }: SiteShown, position: string): ActivationPlace {
  return head !== null && isSiteKind(kind) ? { kind, layer, head, position } : { hook, position };
}

/** `S = Mary`, or `S = Mary, Pos = ABB` where a term has two columns. */
function labelOf({ terms }: SupervisedCodes, columns: Readonly<Record<string, { values: readonly string[] }>>, feature: number): string {
  const term = terms.find(({ first, values }) => feature >= first && feature < first + values)!;
  let rest = feature - term.first;
  return term.columns.map((name, i): [string, number] => [name, term.sizes[i]!]).reverse().map(([name, size]) => {
    const value = rest % size;
    rest = Math.floor(rest / size);
    return `${name} = ${columns[name]?.values[value] ?? value}`;
  }).reverse().join(', ');
}
