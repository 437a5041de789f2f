/** What is measured of activations before they are used: the mean, where inputs are centred, and the number that brings them to scale. */
import { NumberError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { addScaled, meanColumns, sub, sumColumns, sumSquaresRows, Tensor } from '../tensor/index.ts';
import { isOwnScale, type InputScale, type TrainSettings } from './settings.ts';

export interface Measures {
  /** What inputs are divided by. */
  scale: number;
  /** What is taken from them first, [width]; null where inputs are not centred. */
  mean: Float32Array | null;
}

export type MeasureSettings = Pick<TrainSettings, 'inputs' | 'centre'>;

/** One scalar per site (evaluation.md §7.1, §7.4), of the squared lengths of its examples. Inputs divided by it are as `InputScale` says. */
function scaleOf(squares: Float32Array, name: string, inputs: InputScale, width: number): number {
  let lengths = 0;
  let sum = 0;
  for (const square of squares) {
    lengths += Math.sqrt(square);
    sum += square;
  }
  const mean = lengths / squares.length;
  if (!Number.isFinite(mean)) throw new NumberError(`training ${name}: the activations hold NaN or infinity`);
  if (mean === 0) throw new NumberError(`training ${name}: all activations are zero`);
  if (inputs === 'none' || isOwnScale(inputs)) return 1;
  return Math.fround(inputs === 'mean-square' ? Math.sqrt(sum / squares.length) : inputs === 'unit' ? mean : mean / Math.sqrt(width));
}

/** The scale of activations [examples, width]. Throws NumberError, naming the site, for activations that are not finite or all zero. */
export async function siteScale(data: Tensor, name: string, inputs: InputScale = 'root-width'): Promise<number> {
  return (await measuresOf(data, name, { inputs, centre: false })).scale;
}

/** Measures of activations [examples, width]. Throws as `siteScale`. */
export async function measuresOf(data: Tensor, name: string, { inputs, centre }: MeasureSettings): Promise<Measures> {
  const { mean, squares } = data.gpu.scope(() => {
    const own = centre ? meanColumns(data) : null;
    return { mean: own, squares: sumSquaresRows(own ? sub(data, own) : data) };
  });
  try {
    return { scale: scaleOf(await squares.read(), name, inputs, data.shape[1]!), mean: mean && await mean.read() };
  } finally {
    squares.dispose();
    mean?.dispose();
  }
}

/** Measures examples that come in parts, in as many passes as it takes: every part is given once in each, in the same order. */
export class PartMeasures {
  private readonly gpu: Gpu;
  private readonly name: string;
  private readonly settings: MeasureSettings;
  private readonly examples: number;
  private readonly mean: Tensor;
  private readonly squares: Tensor;

  constructor(gpu: Gpu, name: string, [examples, width]: readonly [number, number], settings: MeasureSettings) {
    this.gpu = gpu;
    this.name = name;
    this.settings = settings;
    this.examples = examples;
    this.mean = gpu.keep(Tensor.zeros(gpu, [width]));
    this.squares = gpu.keep(Tensor.zeros(gpu, [examples]));
  }

  /** Passes over the examples that are needed: one for the mean, one for lengths. */
  static passes({ inputs, centre }: MeasureSettings): readonly ('mean' | 'length')[] {
    return [...(centre ? ['mean' as const] : []), ...(inputs === 'none' || isOwnScale(inputs) ? [] : ['length' as const])];
  }

  /** Takes examples number `at` and on, [n, width]. */
  take(pass: 'mean' | 'length', rows: Tensor, at: number): void {
    const { gpu, mean, squares, settings, examples } = this;
    gpu.scope(() => {
      if (pass === 'mean') {
        addScaled(mean, sumColumns(rows), 1 / examples, { out: mean });
        return;
      }
      const own = sumSquaresRows(settings.centre ? sub(rows, mean) : rows);
      gpu.copy(own, { storage: squares.storage, byteOffset: squares.byteOffset + at * 4, byteLength: own.byteLength }, own.byteLength);
    });
  }

  /** Throws as `siteScale`. */
  async finish(): Promise<Measures> {
    const { settings, mean, squares, name } = this;
    const scale = PartMeasures.passes(settings).includes('length') ? scaleOf(await squares.read(), name, settings.inputs, mean.size) : 1;
    return { scale, mean: settings.centre ? await mean.read() : null };
  }

  dispose(): void {
    this.mean.dispose();
    this.squares.dispose();
  }
}
