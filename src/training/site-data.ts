/** The activations that a group of dictionaries learns from, scaled and ready for steps: one pool of examples a site, stacked. */
import { NumberError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { gatherExamples, meanColumns, sumSquaresRows, Tensor, vec4s } from '../tensor/index.ts';
import type { InputScale } from './settings.ts';

/** One scalar per site (evaluation.md §7.1): mean ‖a‖ / √width, or mean ‖a‖. Inputs divided by it have a mean length of √width, or 1. */
export async function siteScale(data: Tensor, name: string, inputs: InputScale = 'root-width'): Promise<number> {
  const squares = sumSquaresRows(data);
  const lengths = await squares.read();
  squares.dispose();
  let sum = 0;
  for (const square of lengths) sum += Math.sqrt(square);
  const scale = sum / lengths.length / (inputs === 'unit' ? 1 : Math.sqrt(data.shape[1]!));
  if (!Number.isFinite(scale)) throw new NumberError(`training ${name}: the activations hold NaN or infinity`);
  if (scale === 0) throw new NumberError(`training ${name}: all activations are zero`);
  return Math.fround(scale);
}

/** An examples' order and which of it a step takes. */
export interface Span { first: number; rows: number }

export class SiteData {
  /** Scaled examples, [pools, examples, width]. */
  readonly data: Tensor;
  /** Mean of each pool, [pools, width]. */
  readonly mean: Tensor;
  /** The examples in hand, [pools, maxRows, width]; `gather` fills it. */
  readonly x: Tensor;
  readonly scales: readonly number[];
  readonly examples: number;
  /** Width as kernels see it, a multiple of 4; numbers beyond the real width are zeros and stay zeros. */
  readonly width: number;
  readonly realWidth: number;
  readonly maxRows: number;
  private readonly raw: readonly Tensor[];
  private readonly ones: Tensor;
  private readonly identity: Tensor;

  private constructor(gpu: Gpu, raw: readonly Tensor[], scales: readonly number[], maxRows: number, { data, mean }: { data: Tensor; mean: Tensor }) {
    const [pools = 0, examples = 0, width = 0] = data.shape;
    this.raw = raw;
    this.scales = scales;
    this.data = data;
    this.mean = mean;
    this.examples = examples;
    this.width = width;
    this.realWidth = raw[0]!.shape[1]!;
    this.maxRows = maxRows;
    this.x = Tensor.empty(gpu, [pools, maxRows, width]);
    this.ones = Tensor.from(gpu, new Float32Array(pools).fill(1), [pools]);
    this.identity = Tensor.from(gpu, Uint32Array.from({ length: examples }, (_, i) => i), [examples]);
    for (const tensor of this.owned()) gpu.keep(tensor);
  }

  /** Takes the examples that the raw data hold now, with the scales of the first ones. */
  refresh(gpu: Gpu): void {
    gpu.scope(() => this.raw.forEach((activations, i) => putPool(gpu, activations, this.scales[i]!, i, this)));
  }

  /** Scales the data of sites of one width and one number of examples. `known` scales stand for those of the data. Throws NumberError, naming the site, for activations that are not finite or all zero. */
  static async create(gpu: Gpu, sites: readonly { name: string; data: Tensor }[], options: { maxRows: number; inputs: InputScale; known?: readonly number[] }): Promise<SiteData> {
    const raw = [...new Set(sites.map(({ data }) => data))];
    const scales = options.known ?? await Promise.all(raw.map((data) => siteScale(data, sites.find((site) => site.data === data)!.name, options.inputs)));
    const [examples, width] = raw[0]!.shape as [number, number];
    const padded = vec4s(width) * 4;
    return gpu.scope(() => {
      const data = Tensor.empty(gpu, [raw.length, examples, padded]);
      const mean = Tensor.empty(gpu, [raw.length, padded]);
      raw.forEach((activations, i) => putPool(gpu, activations, scales[i]!, i, { data, mean }));
      return new SiteData(gpu, raw, scales, options.maxRows, { data, mean });
    });
  }

  /** Which pool holds these activations. */
  poolOf(data: Tensor): number {
    return this.raw.indexOf(data);
  }

  /** Puts rows of every pool into `x`: those that `order` names, or as they lie. */
  gather(span: Span, order: Tensor = this.identity): void {
    gatherExamples(this.data, this.ones, { index: order, ...span }, this.x);
  }

  dispose(): void {
    for (const tensor of this.owned()) tensor.dispose();
  }

  private owned(): Tensor[] {
    return [this.data, this.mean, this.x, this.ones, this.identity];
  }
}

/** Scales activations [examples, width] into pool `i`, and their mean. */
function putPool(gpu: Gpu, activations: Tensor, scale: number, i: number, { data, mean }: { data: Tensor; mean: Tensor }): void {
  const [examples, width] = activations.shape as [number, number];
  const part = gatherExamples(activations.reshape([1, examples, width]), Tensor.from(gpu, [1 / scale], [1]), null);
  place(gpu, part, data, i);
  place(gpu, meanColumns(part.reshape([examples, data.shape[2]!])), mean, i);
}

/** Copies a tensor to where part `i` of a stacked one lies. */
export function place(gpu: Gpu, part: Tensor, stacked: Tensor, i: number): void {
  gpu.copy(part, { storage: stacked.storage, byteOffset: stacked.byteOffset + i * part.byteLength, byteLength: part.byteLength }, part.byteLength);
}
