/**
 * dictionary_learning's trainer directories: `ae.pt` (or a checkpoint, `checkpoints/ae_STEP.pt`) and `config.json` with what was trained on what.
 *
 *   dict_class                     tensors; decode adds the bias that encode takes off, unless said otherwise
 *   AutoEncoder                    encoder.weight [D, d], encoder.bias, decoder.weight [d, D], bias [d]
 *   AutoEncoderNew                 encoder.weight, encoder.bias, decoder.weight, decoder.bias; nothing is taken off
 *   GatedAutoEncoder               encoder.weight, gate_bias, mag_bias, r_mag, decoder.weight, decoder_bias
 *   AutoEncoderTopK                encoder.weight, encoder.bias, decoder.weight, b_dec, k; the threshold that it also has is not used unless asked for
 *   BatchTopKSAE                   encoder.weight, encoder.bias, decoder.weight, b_dec, k, threshold: codes are those above the threshold, whatever k is
 *   JumpReluAutoEncoder            W_enc [d, D], b_enc, W_dec [D, d], b_dec, threshold [D]; nothing is taken off
 *   MatryoshkaBatchTopKSAE         W_enc, b_enc, W_dec, b_dec, k, threshold, group_sizes: as BatchTopK, with all its groups
 */
import { FileError } from '../../errors.ts';
import { fileName, TorchTensor, type TorchDict, type TorchFile } from '../../files/index.ts';
import type { SaeMetadata, SaeVariantName } from '../sae.ts';
import { fieldsOf, hookOfModule, isRecord, torchDict, torchTensors, type Fields, type SaeFormat, type WeightPlan } from './format.ts';

interface DictClass {
  variant: SaeVariantName;
  parts: WeightPlan['parts'];
  unshifted?: boolean;
}

const LINEAR = { encoder: ['encoder.weight'], encoderBias: ['encoder.bias'], decoder: ['decoder.weight', 'across'] } as const;
const MATRICES = { encoder: ['W_enc', 'across'], encoderBias: ['b_enc'], decoder: ['W_dec'], decoderBias: ['b_dec'] } as const;

const CLASSES: Readonly<Record<string, DictClass>> = {
  AutoEncoder: { variant: 'vanilla', parts: { ...LINEAR, decoderBias: ['bias'] } },
  AutoEncoderNew: { variant: 'vanilla', parts: { ...LINEAR, decoderBias: ['decoder.bias'] }, unshifted: true },
  GatedAutoEncoder: { variant: 'gated', parts: { ...LINEAR, encoderBias: ['gate_bias'], magnitudeBias: ['mag_bias'], magnitudeScale: ['r_mag'], decoderBias: ['decoder_bias'] } },
  AutoEncoderTopK: { variant: 'topk', parts: { ...LINEAR, decoderBias: ['b_dec'] } },
  BatchTopKSAE: { variant: 'batchtopk', parts: { ...LINEAR, decoderBias: ['b_dec'], threshold: ['threshold'] } },
  JumpReluAutoEncoder: { variant: 'jumprelu', parts: { ...MATRICES, threshold: ['threshold'] }, unshifted: true },
  MatryoshkaBatchTopKSAE: { variant: 'batchtopk', parts: { ...MATRICES, threshold: ['threshold'] } },
};

