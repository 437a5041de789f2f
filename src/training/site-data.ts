/**
 * The activations that a group of dictionaries learns from, scaled and ready for steps: one pool of examples a site. They are those of tensors,
 * or what a stream brings in rounds; what they are scaled by (measures.ts) is measured once, on all examples of a tensor or on the first round.
 */
import { UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { addScaled, gatherExamples, gatherRows, meanColumns, narrow16, normalizeRows, rowWindows, sub, Tensor, vec4s } from '../tensor/index.ts';
import { measuresOf, PartMeasures, type Measures, type MeasureSettings } from './measures.ts';
import { isOwnScale, type SaeJob, type TrainSettings } from './settings.ts';
import { StreamedExamples, type ActivationStream } from './stream.ts';

/** An examples' order and which of it a step takes. */
export interface Span { first: number; rows: number }

export type SiteDataOptions = { maxRows: number } & Partial<MeasureSettings & Pick<TrainSettings, 'storage'>>;

type Site = Pick<SaeJob, 'name' | 'data'>;

export class SiteData {
  /** Mean of the examples of each pool as they are in it, [pools, width]. */
  readonly mean: Tensor;
  /** The examples in hand, [pools, maxRows, width]; `gather` fills it. */
  readonly x: Tensor;
  readonly examples: number;
  /** Width as kernels see it, a multiple of 4; numbers beyond the real width are zeros and stay zeros. */
  readonly width: number;
  readonly realWidth: number;
  readonly maxRows: number;
  /** What each pool's activations are divided by. */
  readonly scales: number[] = [];
  /** What is taken from each pool's activations first, [realWidth]; null where inputs are not centred. */
  readonly centres: (Tensor | null)[] = [];
  private readonly gpu: Gpu;
  private readonly sites: readonly Site[];
  private readonly settings: MeasureSettings;
  /** All pools as [pools, examples, width] where that is f32 and fits one binding; else one tensor a pool, [examples, width]. */
  private readonly together: Tensor | null;
  private readonly apart: readonly Tensor[];
  private readonly means: readonly Tensor[];
  /** Examples of the round that have come into each pool. */
  private readonly received: number[];
  private readonly ones: Tensor;
  private readonly identity: Tensor;
  /** Part of an order, where pools lie apart. */
  private readonly part: Tensor;

  private constructor(gpu: Gpu, sites: readonly Site[], { maxRows, inputs = 'root-width', centre = false, storage = 'f32' }: SiteDataOptions) {
    const [examples, width] = sites[0]!.data.shape as [number, number];
    const pools = sites.length;
    this.gpu = gpu;
    this.sites = sites;
    this.examples = examples;
    this.realWidth = width;
    this.width = vec4s(width) * 4;
    this.maxRows = maxRows;
    this.settings = { inputs, centre };
    const together = storage === 'f32' && pools * examples * this.width * 4 <= gpu.limits.bindingBytes;
    this.together = together ? Tensor.zeros(gpu, [pools, examples, this.width]) : null;
    this.apart = together ? [] : sites.map(() => Tensor.zeros(gpu, [examples, this.width], storage));
    this.mean = Tensor.zeros(gpu, [pools, this.width]);
    this.means = sites.map(() => Tensor.zeros(gpu, [this.width]));
    this.received = sites.map(() => 0);
    this.x = Tensor.empty(gpu, [pools, maxRows, this.width]);
    this.ones = Tensor.from(gpu, new Float32Array(pools).fill(1), [pools]);
    this.identity = Tensor.from(gpu, Uint32Array.from({ length: examples }, (_, i) => i), [examples]);
    this.part = Tensor.zeros(gpu, [maxRows], 'u32');
    for (const tensor of this.owned()) gpu.keep(tensor);
  }

  /**
   * Room for sites of one width and one number of examples, with the data of tensors in it; those of a stream come by `fillSites`. `known`
   * measures, by distinct data, stand for those of the data. Throws NumberError, naming the site, for activations that are not finite or all zero.
   */
  static async create(gpu: Gpu, sites: readonly Site[], options: SiteDataOptions & { known?: readonly Measures[] }): Promise<SiteData> {
    const distinct = [...new Map([...sites].reverse().map((site) => [site.data, site])).values()].reverse();
    const site = gpu.scope(() => new SiteData(gpu, distinct, options));
    try {
      options.known?.forEach((known, i) => site.setMeasures(i, known));
      for (const [i, { data, name }] of distinct.entries()) {
        if (data instanceof StreamedExamples) continue;
        if (!options.known) site.setMeasures(i, await measuresOf(data, name, site.settings));
        gpu.scope(() => {
          for (const { start, count } of rowWindows(gpu, site.examples, [site.realWidth * 4])) site.put(i, data.rows(start, count), start);
          place(gpu, site.means[i]!, site.mean, i);
        });
      }
    } catch (error) {
      site.dispose();
      throw error;
    }
    return site;
  }

  /** Which pool holds these activations; −1 for none. */
  poolOf(data: SaeJob['data']): number {
    return this.sites.findIndex((site) => site.data === data);
  }

  /** Puts rows of every pool into `x`: those that `order` names, or as they lie. */
  gather(span: Span, order: Tensor = this.identity): void {
    const { gpu, together, apart, ones, x, part, width } = this;
    if (together) {
      gatherExamples(together, ones, { index: order, ...span }, x);
      return;
    }
    gpu.scope(() => {
      gpu.copy({ storage: order.storage, byteOffset: order.byteOffset + span.first * 4, byteLength: span.rows * 4 }, part, span.rows * 4);
      const index = part.rows(0, span.rows);
      apart.forEach((pool, i) => {
        const rows = gatherRows(pool, index);
        gpu.copy(rows, { storage: x.storage, byteOffset: x.byteOffset + i * span.rows * width * 4, byteLength: rows.byteLength }, rows.byteLength);
      });
    });
  }

  /** Single examples as they are in the pools, [n, width]: number `example` of `pool` each. */
  pick(choices: readonly { pool: number; example: number }[]): Tensor {
    const { gpu, together, apart, examples, width } = this;
    const rows = (table: Tensor, index: readonly number[]): Tensor => gatherRows(table, Tensor.from(gpu, Uint32Array.from(index), [index.length]));
    return gpu.scope(() => {
      if (together) return rows(together.reshape([-1, width]), choices.map(({ pool, example }) => pool * examples + example));
      // Rows of other pools come as zeros.
      return apart.map((pool, i) => rows(pool, choices.map((choice) => (choice.pool === i ? choice.example : 0xffffffff)))).reduce((sum, own) => addScaled(sum, own, 1));
    });
  }

  /** Measures what a stream brings, by passes over its first round. */
  measuring(): { pool: number; measures: PartMeasures }[] {
    return this.streamed().map((pool) => ({ pool, measures: new PartMeasures(this.gpu, this.sites[pool]!.name, [this.examples, this.realWidth], this.settings) }));
  }

  setMeasures(pool: number, { scale, mean }: Measures): void {
    this.scales[pool] = scale;
    this.centres[pool] = mean && this.gpu.keep(Tensor.from(this.gpu, mean, [this.realWidth]));
  }

  /** Before a round of a stream. */
  startRound(): void {
    for (const pool of this.streamed()) {
      this.received[pool] = 0;
      this.gpu.clear(this.means[pool]!, this.means[pool]!.byteLength);
    }
  }

  /** After it. Throws UsageError, naming the site, if examples are missing. */
  endRound(): void {
    for (const pool of this.streamed()) {
      if (this.received[pool] !== this.examples) throw new UsageError(`training ${this.sites[pool]!.name}: the stream brings ${this.received[pool]} of ${this.examples} examples of a round`);
      place(this.gpu, this.means[pool]!, this.mean, pool);
    }
  }

  /** Scales examples [n, width] into a pool, where they are number `at` and on, and adds their share to its mean. */
  put(pool: number, rows: Tensor, at: number): void {
    const { gpu, together, examples, width, settings: { inputs } } = this;
    const n = rows.shape[0]!;
    this.received[pool]! += n;
    gpu.scope(() => {
      const centre = this.centres[pool];
      const moved = centre ? sub(rows, centre) : isOwnScale(inputs) ? normalizeRows(rows, inputs).rows : rows;
      const scaled = gatherExamples(moved.reshape([1, n, this.realWidth]), Tensor.from(gpu, [1 / this.scales[pool]!], [1]), null).reshape([n, width]);
      const mean = this.means[pool]!;
      addScaled(mean, meanColumns(scaled), n / examples, { out: mean });
      const into = together ?? this.apart[pool]!;
      const stored = into.dtype === 'f16' ? narrow16(scaled) : scaled;
      const first = (together ? pool * examples : 0) + at;
      gpu.copy(stored, { storage: into.storage, byteOffset: into.byteOffset + first * width * stored.elementBytes, byteLength: stored.byteLength }, stored.byteLength);
    });
  }

  dispose(): void {
    for (const tensor of this.owned()) tensor.dispose();
    for (const centre of this.centres) centre?.dispose();
  }

  private streamed(): number[] {
    return this.sites.flatMap(({ data }, pool) => (data instanceof StreamedExamples ? [pool] : []));
  }

  private owned(): Tensor[] {
    return [...(this.together ? [this.together] : this.apart), this.mean, ...this.means, this.x, this.ones, this.identity, this.part];
  }
}

type Take = (site: SiteData, pool: number, rows: Tensor, at: number) => void;

/** One pass over a round of a stream, for all sites. */
async function pass(stream: ActivationStream, round: number, sites: readonly SiteData[], take: Take): Promise<void> {
  await stream.fill(round, (data, rows, at) => {
    for (const site of sites) {
      const pool = site.poolOf(data);
      if (pool >= 0) take(site, pool, rows, at);
    }
  });
}

/** Measures what a stream brings, in its first round. Throws NumberError, naming the site, for activations that are not finite or all zero. */
export async function measureSites(stream: ActivationStream, sites: readonly SiteData[], settings: MeasureSettings): Promise<void> {
  const measuring = new Map(sites.map((site) => [site, site.measuring()]));
  try {
    for (const kind of PartMeasures.passes(settings)) {
      await pass(stream, 0, sites, (site, pool, rows, at) => measuring.get(site)!.find((own) => own.pool === pool)!.measures.take(kind, rows, at));
    }
    for (const [site, own] of measuring) for (const { pool, measures } of own) site.setMeasures(pool, await measures.finish());
  } finally {
    for (const { measures } of [...measuring.values()].flat()) measures.dispose();
  }
}

/** Takes a round of a stream into the sites, in place of the one before. */
export async function fillSites(stream: ActivationStream, round: number, sites: readonly SiteData[]): Promise<void> {
  for (const site of sites) site.startRound();
  await pass(stream, round, sites, (site, pool, rows, at) => site.put(pool, rows, at));
  for (const site of sites) site.endRound();
}

/** Copies a tensor to where part `i` of a stacked one lies. */
export function place(gpu: Gpu, part: Tensor, stacked: Tensor, i: number): void {
  gpu.copy(part, { storage: stacked.storage, byteOffset: stacked.byteOffset + i * part.byteLength, byteLength: part.byteLength }, part.byteLength);
}
