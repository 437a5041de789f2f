/** Every kind of sparse autoencoder in plain float64 code: codes, losses and gradients, the reference of the GPU's. */
import { random } from './numbers.ts';

export interface Dictionary64 {
  features: number;
  width: number;
  encoder: Float64Array;
  encoderBias: Float64Array;
  decoder: Float64Array;
  decoderBias: Float64Array;
  magnitudeScale: Float64Array;
  magnitudeBias: Float64Array;
  logThreshold: Float64Array;
}

export type Part64 = Exclude<keyof Dictionary64, 'features' | 'width'>;
export type Gradients64 = Record<Part64, Float64Array>;

/** What a kind's loss depends on beside weights. */
export interface Kind64 {
  variant: 'vanilla' | 'gated' | 'topk' | 'batchtopk' | 'jumprelu';
  /** λ, or K. */
  sparsity: number;
  signed?: boolean;
  bandwidth?: number;
  auxiliary?: { k: number; coefficient: number; dead: readonly boolean[] };
}

export function dictionary64(features: number, width: number, seed: number, shift = -0.2): Dictionary64 {
  const of = (n: number, i: number, add = 0): Float64Array => Float64Array.from(random(n, seed + i), (v) => Math.fround(v + add));
  return {
    features, width, encoder: of(features * width, 0), encoderBias: of(features, 1, shift), decoder: of(features * width, 2), decoderBias: of(width, 3),
    magnitudeScale: of(features, 4), magnitudeBias: of(features, 5, -shift / 2), logThreshold: of(features, 6, -1),
  };
}

const dot = (a: ArrayLike<number>, b: Float64Array, at: number): number => Array.from(a).reduce((sum, v, k) => sum + v * b[at + k]!, 0);

/** (x − b_dec)·encoder of every feature, for every row. */
function products(p: Dictionary64, x: readonly Float64Array[]): number[][] {
  return x.map((row) => Array.from({ length: p.features }, (_, f) => dot(row.map((v, k) => v - p.decoderBias[k]!), p.encoder, f * p.width)));
}

/** Positions of the `most` largest, equal ones by position. */
function largest(values: readonly number[], most: number): Set<number> {
  return new Set(values.map((v, i) => [v, i] as const).sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, most).map(([, i]) => i));
}

/** Codes [rows][features], pre-activations of the gates or codes, and codes of dead features. */
export function forward64(p: Dictionary64, x: readonly Float64Array[], kind: Kind64): { pre: number[][]; codes: number[][]; gates: number[][]; dead: number[][] } {
  const u = products(p, x);
  const bare = kind.variant === 'topk' && kind.signed;
  const pre = u.map((row) => row.map((v, f) => v + (bare ? 0 : p.encoderBias[f]!)));
  const relu = pre.map((row) => row.map((v) => Math.max(v, 0)));
  const none = pre.map((row) => row.map(() => 0));
  const dead = kind.auxiliary ? relu.map((row) => {
    const own = row.map((v, f) => (kind.auxiliary!.dead[f] ? v : 0));
    const kept = largest(own, kind.auxiliary!.k);
    return own.map((v, f) => (kept.has(f) ? v : 0));
  }) : none;
  switch (kind.variant) {
    case 'vanilla': return { pre, codes: relu, gates: none, dead };
    case 'topk': {
      const from = bare ? pre : relu;
      const kept = from.map((row) => largest(row, kind.sparsity));
      return { pre, codes: from.map((row, r) => row.map((v, f) => (kept[r]!.has(f) ? v : 0))), gates: none, dead };
    }
    case 'batchtopk': {
      const kept = largest(relu.flat(), Math.floor(kind.sparsity * x.length));
      return { pre, codes: relu.map((row, r) => row.map((v, f) => (kept.has(r * p.features + f) ? v : 0))), gates: none, dead };
    }
    case 'jumprelu': return { pre, codes: pre.map((row) => row.map((v, f) => (v > Math.exp(p.logThreshold[f]!) ? v : 0))), gates: none, dead };
    case 'gated': {
      const magnitude = (v: number, f: number): number => {
        const m = Math.exp(p.magnitudeScale[f]!) * v + p.magnitudeBias[f]!;
        return kind.signed ? m : Math.max(m, 0);
      };
      return { pre, codes: u.map((row, r) => row.map((v, f) => (pre[r]![f]! > 0 ? magnitude(v, f) : 0))), gates: relu, dead };
    }
  }
}

/** Σ_f codes·decoder + bias − target. */
function errorOf(codes: number[], decoder: Float64Array, bias: ArrayLike<number> | null, target: ArrayLike<number>): Float64Array {
  const out = Float64Array.from(target, (v, k) => (bias ? bias[k]! : 0) - v);
  codes.forEach((c, f) => { if (c) for (let k = 0; k < out.length; k++) out[k]! += c * decoder[f * out.length + k]!; });
  return out;
}
const square = (e: Float64Array): number => e.reduce((sum, v) => sum + v * v, 0);

