/**
 * Interprets the features of many dictionaries over the same prompts: counts on the GPU where each is active, and matches them with the
 * properties that belong to its position (predicates.ts, interpretability.ts). What depends on the prompts alone is made once.
 */
import { ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import type { Prompts } from '../task/index.ts';
import { countUnions, Tensor } from '../tensor/index.ts';
import { countActive, placeGroupings, type PlacedGrouping } from './active-counts.ts';
import { bestPredicates, interpretFeatures, kindCounts, UNION_LIMIT, type ActiveCounts, type Interpretation, type UnionCounts } from './interpretability.ts';
import { familyOf, NO_PREDICATE, propertiesOf, type Overlap, type Properties, type PropertyKind } from './predicates.ts';

export interface InterpreterOptions {
  /** Most values in a union; the paper takes 10, and 30 for dictionaries of a whole language. */
  unionLimit?: number;
}

/** What the features of one dictionary at one site stand for. */
export interface Interpreted {
  counts: ActiveCounts;
  /** One for each feature that is ever active, in their order. */
  interpretations: Interpretation[];
  /** F1 of each feature's best property, 0 for features that are never active: [features] */
  bestF1: Float64Array;
}

/** The properties of one family of positions, on the GPU. */
interface Family {
  properties: Properties;
  placed: PlacedGrouping[];
  /** of kinds whose predicates overlap */
  overlaps: { kind: PropertyKind; holds: Tensor; prompts: number[][] }[];
}

export class Interpreter {
  readonly prompts: Prompts;
  private readonly gpu: Gpu;
  private readonly unionLimit: number;
  private readonly families = new Map<string, Family>();

  constructor(gpu: Gpu, prompts: Prompts, { unionLimit = UNION_LIMIT }: InterpreterOptions = {}) {
    this.gpu = gpu;
    this.prompts = prompts;
    this.unionLimit = unionLimit;
  }

  /** Matches codes [prompts, features] of a site at this position. Throws ShapeError for codes of other prompts. */
  async interpret(codes: Tensor, position: string): Promise<Interpreted> {
    if (codes.shape.length !== 2 || codes.shape[0] !== this.prompts.count) throw new ShapeError(`codes [${codes.shape.join(', ')}] are not those of ${this.prompts.count} prompts`);
    const family = this.family(position);
    const counts = await countActive(codes, family.placed);
    const overlapping = new Map<PropertyKind, UnionCounts>();
    for (const { kind, holds, prompts } of family.overlaps) overlapping.set(kind, await this.unions(codes, counts, family.properties, kind, holds, prompts));
    const interpretations = interpretFeatures(family.properties, counts, { unionLimit: this.unionLimit, overlapping });
    const bestF1 = new Float64Array(counts.features);
    for (const { feature, f1 } of interpretations) bestF1[feature] = f1;
    return { counts, interpretations, bestF1 };
  }

  /** The properties that features at a position are matched with. */
  properties(position: string): Properties {
    return this.family(position).properties;
  }

  dispose(): void {
    for (const { placed, overlaps } of this.families.values()) {
      for (const { order, starts } of placed) for (const tensor of [order, starts]) tensor.dispose();
      for (const { holds } of overlaps) holds.dispose();
    }
    this.families.clear();
  }

  private family(position: string): Family {
    const name = familyOf(this.prompts, position);
    let family = this.families.get(name);
    if (!family) {
      const properties = propertiesOf(this.prompts, position);
      const placed = placeGroupings(this.gpu, properties.groupings);
      for (const { order, starts } of placed) for (const tensor of [order, starts]) this.gpu.keep(tensor);
      const overlaps = properties.kinds.flatMap((kind) => (typeof kind.unions === 'object' ? [this.place(kind, kind.unions)] : []));
      this.families.set(name, (family = { properties, placed, overlaps }));
    }
    return family;
  }

  private place(kind: PropertyKind, { holds }: Overlap): Family['overlaps'][number] {
    const { count } = this.prompts;
    const table = new Uint32Array(count * holds.length);
    const prompts: number[][] = kind.labels.map(() => []);
    holds.forEach((column, c) => column.forEach((predicate, prompt) => {
      table[prompt * holds.length + c] = predicate;
      if (predicate !== NO_PREDICATE) prompts[predicate]!.push(prompt);
    }));
    return { kind, holds: this.gpu.keep(Tensor.from(this.gpu, table, [count, holds.length])), prompts };
  }

  /** For each feature its best predicates in their order, and how many prompts each further one adds to their union. */
  private async unions(codes: Tensor, counts: ActiveCounts, properties: Properties, kind: PropertyKind, holds: Tensor, prompts: readonly number[][]): Promise<UnionCounts> {
    const { features } = counts;
    const { gpu, unionLimit: limit } = this;
    const table = kindCounts(properties, kind, counts);
    const order = new Uint32Array(limit);
    const ranks = new Uint32Array(kind.labels.length * features).fill(NO_PREDICATE);
    const held = new Float64Array(features * limit);
    const seen = new Uint32Array(this.prompts.count);
    const scores = new Float64Array(limit);
    for (let feature = 0; feature < features; feature++) {
      if (counts.active[feature]! === 0) continue;
      const found = bestPredicates(table, features, feature, counts.active[feature]!, order, scores);
      let size = 0;
      for (let m = 0; m < found; m++) {
        ranks[order[m]! * features + feature] = m;
        for (const prompt of prompts[order[m]!]!) {
          if (seen[prompt] === feature + 1) continue;
          seen[prompt] = feature + 1;
          size++;
        }
        held[feature * limit + m] = size;
      }
    }
    const firsts = await gpu.scope(() => countUnions(codes, holds, Tensor.from(gpu, ranks, [kind.labels.length, features]), limit).read());
    const both = Float64Array.from(firsts);
    for (let i = features; i < both.length; i++) both[i]! += both[i - features]!;
    return { both, holds: held };
  }
}
