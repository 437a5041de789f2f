/**
 * Writing dictionaries in SAELens' layout, as version 6 has it: a directory with `cfg.json` and `sae_weights.safetensors` (formats/saelens.ts says
 * what is in them, and reads them). Weights take activations in the model's own units; only a scale of each activation's own is left to
 * `normalize_activations`. BatchTopK dictionaries are jumprelu ones here, as SAELens exports them.
 *
 * What SAELens has no word for (the kind among several of one architecture, signed codes) stands in the metadata.
 */
import { encodeSafetensors, type TensorToWrite } from '../files/index.ts';
import { transpose, type SaePart } from '../tensor/index.ts';
import { logFrequencies } from './frequency.ts';
import { ARCHITECTURE_OF, SAELENS_PARTS } from './formats/saelens.ts';
import type { PartPlace } from './formats/format.ts';
import type { Sae } from './sae.ts';

/** The files of a dictionary in SAELens' layout, by name; `sparsity.safetensors` among them where it is known how often features are active. */
export async function saeFiles(sae: Sae): Promise<Record<string, Uint8Array>> {
  const { dIn, features, weights, metadata, variant, k, kind, normalization, frequencies } = sae;
  const architecture = ARCHITECTURE_OF[variant];
  const tensors: Record<string, TensorToWrite> = {};
  for (const [part, [name, across]] of Object.entries(SAELENS_PARTS[architecture]) as [SaePart, PartPlace][]) {
    const tensor = across ? transpose(weights[part]!) : weights[part]!;
    tensors[name] = { dtype: 'F32', shape: tensor.shape, data: await tensor.read() };
    if (across) tensor.dispose();
  }
  const config = {
    architecture, d_in: dIn, d_sae: features, dtype: 'float32', device: 'cpu', apply_b_dec_to_input: true,
    normalize_activations: normalization ?? 'none', reshape_activations: metadata['reshape_activations'] ?? 'none', ...(k === null ? {} : { k, rescale_acts_by_decoder_norm: false }),
    metadata: { ...metadata, name: sae.name, variant, ...(kind.signed ? { signed: true } : {}) },
  };
  return {
    'cfg.json': new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`),
    'sae_weights.safetensors': encodeSafetensors(tensors),
    ...(frequencies ? { 'sparsity.safetensors': encodeSafetensors({ sparsity: { dtype: 'F32', shape: [features], data: logFrequencies(frequencies) } }) } : {}),
  };
}