/**
 * The loss. `frozen` stands wherever a gradient stops: the decoder of the gates' reconstruction and the residual that dead features are to
 * explain. JumpReLU's own jump stays a jump.
 */
export function loss64(p: Dictionary64, x: readonly Float64Array[], kind: Kind64, frozen: Dictionary64 = p): number {
  const n = x.length;
  const { codes, gates, dead } = forward64(p, x, kind);
  const before = kind.auxiliary ? forward64(frozen, x, kind).codes : [];
  const weight = kind.auxiliary ? kind.auxiliary.coefficient * Math.min(kind.auxiliary.dead.filter(Boolean).length / kind.auxiliary.k, 1) : 0;
  return x.reduce((loss, row, r) => {
    let own = square(errorOf(codes[r]!, p.decoder, p.decoderBias, row));
    if (kind.variant === 'vanilla') own += kind.sparsity * codes[r]!.reduce((a, b) => a + b, 0);
    if (kind.variant === 'jumprelu') own += kind.sparsity * codes[r]!.filter((v) => v !== 0).length;
    if (kind.variant === 'gated') own += kind.sparsity * gates[r]!.reduce((a, b) => a + b, 0) + square(errorOf(gates[r]!, frozen.decoder, frozen.decoderBias, row));
    if (weight) own += weight * square(errorOf(dead[r]!, p.decoder, null, errorOf(before[r]!, frozen.decoder, frozen.decoderBias, row).map((v) => -v)));
    return loss + own / n;
  }, 0);
}

export function gradients64(p: Dictionary64, x: readonly Float64Array[], kind: Kind64): Gradients64 {
  const { features: F, width: d } = p;
  const n = x.length;
  const zeros = (size: number): Float64Array => new Float64Array(size);
  const out: Gradients64 = {
    encoder: zeros(F * d), encoderBias: zeros(F), decoder: zeros(F * d), decoderBias: zeros(d), magnitudeScale: zeros(F), magnitudeBias: zeros(F), logThreshold: zeros(F),
  };
  const { pre, codes, gates, dead } = forward64(p, x, kind);
  const { sparsity, bandwidth = 1, auxiliary } = kind;
  const deadWeight = auxiliary ? auxiliary.coefficient * Math.min(auxiliary.dead.filter(Boolean).length / auxiliary.k, 1) : 0;
  for (const [r, row] of x.entries()) {
    const error = errorOf(codes[r]!, p.decoder, p.decoderBias, row);
    const gateError = errorOf(gates[r]!, p.decoder, p.decoderBias, row);
    const deadError = errorOf(dead[r]!, p.decoder, null, error.map((v) => -v));
    for (let k = 0; k < d; k++) out.decoderBias[k]! += (2 / n) * error[k]!;
    for (let f = 0; f < F; f++) {
      const [code, gate, last] = [codes[r]![f]!, gates[r]![f]!, dead[r]![f]!];
      const along = (e: Float64Array): number => (2 / n) * dot(e, p.decoder, f * d);
      for (let k = 0; k < d; k++) out.decoder[f * d + k]! += (2 / n) * (error[k]! * code + deadWeight * deadError[k]! * last);
      // ∂/∂u, the product of input and encoder.
      let slope = 0;
      let biasSlope = 0;
      if (kind.variant === 'vanilla') slope = biasSlope = code > 0 ? along(error) + sparsity / n : 0;
      if (kind.variant === 'topk' || kind.variant === 'batchtopk') {
        slope = (code !== 0 ? along(error) : 0) + (last !== 0 ? deadWeight * along(deadError) : 0);
        biasSlope = kind.signed ? 0 : slope;
      }
      if (kind.variant === 'jumprelu') {
        slope = biasSlope = code !== 0 ? along(error) : 0;
        const theta = Math.exp(p.logThreshold[f]!);
        const inWindow = Math.abs((pre[r]![f]! - theta) / bandwidth) < 0.5;
        if (inWindow) out.logThreshold[f]! += theta * (-(theta / bandwidth) * along(error) - (1 / bandwidth) * (sparsity / n));
      }
      if (kind.variant === 'gated') {
        biasSlope = gate > 0 ? along(gateError) + sparsity / n : 0;
        const magnitude = code !== 0 ? along(error) : 0;
        const grown = Math.exp(p.magnitudeScale[f]!);
        out.magnitudeBias[f]! += magnitude;
        out.magnitudeScale[f]! += magnitude * grown * (pre[r]![f]! - p.encoderBias[f]!);
        slope = biasSlope + grown * magnitude;
      }
      out.encoderBias[f]! += biasSlope;
      for (let k = 0; k < d; k++) {
        out.encoder[f * d + k]! += slope * (row[k]! - p.decoderBias[k]!);
        out.decoderBias[k]! -= slope * p.encoder[f * d + k]!;
      }
    }
  }
  return out;
}
