/**
 * SAELens' layout: a directory with `cfg.json` and `sae_weights.safetensors`. Read as version 6 has it, with `metadata` nested, and in the flat
 * forms before it, under the names and with the defaults that SAELens gives them today.
 *
 *   architecture       tensors
 *   standard, topk     W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in]
 *   gated              W_enc, W_dec, b_dec, b_gate [d_sae], b_mag [d_sae], r_mag [d_sae]
 *   jumprelu           as standard, and threshold [d_sae]; BatchTopK and Matryoshka dictionaries are exported so. In their checkpoints they have
 *                      their own names and one topk_threshold
 *   of any, before 6   scaling_factor [d_sae] on codes before they are decoded
 */
import { FileError } from '../../errors.ts';
import { fileName, openSafetensors, type FileSource } from '../../files/index.ts';
import { ROW_NORMALIZATIONS, type RowNormalization } from '../../tensor/index.ts';
import type { SaeMetadata, SaeVariantName } from '../sae.ts';
import { fieldsOf, isRecord, safetensorsTensors, type Fields, type FoundSae, type NamedTensors, type PartPlace, type SaeFormat, type WeightPlan } from './format.ts';

export const SAELENS_ARCHITECTURES = ['standard', 'gated', 'topk', 'jumprelu'] as const;
export type SaelensArchitecture = (typeof SAELENS_ARCHITECTURES)[number];
/** The names that training gives to what is exported as jumprelu. */
const CHECKPOINTS: readonly unknown[] = ['batchtopk', 'matryoshka_batchtopk'];

export const ARCHITECTURE_OF: Readonly<Record<SaeVariantName, SaelensArchitecture>> = { vanilla: 'standard', frozen: 'standard', gated: 'gated', topk: 'topk', batchtopk: 'jumprelu', jumprelu: 'jumprelu' };

const STANDARD: Record<'encoder' | 'encoderBias' | 'decoder' | 'decoderBias', PartPlace> = { encoder: ['W_enc', 'across'], encoderBias: ['b_enc'], decoder: ['W_dec'], decoderBias: ['b_dec'] };
/** The tensors of an architecture. */
export const SAELENS_PARTS: Readonly<Record<SaelensArchitecture, WeightPlan['parts']>> = {
  standard: STANDARD,
  topk: STANDARD,
  gated: { ...STANDARD, encoderBias: ['b_gate'], magnitudeBias: ['b_mag'], magnitudeScale: ['r_mag'] },
  jumprelu: { ...STANDARD, threshold: ['threshold'] },
};

/** What version 5 and earlier had beside the metadata of today. */
const KEPT = [
  'model_name', 'hook_name', 'hook_head_index', 'prepend_bos', 'context_size', 'dataset_path', 'model_from_pretrained_kwargs', 'neuronpedia_id', 'seqpos_slice', 'exclude_special_tokens',
  'sae_lens_version', 'sae_lens_training_version',
];
const RENAMED: Readonly<Record<string, string>> = { hook_point: 'hook_name', hook_point_head_index: 'hook_head_index', activation_fn_str: 'activation_fn' };

const FILE = 'sae_weights.safetensors';

export const saelens: SaeFormat = {
  name: 'SAELens',
  async open({ source }, { file: given = FILE }) {
    if (given !== FILE || !(await source.has('cfg.json'))) return null;
    const file = fileName(source, 'cfg.json');
    const fields = fieldsOf(await source.json('cfg.json'), file);
    const [dIn, features] = [fields.count('d_in'), fields.count('d_sae')];
    const { architecture, variant: kind, k } = architectureOf(fields);
    const { values, refuse } = fields;
    const byDecoderNorm = values['rescale_acts_by_decoder_norm'] === true;
    if (byDecoderNorm && kind !== 'topk' && kind !== 'batchtopk') refuse('rescale_acts_by_decoder_norm', 'only topk dictionaries have that');
    const { name, variant: said, signed, ...metadata } = metadataOf(fields);
    const variant = ARCHITECTURE_OF[said as SaeVariantName] === architecture ? (said as SaeVariantName) : kind;
    return {
      config: {
        layout: 'SAELens', dIn, features, variant, k, signed: signed === true, ...await scaleOf(source, fields),
        name: typeof name === 'string' ? name : `${variant} ${source.name}`, metadata: metadata as SaeMetadata, warnings: [],
      },
      weights: () => weightsOf(source, fields, architecture, byDecoderNorm),
    };
  },
};

