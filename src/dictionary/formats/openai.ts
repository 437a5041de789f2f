/**
 * OpenAI's dictionaries of GPT-2 Small (`…/gpt2-small/LOCATION[_v4|_v5_32k|_v5_128k]/autoencoders/LAYER.pt`): one torch file with
 * `encoder.weight [n, d], latent_bias [n], decoder.weight [d, n], pre_bias [d]`, and `activation` with `activation_state_dict {k, postact_fn}`. Those
 * with the TopK activation normalise every activation (unbiased deviation + 1e-5) and undo it; those with ReLU do not. Trained on the model as it is,
 * in contexts of 64 tokens without a beginning-of-sequence token.
 */
import { FileError } from '../../errors.ts';
import { fileName, TorchTensor } from '../../files/index.ts';
import { matrixShape, torchDict, torchTensors, type SaeFormat } from './format.ts';

const HOOKS: Readonly<Record<string, string>> = {
  mlp_post_act: 'mlp.hook_post', resid_delta_attn: 'hook_attn_out', resid_post_attn: 'hook_resid_mid', resid_delta_mlp: 'hook_mlp_out', resid_post_mlp: 'hook_resid_post',
};

export const openai: SaeFormat = {
  name: "OpenAI's",
  async open({ source, torch }, { file }) {
    if (!file?.endsWith('.pt')) return null;
    const opened = await torch(file);
    const dict = opened.value instanceof Map ? torchDict(opened) : new Map();
    if (!(dict.get('pre_bias') instanceof TorchTensor) || !(dict.get('latent_bias') instanceof TorchTensor)) return null;
    const tensors = torchTensors(opened, dict);
    const [features, dIn] = matrixShape(tensors, 'encoder.weight');
    const activation = dict.get('activation') ?? 'ReLU';
    if (activation !== 'TopK' && activation !== 'ReLU') throw new FileError(`${opened.name}: activation is ${JSON.stringify(activation)}; only "TopK" and "ReLU" are known`);
    const topk = activation === 'TopK';
    const state = dict.get('activation_state_dict');
    const [k, after] = state instanceof Map ? [state.get('k'), state.get('postact_fn') ?? 'ReLU'] : [undefined, 'ReLU'];
    if (topk && after !== 'ReLU') throw new FileError(`${opened.name}: postact_fn is ${JSON.stringify(after)}; only "ReLU" is known`);
    const possible = Number.isSafeInteger(k) && (k as number) >= 1 && (k as number) <= features;
    if (topk && !possible) throw new FileError(`${opened.name}: k is ${String(k)}, but a TopK dictionary needs a whole number from 1 to ${features}`);
    const place = new RegExp(`(${Object.keys(HOOKS).join('|')})(?:_v\\w+)?/autoencoders/(\\d+)\\.pt$`).exec(fileName(source, file));
    return {
      config: {
        layout: this.name, dIn, features, variant: topk ? 'topk' : 'vanilla', k: topk ? (k as number) : null, signed: false, scale: 1, normalization: topk ? 'layer_norm' : null,
        name: `${topk ? 'topk' : 'vanilla'} ${fileName(source, file)}`,
        warnings: place ? [] : ['its path does not say at which hook it was trained (LOCATION/autoencoders/LAYER.pt)'],
        metadata: {
          model_name: 'gpt2-small', ...(place ? { hook_name: `blocks.${place[2]}.${HOOKS[place[1]!]!}`, hook_head_index: null } : {}),
          prepend_bos: false, context_size: 64, model_from_pretrained_kwargs: {},
        },
      },
      weights: async () => ({
        tensors, sizesFrom: 'encoder.weight',
        parts: { encoder: ['encoder.weight'], encoderBias: ['latent_bias'], decoder: ['decoder.weight', 'across'], decoderBias: ['pre_bias'] },
      }),
    };
  },
};
