/** What a run takes on the device, term by term: to be told before it starts, and to be held against what it then took. A pure function of jobs, settings and limits. */
import { sizeClass, type GpuLimits } from '../gpu/index.ts';
import { partShape, saeParts, stepMemory, vec4s } from '../tensor/index.ts';
import { groupJobs } from './plan.ts';
import { scheduleOf } from './schedule.ts';
import { variantOf, type SaeJob, type TrainSettings } from './settings.ts';
import { StreamedExamples } from './stream.ts';
import { variantPolicies } from './variants.ts';

export interface RunMemory {
  /** Bytes by what they are for. */
  terms: { name: string; bytes: number }[];
  /** Most bytes of buffers, in use and waiting for reuse together, at a time (`gpu.memory().peak`), beside those of the activations given. */
  total: number;
}

/** What of an adapter it goes by. `software`: a CPU driver, where one buffer more is needed. */
export type MemoryLimits = Pick<GpuLimits, 'bindingBytes'> & Partial<Pick<GpuLimits, 'bufferBytes'>> & { software: boolean };

/**
 * With D dictionaries of F features, examples of width d (rounded up to 4) in P sites of E examples each, and n examples a step, in numbers of four
 * bytes, each buffer rounded up as the pool does, by an eighth at most:
 *
 *   examples     P (E + n + 2) d + 2 E, E d by halves with `storage` f16, and as much again for the largest site while it is scaled,
 *                or as much of it as a binding holds; not for a stream's
 *   weights      per dictionary 2 F d + d and a vector of F for each of the kind's others, of which there are 1 to 3
 *   gradients    as many, and a count per feature
 *   moments      twice as many, without the decoder where it is frozen
 *   codes        n F for the codes, one n F each for their gradients and two lists of the active (with windows of features: of the largest window);
 *                gated kinds twice as many codes and gradients; jumprelu and auxiliary losses one n F more. Batches of many dictionaries have
 *                this for a window of dictionaries.
 *   errors       3 to 6 n d, and sums along the way
 *   counts       a number per feature, up to four, and what searches for the largest codes count
 *   drawing      once 2 to 4 F d for the first dictionary's random numbers, which the finished dictionaries then take over
 *   finished     per dictionary the weights again, beyond what drawing left
 *
 * Left out: up to 8 · 1,024 d while dead features are resampled by loss, and what a model that makes the activations takes.
 */
export function runMemory(jobs: readonly SaeJob[], settings: TrainSettings, limits: MemoryLimits): RunMemory {
  const { features: F, deadAfter, storage, encoderStart, gatedStart, topkDecoder, auxiliaryCoefficient } = settings;
  const sums = new Map<string, number>();
  const add = (name: string, numbers: readonly number[], times = 1): number => {
    const bytes = numbers.reduce((sum, count) => sum + times * sizeClass(Math.max(4, Math.ceil(count * 4))), 0);
    sums.set(name, (sums.get(name) ?? 0) + bytes);
    return bytes;
  };
  const examples = jobs[0]?.data.shape[0] ?? 0;
  const { maxRows: n } = scheduleOf(settings, examples);
  add('examples', [examples]); // their order
  let [scaling, drawing, finished] = [0, 0, 0];
  for (const group of groupJobs(limits, jobs, F, n)) {
    const realWidth = jobs[group.jobs[0]!]!.data.shape[1];
    const d = vec4s(realWidth) * 4;
    const P = new Set(group.jobs.map((i) => jobs[i]!.data)).size;
    const pool = examples * d;
    const together = storage === 'f32' && P * pool * 4 <= limits.bindingBytes;
    add('examples', together ? [P * pool] : Array.from({ length: P }, () => (storage === 'f16' ? pool / 2 : pool)));
    add('examples', [P * d, ...Array.from({ length: P }, () => d), P * n * d, P, examples, n]);
    // A stream brings its examples in parts that it makes room for itself.
    if (group.jobs.some((i) => !(jobs[i]!.data instanceof StreamedExamples))) scaling = Math.max(scaling, sizeClass(4 * Math.min(pool, Math.ceil(limits.bindingBytes / 4))));
    for (const members of group.batches) {
      const variant = variantOf(jobs[members[0]!]!);
      const { kernels, sparsity, decoder } = variantPolicies[variant];
      const D = members.length;
      const auxiliary = sparsity === 'k' && auxiliaryCoefficient > 0;
      const signed = variant === 'topk' && settings.signedTopk;
      const sizes = { dictionaries: D, features: F, width: d, maxRows: n };
      const step = stepMemory(sizes, { variant: kernels, path: kernels === 'vanilla' ? settings.path : 'auto', signed, auxiliary }, limits, limits.software);
      const parts = saeParts(kernels);
      const stacked = (names: readonly (typeof parts)[number][]): number[] => names.map((part) => D * partShape(part, sizes).reduce((a, b) => a * b, 1));
      add('weights', stacked(parts));
      add('moments', stacked(parts.filter((part) => decoder || part !== 'decoder')), 2);
      for (const [name, numbers] of Object.entries(step)) add(name, numbers);
      add('counts', [D * 4, D * 4, D, D, D, D, ...(deadAfter > 0 ? [D * F, D * F] : []), ...(settings.centre ? [D * realWidth] : [])]);
      // Drawn and brought to length, padded if need be, then the encoder where it is no copy of the decoder.
      const [narrow, padded] = [F * realWidth, F * d].map((count) => sizeClass(4 * count)) as [number, number];
      const free = sparsity === 'k' && topkDecoder === 'free';
      const padding = d === realWidth ? 0 : padded;
      const own = variant === 'gated' && gatedStart === 'untied' ? narrow + padding : sparsity === 'l1' && encoderStart === 'balanced' && 2 * realWidth < F ? padded : 0;
      drawing = Math.max(drawing, free ? narrow + padding : 2 * narrow + padding + own);
      const vectors = (parts.length - 3) * sizeClass(4 * F) + sizeClass(4 * d) + (kernels === 'batchtopk' ? sizeClass(4 * F) : 0);
      finished += D * (2 * narrow + vectors) + (padding ? 2 * narrow : 0);
    }
  }
  sums.set('drawing', drawing);
  sums.set('finished', Math.max(0, finished - drawing));
  sums.set('scaling', scaling);
  const terms = [...sums].map(([name, bytes]) => ({ name, bytes }));
  return { terms, total: terms.reduce((sum, { bytes }) => sum + bytes, 0) };
}
