/**
 * A dictionary of one hook at a site that a linear map of the model leads to. With x the hook's activation and x̂ = s (f W_dec + b_dec) + μ its
 * reconstruction (s = 1 and μ = 0 but for dictionaries that bring every activation to a scale of its own), the site's activation and reconstruction are
 *
 *   a = (x M) / σ + c        â = (x̂ M) / σ + c = (s / σ) (f W_dec M + b_dec M) + (μ / σ) 1ᵀM + c
 *
 * so that features f_j are the hook's and what one adds to the site is (s / σ) f_j d_j with d_j the rows of W_dec M. σ is 1, or what the layer norm
 * between hook and site divides x by, √(var(x) + ε). It is that of the activation, not of x̂: with a perfect dictionary â = a, and an edit moves a
 * as the model would if the layer norm divided as before.
 */
import { ShapeError, UsageError } from '../errors.ts';
import { add, gatherRows, gramMatrix, layerNormScale, matmul, mul, multiplyRows, normalizeRows, reciprocalRows, saeDecode, sumColumns, Tensor } from '../tensor/index.ts';
import type { Dictionary, EditOptions, EditResult, Examples, Scaled } from './dictionary.ts';
import type { Sae } from './sae.ts';
import { SaeEdits, unitWeights } from './sae-edits.ts';

/** From a hook to a site. */
export interface LinearMap {
  /** M, [width of the hook, width of the site] */
  matrix: Tensor;
  /** c, [width of the site]; zeros unless given. */
  constant?: Tensor | null;
  /** ε of the layer norm between; null where there is none. */
  epsilon?: number | null;
}

export class ProjectedDictionary implements Dictionary {
  readonly name: string;
  readonly dIn: number;
  readonly features: number;
  readonly reads: string;
  /** Top-k: active features of an example; else null. */
  readonly k: number | null;
  private readonly base: Sae;
  private readonly epsilon: number | null;
  /** d_j, [features, dIn]; b_dec M and c, [dIn]; 1ᵀM, [1, dIn]. */
  private readonly decoder: Tensor;
  private readonly bias: Tensor;
  private readonly constant: Tensor;
  private readonly alongShift: Tensor;
  private gram: Tensor | null | undefined;
  /** What codes were made of. */
  private readonly encoded = new WeakMap<Tensor, Tensor>();

  /** Of a dictionary of the hook `reads`, which stays its owner's; the map is only read. ShapeError if the map is not from activations as wide as the dictionary. */
  constructor(base: Sae, reads: string, { matrix, constant = null, epsilon = null }: LinearMap) {
    const [from = 0, to = 0] = matrix.shape;
    if (matrix.shape.length !== 2 || from !== base.dIn) throw new ShapeError(`dictionary ${base.name} of width ${base.dIn} cannot be read through a map of shape [${matrix.shape.join(', ')}]`);
    const { gpu } = matrix;
    this.base = base;
    this.name = base.name;
    this.dIn = to;
    this.features = base.features;
    this.k = base.k;
    this.reads = reads;
    this.epsilon = epsilon;
    const parts = gpu.scope(() => ({
      decoder: matmul(base.weights.decoder, matrix),
      bias: matmul(base.weights.decoderBias.reshape([1, from]), matrix).reshape([to]),
      constant: constant ? constant.reshape([to]).clone() : Tensor.zeros(gpu, [to]),
      alongShift: sumColumns(matrix).reshape([1, to]),
    }));
    this.decoder = gpu.keep(parts.decoder);
    this.bias = gpu.keep(parts.bias);
    this.constant = gpu.keep(parts.constant);
    this.alongShift = gpu.keep(parts.alongShift);
  }

  /** Codes of the hook's activations, [n, features]. UsageError where the examples do not have these. */
  encode(examples: Examples): Tensor {
    const input = this.inputOf(examples);
    const codes = this.base.encode({ activations: input });
    this.encoded.set(codes, input);
    return codes;
  }

