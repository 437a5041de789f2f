/**
 * sparsify's directories, one a module: `cfg.json` and `sae.safetensors` with `encoder.weight [D, d], encoder.bias, W_dec [D, d], b_dec`, in a folder
 * named by the module's path in the Hugging Face model (`h.5`, `layers.5.mlp`). Codes are the k largest after a ReLU, the decoder's bias is taken off
 * the input. `signed` or group-wise activations and transcoders are refused.
 */
import { fileName, openSafetensors } from '../../files/index.ts';
import { fieldsOf, hookOfModule, safetensorsTensors, type SaeFormat } from './format.ts';

const FILE = 'sae.safetensors';

export const sparsify: SaeFormat = {
  name: 'sparsify',
  async open({ source }, { file = FILE }) {
    if (file !== FILE || !(await source.has(FILE)) || !(await source.has('cfg.json'))) return null;
    const fields = fieldsOf(await source.json('cfg.json'), fileName(source, 'cfg.json'));
    const { values, refuse } = fields;
    const { activation = 'topk', k } = values;
    if (activation !== 'topk') refuse('activation', 'only "topk" is supported');
    for (const field of ['transcode', 'skip_connection', 'signed']) if (values[field] === true) refuse(field, 'only false is supported');
    const dIn = fields.count('d_in');
    const own = values['num_latents'];
    const features = typeof own === 'number' && own > 0 ? fields.count('num_latents') : dIn * fields.count('expansion_factor');
    if (!Number.isSafeInteger(k) || (k as number) < 1 || (k as number) > features) refuse('k', `a whole number from 1 to ${features} is needed`);
    const hook = hookOfModule(source.name.split(/[\\/]/).filter(Boolean).at(-1) ?? '');
    return {
      config: {
        layout: this.name, dIn, features, variant: 'topk', k: k as number, signed: false, scale: 1, normalization: null, name: `topk ${source.name}`,
        warnings: hook ? [] : ["its folder's name is not a module of GPT-2 (such as h.5 or h.5.mlp), so that its hook is not known"],
        metadata: { ...(hook ? { hook_name: hook, hook_head_index: null } : {}), model_from_pretrained_kwargs: {} },
      },
      weights: async () => ({
        tensors: safetensorsTensors(await openSafetensors(source, FILE)), sizesFrom: 'cfg.json',
        parts: { encoder: ['encoder.weight'], encoderBias: ['encoder.bias'], decoder: ['W_dec'], decoderBias: ['b_dec'] },
      }),
    };
  },
};