/** The architecture, which older files give by the activation function, and the kind that is of it. */
function architectureOf({ values, refuse }: Fields): { architecture: SaelensArchitecture; variant: SaeVariantName; k: number | null } {
  const field = values['activation_fn'] === undefined ? 'activation_fn_str' : 'activation_fn';
  const activation = values[field] ?? 'relu';
  const byActivation = activation === 'topk';
  const given = values['architecture'] ?? 'standard';
  if (CHECKPOINTS.includes(given)) return { architecture: 'jumprelu', variant: 'batchtopk', k: null };
  const architecture = (byActivation && given === 'standard' ? 'topk' : given) as SaelensArchitecture;
  if (!SAELENS_ARCHITECTURES.includes(architecture)) refuse('architecture', `only ${[...SAELENS_ARCHITECTURES, ...CHECKPOINTS].map((name) => `"${name}"`).join(', ')} are supported`);
  const fits = activation === 'relu' || (byActivation && architecture === 'topk') || (activation === 'jumprelu' && architecture === 'jumprelu');
  if (!fits) refuse(field, 'only "relu", "topk" and "jumprelu" are supported, each for its architecture');
  if (architecture !== 'topk') return { architecture, variant: architecture === 'standard' ? 'vanilla' : architecture, k: null };
  const options = values['activation_fn_kwargs'];
  const k = values['k'] ?? (isRecord(options) ? options['k'] : undefined);
  if (!Number.isSafeInteger(k) || (k as number) < 1 || (k as number) > (values['d_sae'] as number)) {
    refuse(values['k'] === undefined ? 'activation_fn_kwargs' : 'k', 'a topk dictionary needs a whole number k from 1 to d_sae');
  }
  return { architecture, variant: 'topk', k: k as number };
}

/** The metadata as version 6 has them; flat ones under today's names and with today's defaults. */
function metadataOf({ values, refuse }: Fields): SaeMetadata {
  const nested = isRecord(values['metadata']);
  const today = nested ? values : Object.fromEntries(Object.entries(values).map(([field, value]) => [RENAMED[field] ?? field, value]));
  const metadata: SaeMetadata = nested
    ? { ...(values['metadata'] as SaeMetadata) }
    : { prepend_bos: true, ...Object.fromEntries(KEPT.filter((field) => today[field] !== undefined).map((field) => [field, today[field]])) };
  const headless = metadata.hook_head_index === undefined || metadata.hook_head_index === null;
  const reshape = values['reshape_activations'] ?? (!nested && headless && String(metadata.hook_name ?? '').includes('hook_z') ? 'hook_z' : 'none');
  if (reshape !== 'none' && reshape !== 'hook_z') refuse('reshape_activations', 'only "none" and "hook_z" are supported');
  // All heads' z side by side, the first head's numbers first.
  if (reshape === 'hook_z' && headless) metadata['reshape_activations'] = 'hook_z';
  return metadata;
}

type Scaling = Pick<FoundSae['config'], 'scale' | 'normalization'>;

/** What `normalize_activations` asks for: nothing, one factor that the directory holds, or a scale of each vector's own. */
async function scaleOf(source: FileSource, { values, refuse }: Fields): Promise<Scaling> {
  const kind = values['normalize_activations'];
  if (kind === undefined || kind === null || kind === false || kind === 'none') return { scale: 1, normalization: null };
  if (ROW_NORMALIZATIONS.includes(kind as RowNormalization)) return { scale: 1, normalization: kind as RowNormalization };
  if (kind !== true && kind !== 'expected_average_only_in') refuse('normalize_activations', `only "none", "expected_average_only_in", ${ROW_NORMALIZATIONS.map((name) => `"${name}"`).join(' and ')} are supported`);
  // NaN: a factor is needed and not here; a table of releases may know it.
  if (!(await source.has('activation_scaler.json'))) return { scale: NaN, normalization: null };
  const factor = (await source.json<{ scaling_factor?: unknown }>('activation_scaler.json'))?.scaling_factor;
  if (typeof factor !== 'number' || !(factor > 0)) throw new FileError(`${fileName(source, 'activation_scaler.json')}: scaling_factor is ${JSON.stringify(factor)}, not a number above 0`);
  return { scale: 1 / factor, normalization: null };
}

async function weightsOf(source: FileSource, { values }: Fields, architecture: SaelensArchitecture, byDecoderNorm: boolean): Promise<WeightPlan> {
  const tensors = safetensorsTensors(await openSafetensors(source, FILE));
  const oneThreshold = architecture === 'jumprelu' && !tensors.has('threshold') && tensors.has('topk_threshold');
  const codeFactors = await codeFactorsOf(tensors, values['finetuning_scaling_factor'] === true);
  return {
    tensors, parts: oneThreshold ? { ...SAELENS_PARTS.jumprelu, threshold: ['topk_threshold'] } : SAELENS_PARTS[architecture], sizesFrom: 'cfg.json',
    unshifted: values['apply_b_dec_to_input'] === false, byDecoderNorm, ...(codeFactors === null ? {} : { codeFactors }),
  };
}

/** The tensor of factors on codes, if it does anything. FileError where there are factors that cfg.json knows nothing of. */
async function codeFactorsOf(tensors: NamedTensors, expected: boolean): Promise<string | null> {
  const name = ['scaling_factor', 'finetuning_scaling_factor'].find((one) => tensors.has(one));
  if (name === undefined) {
    if (expected) throw new FileError(`${tensors.name}: cfg.json says that codes have factors (finetuning_scaling_factor), but there is no tensor scaling_factor`);
    return null;
  }
  if ((await tensors.f32(name)).every((factor) => Math.abs(factor - 1) <= 1e-5)) return null;
  if (!expected) throw new FileError(`${tensors.name}: has a ${name} other than 1, but cfg.json does not say that it is to be used (finetuning_scaling_factor)`);
  return name;
}

/** log10 of the frequency of each feature, where the directory has it; [features]. */
export async function readSparsity(source: FileSource): Promise<Float32Array | null> {
  if (!(await source.has('sparsity.safetensors'))) return null;
  return (await openSafetensors(source, 'sparsity.safetensors')).f32('sparsity');
}
