/** Which dictionaries of a run share data and kernels, and what a run needs. Pure functions of jobs, settings and limits. */
import { LimitError } from '../errors.ts';
import type { Gpu, GpuLimits } from '../gpu/index.ts';
import { dictionariesPerStep, stepBytes, vec4s } from '../tensor/index.ts';
import { variantOf, type SaeJob, type TrainSettings } from './settings.ts';

/** Jobs whose data have one width and are bound together. */
export interface JobGroup {
  /** Positions in the run's jobs. */
  jobs: number[];
  /** The same positions by batches: jobs of one variant that are trained by the same dispatches. */
  batches: number[][];
}

/**
 * Puts jobs of the same width together, and among them those of the same variant: as many as the adapter can bind at once; one that
 * no binding holds whole is trained by itself, in windows of its features. Throws LimitError, before anything is allocated, for one that cannot be.
 */
export function groupJobs({ bindingBytes, bufferBytes = Infinity }: Pick<GpuLimits, 'bindingBytes'> & Partial<Pick<GpuLimits, 'bufferBytes'>>, jobs: readonly SaeJob[], features: number, maxRows: number): JobGroup[] {
  const positions = jobs.map((_, i) => i);
  return groupBy(positions, (i) => jobs[i]!.data.shape[1]!).flatMap((members) => {
    const { name, data } = jobs[members[0]!]!;
    const [examples = 0, width = 0] = data.shape;
    const sizes = { features, width: vec4s(width) * 4, maxRows };
    const pool = 4 * examples * sizes.width;
    // A pool beyond one binding is read in windows.
    const pools = Math.max(1, Math.floor(bindingBytes / pool));
    const most = dictionariesPerStep(sizes, { bindingBytes });
    if (most === 0) throw new LimitError(`training ${name}: needs ${Math.max(...Object.values(stepBytes(sizes)))} bytes in one binding, but this adapter allows ${bindingBytes}; use fewer features or a smaller batch`);
    // Bound in windows, but one buffer.
    const matrix = 4 * features * sizes.width;
    if (matrix > bufferBytes) throw new LimitError(`training ${name}: needs a buffer of ${matrix} bytes for each matrix, but this adapter allows ${bufferBytes}; use fewer features`);
    // Sites in the order in which jobs name them, as many as one binding holds.
    const sites = groupBy(members, (i) => jobs[i]!.data);
    return chunks(sites, pools).map((part) => part.flat().sort((a, b) => a - b)).map((inPart) => ({
      jobs: inPart, batches: groupBy(inPart, (i) => variantOf(jobs[i]!)).flatMap((same) => chunks(same, most)),
    }));
  });
}

/** About how many bytes a run of these jobs takes on the device beside the activations it is given: scaled examples, weights, gradients, moments, and a step's buffers. */
export function runBytes(jobs: readonly SaeJob[], { features }: Pick<TrainSettings, 'features'>, maxRows: number): number {
  const data = new Set<SaeJob['data']>(jobs.map((job) => job.data));
  let bytes = 0;
  for (const { shape: [examples = 0, width = 0] } of data) bytes += 4 * examples * vec4s(width) * 4;
  for (const { data: { shape } } of jobs) {
    const width = vec4s(shape[1]!) * 4;
    // Two matrices and the vectors beside them, each with its gradient and two moments.
    bytes += 4 * 4 * (2 * features * width + 4 * features + width);
    // Codes, their gradients and lists; shared among windows where there are many, so this is a bound.
    bytes += Math.min(4 * 4 * maxRows * (features + width), SCRATCH_BYTES / jobs.length);
  }
  return bytes;
}

/** Bytes that a run may take: three quarters of what the device's limit leaves, or 2 GiB where there is no limit. */
export function memoryFor(gpu: Pick<Gpu, 'memoryLimit' | 'memory'>): number {
  return Number.isFinite(gpu.memoryLimit) ? 0.75 * Math.max(0, gpu.memoryLimit - gpu.memory().live) : 2 * 2 ** 30;
}

/** Most that the buffers of the steps of a run take together, about. */
const SCRATCH_BYTES = 512 * 2 ** 20;

function groupBy<T, K>(items: readonly T[], key: (item: T) => K): T[][] {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return [...groups.values()];
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const out: T[][] = [];
  for (let start = 0; start < items.length; start += size) out.push(items.slice(start, start + size));
  return out;
}
