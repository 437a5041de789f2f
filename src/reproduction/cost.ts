/**
 * What work costs, from sizes alone: floating-point operations (a multiply-add is two), bytes moved between memory and arithmetic units,
 * dispatches, and the most memory held at once. Time follows from the adapter's measured ceilings and the shares of them that this engine
 * reaches on such work (bench/README.md).
 */
import type { Ceilings } from '../gpu/index.ts';

export interface Cost {
  operations: number;
  bytes: number;
  dispatches: number;
  /** bytes held at once on the device, beside the model */
  peak: number;
}

/** Shape of a model, as its configuration names it. */
export interface ModelShape { layers: number; heads: number; width: number; vocabulary: number }

export const NOTHING: Cost = { operations: 0, bytes: 0, dispatches: 0, peak: 0 };

/** One after the other: work adds up, memory is that of the largest. */
export function total(costs: readonly Cost[]): Cost {
  return costs.reduce((sum, cost) => ({
    operations: sum.operations + cost.operations, bytes: sum.bytes + cost.bytes, dispatches: sum.dispatches + cost.dispatches, peak: Math.max(sum.peak, cost.peak),
  }), NOTHING);
}

/** The same work so many times. */
export function times(count: number, cost: Cost): Cost {
  return { operations: count * cost.operations, bytes: count * cost.bytes, dispatches: count * cost.dispatches, peak: count > 0 ? cost.peak : 0 };
}

/** Many small kernels and reads between them. */
export function launches(count: number): Cost {
  return { ...NOTHING, dispatches: count };
}

/** All weights of a model, in bytes. */
export function weightBytes({ layers, width, vocabulary }: ModelShape): number {
  return 4 * (12 * layers * width ** 2 + vocabulary * width);
}

export interface RunSize {
  prompts: number;
  /** positions computed of each prompt, on average */
  positions: number;
  /** first layer computed; 0 unless given */
  fromLayer?: number;
  /** A resumed run that is patched at queries, keys, values or outputs of heads: those of its first layer are there already. */
  resumed?: boolean;
  /** layer whose attention is the deepest thing computed; unless given, all layers and logits are */
  attentionOf?: number;
  /** rows of logits of each prompt; with one the last layer computes no more than that position behind its attention */
  logits?: number;
  /** prompts in one forward pass */
  batch: number;
}

/** Kernels of one layer, and of embedding, logits and what is taken from them. */
const DISPATCHES = { layer: 9, ends: 12 };
/** Operations of one layer and position, as multiples of width²: queries, keys and values, and what comes behind attention. */
const UNITS = { attention: 6, behind: 18 };

/** Forward passes of all prompts: 24 · width² operations a layer and position, attention, and 2 · width · vocabulary a row of logits. */
export function runCost(model: ModelShape, size: RunSize): Cost {
  const { layers, width, vocabulary } = model;
  const { prompts, positions, fromLayer = 0, resumed = false, attentionOf, batch } = size;
  const logits = attentionOf === undefined ? size.logits ?? 1 : 0;
  const whole = (attentionOf ?? layers) - fromLayer;
  const units = Math.max(0, positions * ((UNITS.attention + UNITS.behind) * whole + (attentionOf === undefined ? 0 : UNITS.attention) - (resumed ? UNITS.attention : 0))
    - (logits === 1 ? UNITS.behind * (positions - 1) : 0));
  const passes = Math.ceil(prompts / batch);
  const depth = whole + (attentionOf === undefined ? 0 : UNITS.attention / (UNITS.attention + UNITS.behind));
  const rows = prompts * positions;
  const inOne = Math.min(batch, prompts) * positions;
  return {
    operations: prompts * (units * width ** 2 + depth * 4 * positions ** 2 * width) + 2 * prompts * logits * width * vocabulary,
    bytes: passes * 4 * (12 * depth * width ** 2 + (logits > 0 ? vocabulary * width : 0)) + 4 * rows * depth * 40 * width + 4 * prompts * logits * vocabulary * 2,
    dispatches: passes * (Math.ceil(depth) * DISPATCHES.layer + DISPATCHES.ends),
    peak: 4 * (inOne * width * (4 * layers + 16) + 2 * Math.min(batch, prompts) * logits * vocabulary),
  };
}

export interface DictionarySize { rows: number; width: number; features: number }

/** Encoding, and decoding if asked, of `rows` activations by one dictionary: a product each. */
export function codesCost({ rows, width, features }: DictionarySize, products = 2): Cost {
  return {
    operations: 2 * products * rows * width * features, bytes: 4 * products * (rows * (width + features) + width * features), dispatches: 2 * products,
    peak: 4 * rows * (2 * features + 3 * width),
  };
}

/** Kernels of one step of dictionaries that are trained side by side. */
const STEP_DISPATCHES = 20;

/** Training of dictionaries, in so many batches: five products of examples, width and features a step, and Adam over two matrices. */
export function trainingCost({ rows, width, features }: DictionarySize, dictionaries: number, { sites = 1, batches = 1, batch, epochs }: { sites?: number; batches?: number; batch: number; epochs: number }): Cost {
  const steps = epochs * Math.ceil(rows / batch);
  const parameters = dictionaries * 2 * width * features;
  return {
    operations: epochs * rows * dictionaries * 10 * width * features + steps * 12 * parameters,
    bytes: 4 * (steps * 8 * parameters + epochs * rows * dictionaries * (6 * features + 8 * width)),
    dispatches: steps * STEP_DISPATCHES * batches,
    peak: 4 * (4 * parameters + sites * rows * width + dictionaries * batch * 2 * features),
  };
}

/** Greedy edits of `rows` activations by k features: both codes, and k rounds over all features. */
export function greedyCost(size: DictionarySize, k: number): Cost {
  const { rows, width, features } = size;
  const codes = codesCost(size, 2);
  return { operations: codes.operations + rows * features * (2 * width + 4 * k), bytes: codes.bytes + 4 * rows * features * (2 + k), dispatches: codes.dispatches + 4, peak: codes.peak * 2 };
}

/** What an adapter does a second at this kind of work. */
export interface Rates { operations: number; bytes: number; dispatches: number }

/**
 * Shares of the ceilings that whole forward passes and training steps reach. On CPU drivers measured: 14 to 16 of 65 GFLOP/s, 27 to 36 % of the
 * copy rate; a dispatch takes twenty times as long as the smallest there is, which says that threads have to be woken for it. On GPUs
 * estimated, because none was at hand when this was written.
 */
const SHARES = { software: { operations: 0.24, bytes: 0.3, dispatches: 0.05 }, hardware: { operations: 0.35, bytes: 0.6, dispatches: 0.5 } };

export function ratesOf({ gflops, copyGBps, dispatchesPerSecond }: Pick<Ceilings, 'gflops' | 'copyGBps' | 'dispatchesPerSecond'>, software: boolean): Rates {
  const share = software ? SHARES.software : SHARES.hardware;
  return { operations: 1e9 * gflops * share.operations, bytes: 1e9 * copyGBps * share.bytes, dispatches: share.dispatches * dispatchesPerSecond };
}

/** Arithmetic and memory traffic go side by side, and the slower one counts; launching comes on top. */
export function secondsOf({ operations, bytes, dispatches }: Cost, rates: Rates): number {
  return Math.max(operations / rates.operations, bytes / rates.bytes) + dispatches / rates.dispatches;
}
