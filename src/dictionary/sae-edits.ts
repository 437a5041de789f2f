/**
 * Ways of editing with a sparse autoencoder (arXiv 2405.08366, section 5.1 and A.12), beside the greedy one. With codes α of the source and β of
 * the target, decoder rows d_j, and w_j the weights of the source's features in its reconstruction:
 *
 *   aware      for every edited attribute, of old value v and new value v': the first k' features active in the source of those ranked for v go,
 *              the first k' active in the target of those ranked for v' come:   a − Σ α_j d_j + Σ β_j d_j, k' = k / (2 · attributes) rounded down,
 *              so that no more than k change
 *   threshold  features whose weight exceeds 0.1 in one of the two and not in the other take the target's code:   a + Σ (β_j − α_j) d_j
 *
 * Either keeps the reconstruction's error. The weight removed is Σ w_j over what goes, or over all that change.
 */
import { ShapeError, UsageError } from '../errors.ts';
import { activeMask, add, affine, greedyApply, greedyChoose, greedyWeightRemoved, matmul, mul, pickRanked, reciprocalRows, sub, sumRows, Tensor, weightTerms } from '../tensor/index.ts';
import type { EditOptions, EditResult, Examples } from './dictionary.ts';

/** From which weight on a feature counts in a threshold edit. */
export const WEIGHT_THRESHOLD = 0.1;

/** For each attribute the features of a dictionary by falling F1 with each value: u32 [values, features]. */
export type Rankings = Readonly<Record<string, Tensor>>;

/** Weights per unit of code, d_j·(â − b) / ‖â − b‖²: [n, features]. */
export function unitWeights(codes: Tensor, decoder: Tensor): Tensor {
  return matmul(reciprocalRows(matmul(codes, decoder)), decoder, { transposeB: true });
}

/** 1 where a code is not zero: signed kinds have negative ones. */
function active(codes: Tensor): Tensor {
  return activeMask(codes, { signed: true });
}

/** What edits ask of a dictionary. */
export interface EditedDictionary {
  name: string;
  decoder: Tensor;
  /** d_i·d_j; null where that is too large to be formed, or no greedy edit is asked for. */
  gram: Tensor | null;
  /** Codes in units of the activations: d_j times a code is what the feature adds to the activation. */
  encode(examples: Examples): Tensor;
  /** The reconstruction of examples whose codes these are. */
  decode(codes: Tensor, examples: Examples): Tensor;
}

/**
 * Edits of one source towards one target, which share codes, weights and greedy rounds: an edit of fewer features is the beginning of one of
 * more. All tensors that are made belong to the caller's scope.
 */
export class SaeEdits {
  private readonly dictionary: EditedDictionary;
  private readonly source: Examples;
  private readonly target: Examples;
  private readonly most: number;
  private readonly made = new Map<string, unknown>();

  /** `most` is the largest k that will be asked of a greedy edit. */
  constructor(dictionary: EditedDictionary, source: Examples, target: Examples, most: number) {
    this.dictionary = dictionary;
    this.source = source;
    this.target = target;
    this.most = most;
  }

  /** Throws UsageError for an edit by interpretations without rankings, ShapeError for an attribute that is not ranked. */
  edit({ attributes, k, features = 'agnostic', rankings }: EditOptions): EditResult {
    if (features === 'threshold') return this.threshold();
    if (features !== 'aware') return this.greedy(features, k);
    if (!rankings) throw new UsageError(`dictionary ${this.dictionary.name}: an edit by interpretations needs rankings of its features`);
    return this.aware(attributes, Math.floor(k / (2 * Math.max(1, attributes.length))), rankings);
  }

  private greedy(towards: 'agnostic' | 'reconstruction', k: number): EditResult {
    const { source, target, dictionary: { decoder, decode, gram } } = this;
    const [sourceCodes, targetCodes] = this.codes();
    const choice = this.once(towards, () => {
      const [from, to] = towards === 'reconstruction' ? [decode(sourceCodes, source), decode(targetCodes, target)] : [source.activations, target.activations];
      return greedyChoose({ source: from, target: to, sourceCodes, targetCodes, decoder, gram }, Math.max(k, this.most));
    });
    const terms = this.once('terms', () => weightTerms(sourceCodes, decoder));
    return { activations: greedyApply(source.activations, decoder, choice, k), weightRemoved: greedyWeightRemoved(sourceCodes, decoder, choice, k, terms) };
  }

  private aware(attributes: readonly string[], most: number, rankings: Rankings): EditResult {
    const { source, target, dictionary: { decoder } } = this;
    const [sourceCodes, targetCodes] = this.codes();
    const { gpu } = sourceCodes;
    const [gone, come] = [Tensor.zeros(gpu, sourceCodes.shape), Tensor.zeros(gpu, targetCodes.shape)];
    for (const attribute of attributes) {
      const ranking = rankings[attribute];
      if (!ranking) throw new ShapeError(`features are not ranked for attribute ${attribute}`);
      for (const [side, codes, out] of [[source, sourceCodes, gone], [target, targetCodes, come]] as const) {
        const ids = side.attributes[attribute]!;
        pickRanked(codes, ranking, Tensor.from(gpu, ids, [ids.length]), most, out);
      }
    }
    return {
      activations: add(sub(source.activations, matmul(gone, decoder)), matmul(come, decoder)),
      weightRemoved: sumRows(mul(gone, this.units())),
      changed: sumRows(add(active(gone), active(come))),
    };
  }

  private threshold(): EditResult {
    const { decoder } = this.dictionary;
    const [sourceCodes, targetCodes] = this.codes();
    const weights = mul(sourceCodes, this.units());
    const heavy = (of: Tensor): Tensor => activeMask(affine(of, 1, -WEIGHT_THRESHOLD));
    const [before, after] = [heavy(weights), heavy(mul(targetCodes, unitWeights(targetCodes, decoder)))];
    // In one and not in the other: x + y − 2xy.
    const changed = sub(add(before, after), affine(mul(before, after), 2));
    return {
      activations: add(this.source.activations, matmul(mul(changed, sub(targetCodes, sourceCodes)), decoder)),
      weightRemoved: sumRows(mul(changed, weights)),
      changed: sumRows(changed),
    };
  }

  private codes(): readonly [source: Tensor, target: Tensor] {
    return this.once('codes', () => [this.dictionary.encode(this.source), this.dictionary.encode(this.target)] as const);
  }

  private units(): Tensor {
    return this.once('units', () => unitWeights(this.codes()[0], this.dictionary.decoder));
  }

  private once<T>(name: string, make: () => T): T {
    if (!this.made.has(name)) this.made.set(name, make());
    return this.made.get(name) as T;
  }
}