  decode(codes: Tensor, examples?: Scaled): Tensor {
    const { decoder, bias, base } = this;
    const input = examples ? this.inputOf(examples) : this.encoded.get(codes);
    return codes.gpu.scope(() => {
      // Only the decoder and its bias are read.
      const sum = saeDecode(codes, { encoder: decoder, encoderBias: base.weights.encoderBias, decoder, decoderBias: bias });
      const scales = this.scalesOf(codes, input);
      if (!scales) return add(sum, this.constant);
      const scaled = multiplyRows(sum, scales.scale);
      const shifted = scales.shift ? add(scaled, matmul(scales.shift.reshape([-1, 1]), this.alongShift)) : scaled;
      return add(shifted, this.constant);
    });
  }

  /** Codes times s / σ. */
  additions(examples: Examples): Tensor {
    const input = this.inputOf(examples);
    return input.gpu.scope(() => {
      const codes = this.base.encode({ activations: input });
      const scales = this.scalesOf(codes, input);
      return scales ? multiplyRows(codes, scales.scale) : codes;
    });
  }

  directions(chosen: readonly number[]): Tensor {
    const { decoder } = this;
    return decoder.gpu.scope(() => gatherRows(decoder, Tensor.from(decoder.gpu, Uint32Array.from(chosen), [chosen.length])));
  }

  /** Scales of examples cancel. */
  contributions(codes: Tensor): Tensor {
    return codes.gpu.scope(() => mul(codes, unitWeights(codes, this.decoder)));
  }

  /** As those of an SAE (Sae.edit), with what features add at the site. */
  edit(source: Examples, target: Examples, options: EditOptions): EditResult {
    return this.edits(source, target, [options])[0]!;
  }

  edits(source: Examples, target: Examples, options: readonly EditOptions[]): EditResult[] {
    const { decoder } = this;
    const most = options.reduce((largest, { k }) => Math.max(largest, k), 0);
    // Formed outside the scope below, which would take it back.
    const gram = options.some(({ features = 'agnostic' }) => features === 'agnostic' || features === 'reconstruction') ? this.gramOfDecoder() : null;
    return decoder.gpu.scope(() => {
      const made = new SaeEdits({
        name: this.name, decoder, gram, encode: (examples) => this.additions(examples), decode: (_codes, examples) => this.decode(this.encode(examples), examples),
      }, source, target, most);
      return options.map((option) => made.edit(option));
    });
  }

  /** Frees what was made here; the dictionary of the hook stays. */
  dispose(): void {
    for (const tensor of [this.decoder, this.bias, this.constant, this.alongShift, this.gram]) tensor?.dispose();
    this.gram = undefined;
  }

  private inputOf({ inputs }: Pick<Examples, 'inputs'>): Tensor {
    const input = inputs?.[this.reads];
    if (!input) throw new UsageError(`dictionary ${this.name} reads ${this.reads}, whose activations the examples do not have`);
    return input;
  }

  /** s / σ and μ / σ of each example, [n]; null where they are 1 and 0. */
  private scalesOf(codes: Tensor, input: Tensor | undefined): { scale: Tensor; shift: Tensor | null } | null {
    const { base: { normalization }, epsilon } = this;
    if (!normalization && epsilon === null) return null;
    if (!input || input.disposed) throw new UsageError(`dictionary ${this.name} is scaled for each example, so that codes alone do not give the site back: give decode the examples that they are of`);
    const n = codes.shape[0]!;
    const inverse = epsilon === null ? null : reciprocalRows(layerNormScale(input, epsilon).reshape([n, 1])).reshape([n]);
    if (!normalization) return { scale: inverse!, shift: null };
    const { scale, shift } = normalizeRows(input, normalization);
    return inverse ? { scale: mul(scale, inverse), shift: mul(shift, inverse) } : { scale, shift };
  }

  /** Made at the first edit and kept. */
  private gramOfDecoder(): Tensor | null {
    if (this.gram === undefined) {
      this.gram = gramMatrix(this.decoder);
      if (this.gram) this.gram.gpu.keep(this.gram);
    }
    return this.gram;
  }
}
