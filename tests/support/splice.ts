/** Dictionaries in the place of activations, in plain float64 code: the reference of spliced runs. */
import { Sae, type SaeMetadata } from '../../src/dictionary/index.ts';
import type { Gpu } from '../../src/gpu/index.ts';
import { Tensor, type RowNormalization } from '../../src/tensor/index.ts';
import type { Activation } from './reference-gpt2.ts';
import { dictionary64, type Dictionary64 } from './sae-variants.ts';

export interface Kind { variant: 'vanilla' | 'gated' | 'topk' | 'batchtopk' | 'jumprelu'; signed?: boolean; normalization?: RowNormalization }

export const K = 3;
export const KINDS: readonly Kind[] = [
  { variant: 'vanilla' }, { variant: 'gated' }, { variant: 'gated', signed: true }, { variant: 'topk' }, { variant: 'topk', signed: true }, { variant: 'batchtopk' }, { variant: 'jumprelu' },
  { variant: 'vanilla', normalization: 'layer_norm' }, { variant: 'topk', normalization: 'constant_norm_rescale' }, { variant: 'gated', normalization: 'layer_norm' },
];

export type Site = 'input' | 'acts_pre' | 'acts_post' | 'recons' | 'error' | 'output';
/** Changes a site's row in place. */
export type Change = (site: Site, row: number[]) => void;

/** The same dictionary in float64 and on the device. */
export interface Pair { kind: Kind; plain: Dictionary64; sae: Sae }

export function makePair(gpu: Gpu, kind: Kind, { features, width, seed, metadata = {} }: { features: number; width: number; seed: number; metadata?: SaeMetadata }): Pair {
  const plain = dictionary64(features, width, seed);
  // As large as reconstructions of activations are.
  plain.decoder = plain.decoder.map((v) => Math.fround(v / 4));
  const up = (v: Float64Array, shape: number[]): Tensor => Tensor.from(gpu, Float32Array.from(v), shape);
  const { variant, signed, normalization = null } = kind;
  const sae = new Sae(`${variant}${signed ? ' signed' : ''} ${seed}`, {
    encoder: up(plain.encoder, [features, width]), encoderBias: up(plain.encoderBias, [features]), decoder: up(plain.decoder, [features, width]), decoderBias: up(plain.decoderBias, [width]),
    ...(variant === 'gated' ? { magnitudeScale: up(plain.magnitudeScale, [features]), magnitudeBias: up(plain.magnitudeBias, [features]) } : {}),
    ...(variant === 'jumprelu' || variant === 'batchtopk' ? { threshold: up(plain.logThreshold.map(Math.exp), [features]) } : {}),
  }, metadata, { variant, normalization, ...(signed ? { signed } : {}), ...(variant === 'topk' ? { k: K } : {}) });
  return { kind, plain, sae };
}

const relu = (v: number): number => Math.max(0, v);

function scaleOf(x: readonly number[], kind: RowNormalization | undefined): { shift: number; scale: number } {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  if (kind === 'layer_norm') return { shift: mean, scale: Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / (x.length - 1)) + 1e-5 };
  return { shift: 0, scale: kind ? Math.hypot(...x) / Math.sqrt(x.length) : 1 };
}

/** All sites of one row x; by the definitions of the documentation. */
export function spliceRow({ kind: { variant, signed = false, normalization }, plain: p }: Pair, x: readonly number[], errorTerm: boolean, change: Change = () => {}): Record<Site, number[]> {
  const pass = (visit: Change): Record<'input' | 'acts_pre' | 'acts_post' | 'recons' | 'restored', number[]> => {
    const met = (site: Site, row: number[]): number[] => {
      visit(site, row);
      return row;
    };
    const input = met('input', [...x]);
    const { shift, scale } = scaleOf(input, normalization);
    const u = Array.from({ length: p.features }, (_, f) => input.reduce((sum, v, k) => sum + ((v - shift) / scale - p.decoderBias[k]!) * p.encoder[f * p.width + k]!, 0));
    const pre = met('acts_pre', u.map((v, f) => (variant === 'gated' ? Math.exp(p.magnitudeScale[f]!) * v + p.magnitudeBias[f]! : v + (variant === 'topk' && signed ? 0 : p.encoderBias[f]!))));
    const kept = new Set(pre.map((_, f) => f).sort((a, b) => pre[b]! - pre[a]! || a - b).slice(0, K));
    const active = (f: number): boolean => {
      if (variant === 'gated') return u[f]! + p.encoderBias[f]! > 0;
      if (variant === 'topk') return kept.has(f);
      return variant === 'vanilla' || pre[f]! > Math.exp(p.logThreshold[f]!);
    };
    const codes = met('acts_post', pre.map((v, f) => (active(f) ? (signed ? v : relu(v)) : 0)));
    const recons = met('recons', Array.from({ length: p.width }, (_, k) => codes.reduce((sum, c, f) => sum + c * p.decoder[f * p.width + k]!, p.decoderBias[k]!)));
    return { input, acts_pre: pre, acts_post: codes, recons, restored: recons.map((v) => v * scale + shift) };
  };
  const clean = pass(() => {}).restored;
  const { restored, ...sites } = pass(change);
  const error = x.map((v, k) => v - clean[k]!);
  change('error', error);
  const output = restored.map((v, k) => v + (errorTerm ? error[k]! : 0));
  change('output', output);
  return { ...sites, error, output };
}

export interface Splice64 { pair: Pair; hook: string; head?: number; errorTerm?: boolean; positions?: readonly number[]; change?: (prompt: number, position: number, site: Site, row: number[]) => void }

/** Splices into one prompt's activation; what the sites were goes to `seen`, by name and position. */
export function spliceInto(splices: readonly Splice64[], prompt: number, heads: number, hook: string, { data, shape }: Activation, seen?: Map<string, number[]>): void {
  for (const { pair, errorTerm = false, positions, change, ...at } of splices) {
    if (at.hook !== hook) continue;
    const stride = data.length / shape[0]!;
    const width = at.head === undefined ? stride : stride / heads;
    for (let position = 0; position < shape[0]!; position++) {
      if (positions && positions[prompt] !== position) continue;
      const start = position * stride + (at.head ?? 0) * width;
      const sites = spliceRow(pair, [...data.subarray(start, start + width)], errorTerm, (site, row) => change?.(prompt, position, site, row));
      data.set(sites.output, start);
      for (const [site, row] of Object.entries(sites)) seen?.set(`${hook}${at.head === undefined ? '' : `.${at.head}`}.hook_sae_${site} ${position}`, row);
    }
  }
}
