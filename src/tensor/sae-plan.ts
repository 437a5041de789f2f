/**
 * How a training step of many sparse autoencoders is carried out: which path, and in which windows of dictionaries. Pure functions of sizes
 * and limits, because a resumed run must make the same choices, and so that they are tested without a device.
 */
import { LimitError } from '../errors.ts';
import type { GpuLimits } from '../gpu/index.ts';
import type { SaeVariant } from './sae-variant.ts';

/** After the encoder, which is dense on both: products over all features, or sums over the active ones. */
export type SaePath = 'sparse' | 'dense';

/** Sizes of a batch of dictionaries. `width` is a multiple of 4: pad with zeros, which stay zeros. */
export interface StepSizes { dictionaries: number; features: number; width: number; maxRows: number }

/** Dictionaries [first, first + count) of a batch. */
export interface DictionaryWindow { first: number; count: number }

/** Features [start, start + count) of a dictionary: rows of both its matrices. */
export interface FeatureWindow { start: number; count: number }

/**
 * From so many features on a trained vanilla dictionary's few active ones are quicker done alone. On lavapipe both paths take as long at
 * about 70 active features of 512, 120 of 1,024, 250 of 2,048, 370 of 4,096 and beyond 1,000 of 24,576.
 */
const SPARSE_FEATURES = 1024;
/** Buffers that live within a window stay about this small where that costs nothing: a batch of hundreds then needs little memory beside its weights. */
const SCRATCH_BYTES = 64 * 2 ** 20;
/** Terms that one thread of sae-bias-gradient sums: all of them up to the first number, slices of the second beyond it. */
const ONE_SLICE = 1024;
const SLICE = 256;
/** Numbers between places where a binding may start. */
const ALIGNMENT = 64;

/**
 * The path for a kind of dictionary. A vanilla one's activity is not known beforehand and changes during training, so that its features
 * decide; the few codes that top-k kinds keep are always quicker done alone; others have gradients at inactive features too.
 */
export function saePath({ features }: Pick<StepSizes, 'features'>, variant: SaeVariant = 'vanilla'): SaePath {
  if (variant === 'vanilla') return features >= SPARSE_FEATURES ? 'sparse' : 'dense';
  return variant === 'topk' || variant === 'batchtopk' ? 'sparse' : 'dense';
}

/** Bytes of the largest buffer that a step needs for one dictionary of a window, and of the largest that it needs for one of the batch. */
export function stepBytes({ features, width, maxRows }: Omit<StepSizes, 'dictionaries'>): { scratch: number; state: number } {
  return { scratch: 4 * Math.max((maxRows + 1) * features, maxRows * width), state: 4 * Math.max(features * width, 4 * maxRows, width) };
}

/** The most dictionaries that one step can hold: one where it is cut into windows of features, 0 if the adapter cannot bind those either. */
export function dictionariesPerStep(sizes: Omit<StepSizes, 'dictionaries'>, limits: Pick<GpuLimits, 'bindingBytes'>): number {
  const { bindingBytes } = limits;
  const { scratch, state } = stepBytes(sizes);
  const inOneWindow = whole(sizes, limits);
  if (inOneWindow === 0) return featuresPerWindow(sizes, limits) > 0 ? 1 : 0;
  return aligned(sizes) * scratch <= bindingBytes ? Math.floor(bindingBytes / state) : inOneWindow;
}

/** Dictionaries that one binding holds whole, with their codes. */
function whole(sizes: Omit<StepSizes, 'dictionaries'>, { bindingBytes }: Pick<GpuLimits, 'bindingBytes'>): number {
  const { scratch, state } = stepBytes(sizes);
  return Math.floor(bindingBytes / Math.max(scratch, state));
}

/**
 * Features of a window of a dictionary that no binding holds whole, a multiple of what lets every part of it begin where a binding may; 0 where
 * not even so many can be bound, or the examples in hand, or one number a feature.
 */