export const dictionaryLearning: SaeFormat = {
  name: 'dictionary_learning',
  async open({ source, torch }, { file = 'ae.pt' }) {
    if (!(await source.has('config.json')) || !(await source.has(file))) return null;
    const json = await source.json('config.json');
    if (!isRecord(json) || !isRecord(json['trainer']) || json['trainer']['dict_class'] === undefined) return null;
    const named = fileName(source, 'config.json');
    const fields = fieldsOf(json['trainer'], `${named}: trainer`);
    const given = fields.values['dict_class'];
    const kind = typeof given === 'string' && Object.hasOwn(CLASSES, given) ? CLASSES[given]! : fields.refuse('dict_class', `only ${Object.keys(CLASSES).join(', ')} are known`);
    const [dIn, features] = [fields.count('activation_dim'), fields.count('dict_size')];
    const opened = await torch(file);
    const dict = torchDict(opened);
    const { metadata, warnings } = describe(fields, json['buffer']);
    const k = kind.variant === 'topk' ? await agreedK(opened, dict, fields, features) : null;
    const threshold = await numberOf(opened, dict, 'threshold');
    if (kind.variant === 'batchtopk' && threshold !== null && threshold < 0) warnings.push(`its threshold is ${threshold}, so that it was never set in training: every code above zero counts as active`);
    if (kind.variant === 'topk' && threshold !== null) metadata['threshold'] = threshold;
    if (given === 'MatryoshkaBatchTopKSAE') metadata['group_sizes'] = await groups(opened, dict, features);
    return {
      config: {
        layout: this.name, dIn, features, variant: kind.variant, k, signed: false, scale: 1, normalization: null, name: `${kind.variant} ${fileName(source, file)}`, warnings,
        metadata: { ...metadata, dict_class: given },
      },
      weights: async () => ({ tensors: torchTensors(opened, dict), parts: kind.parts, sizesFrom: 'config.json', unshifted: kind.unshifted === true }),
    };
  },
};

/** Site and context. The model is the one that its own library gives, as it is. */
function describe({ values }: Fields, buffer: unknown): { metadata: SaeMetadata; warnings: string[] } {
  const { lm_name: model, submodule_name: module, layer, seed } = values;
  const warnings: string[] = [];
  const kinds: [RegExp, string][] = [[/^resid_post/, 'hook_resid_post'], [/^resid_pre/, 'hook_resid_pre'], [/^att/, 'hook_attn_out'], [/^mlp/, 'hook_mlp_out']];
  const kind = typeof module === 'string' ? kinds.find(([names]) => names.test(module))?.[1] : 'hook_resid_post';
  const hook = typeof module === 'string' && hookOfModule(module) ? hookOfModule(module) : kind !== undefined && Number.isSafeInteger(layer) ? `blocks.${String(layer)}.${kind}` : null;
  if (typeof module !== 'string' && hook) warnings.push(`its config.json names a layer but no submodule; ${hook} is taken, which is what the tools that read such files take`);
  const context = isRecord(buffer) ? buffer['ctx_len'] : undefined;
  return {
    metadata: {
      ...(typeof model === 'string' ? { model_name: model } : {}), ...(hook ? { hook_name: hook, hook_head_index: null } : {}), ...(typeof context === 'number' ? { context_size: context } : {}),
      ...(typeof seed === 'number' ? { seed } : {}), model_from_pretrained_kwargs: {},
    },
    warnings,
  };
}

/** A number that the file has as a tensor of one element or as it is; null if it has it not. */
async function numberOf(file: TorchFile, dict: TorchDict, name: string): Promise<number | null> {
  const value = dict.get(name);
  if (typeof value === 'number') return value;
  return value instanceof TorchTensor && value.shape.reduce((product, n) => product * n, 1) === 1 ? (await file.f32(value))[0]! : null;
}

async function agreedK(file: TorchFile, dict: TorchDict, { values, refuse }: Fields, features: number): Promise<number> {
  const own = await numberOf(file, dict, 'k');
  const k = own ?? values['k'];
  if (!Number.isSafeInteger(k) || (k as number) < 1 || (k as number) > features) refuse('k', 'a topk dictionary needs a whole number k from 1 to dict_size');
  if (own !== null && typeof values['k'] === 'number' && values['k'] !== own) throw new FileError(`${file.name}: k is ${own}, but config.json says ${values['k']}`);
  return k as number;
}

async function groups(file: TorchFile, dict: TorchDict, features: number): Promise<number[]> {
  const value = dict.get('group_sizes');
  const sizes = value instanceof TorchTensor ? [...await file.f32(value)] : Array.isArray(value) ? value.map(Number) : [];
  if (sizes.reduce((sum, n) => sum + n, 0) !== features) throw new FileError(`${file.name}: its group_sizes [${sizes.join(', ')}] do not add up to its ${features} features`);
  return sizes;
}