function featuresPerWindow({ features, width, maxRows }: Omit<StepSizes, 'dictionaries'>, { bindingBytes }: Pick<GpuLimits, 'bindingBytes'>): number {
  if (4 * Math.max(maxRows * width, 4 * maxRows, features) > bindingBytes) return 0;
  const fit = (bytes: number): number => Math.floor(bytes / (4 * Math.max(maxRows + 1, width)) / ALIGNMENT) * ALIGNMENT;
  return fit(Math.min(SCRATCH_BYTES, bindingBytes)) || fit(bindingBytes);
}

/**
 * All features as one window, or where a single dictionary's matrices or codes are beyond a binding as many as it takes, all but the last equal.
 * Throws LimitError.
 */
export function featureWindows(sizes: StepSizes, limits: Pick<GpuLimits, 'bindingBytes'>): FeatureWindow[] {
  const { features, dictionaries } = sizes;
  if (dictionaries !== 1 || whole(sizes, limits) > 0) return [{ start: 0, count: features }];
  const most = featuresPerWindow(sizes, limits);
  if (most === 0) throw tooLarge(sizes, limits);
  const even = Math.ceil(features / Math.ceil(features / most) / ALIGNMENT) * ALIGNMENT;
  return Array.from({ length: Math.ceil(features / even) }, (_, i) => ({ start: i * even, count: Math.min(even, features - i * even) }));
}

function tooLarge(sizes: StepSizes, { bindingBytes }: Pick<GpuLimits, 'bindingBytes'>): LimitError {
  const { scratch, state } = stepBytes(sizes);
  return new LimitError(`a training step of ${sizes.dictionaries} dictionaries needs ${sizes.dictionaries * state} bytes of each weight and ${scratch} bytes of codes for each in one binding, but this adapter allows ${bindingBytes}`);
}

/** Windows of dictionaries, each as large as one binding and good sense allow, all but the last equal. Throws LimitError. */
export function stepWindows(sizes: StepSizes, limits: Pick<GpuLimits, 'bindingBytes'>): DictionaryWindow[] {
  const { dictionaries } = sizes;
  if (dictionaries === 0) return [];
  const most = dictionariesPerStep(sizes, limits);
  const { scratch } = stepBytes(sizes);
  if (dictionaries > most) throw tooLarge(sizes, limits);
  const unit = aligned(sizes);
  const fit = (bytes: number): number => Math.floor(bytes / scratch);
  const wanted = Math.max(unit, Math.floor(fit(Math.min(SCRATCH_BYTES, limits.bindingBytes)) / unit) * unit);
  const count = dictionaries <= wanted || wanted > fit(limits.bindingBytes) ? dictionaries : wanted;
  // As even as alignment allows.
  const even = Math.ceil(dictionaries / Math.ceil(dictionaries / count) / unit) * unit;
  const windows: DictionaryWindow[] = [];
  for (let first = 0; first < dictionaries; first += even) windows.push({ first, count: Math.min(even, dictionaries - first) });
  return windows;
}

/** How the terms of the decoder bias' gradient are cut up. */
export function slicesOf(rows: number, features: number): { slices: number; slice: number } {
  const terms = rows + features;
  const slice = terms <= ONE_SLICE ? ONE_SLICE : SLICE;
  return { slices: Math.ceil(terms / slice), slice };
}

/** The same by windows of features, of which the first has the terms of rows. Their numbers are rounded up so that each window's begin where a binding may; `end` is where they end. */
export function wideSlices(windows: readonly FeatureWindow[], rows: number): { slices: number; slice: number; end: number }[] {
  let end = 0;
  return windows.map(({ count }, i) => {
    const slices = Math.ceil(((i === 0 ? rows : 0) + count) / SLICE / 16) * 16;
    end += slices;
    return { slices, slice: SLICE, end };
  });
}

/** Dictionaries after which all weights begin where a binding may. */
function aligned({ features, width }: Pick<StepSizes, 'features' | 'width'>): number {
  return ALIGNMENT / Math.min(gcd(features, ALIGNMENT), gcd(width, ALIGNMENT));
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
