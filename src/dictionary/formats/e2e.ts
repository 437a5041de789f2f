/**
 * e2e_sae's runs: `samples_N.pt`, a state dictionary of several dictionaries, `blocks-6-hook_resid_pre.encoder.0.weight [D, d]`, `.encoder.0.bias`,
 * `.decoder.weight [d, D]`, `.decoder.bias`, beside `final_config.yaml`. The decoder's columns have unit length where they are used; nothing is taken off
 * the input. The model is as TransformerLens gives it by default, its rows of text have no beginning-of-sequence token.
 */
import { FileError } from '../../errors.ts';
import { fileName, type FileSource } from '../../files/index.ts';
import { matrixShape, torchDict, torchTensors, type SaeFormat } from './format.ts';

const ENCODER = '.encoder.0.weight';

export const e2e: SaeFormat = {
  name: 'e2e_sae',
  async open({ source, torch }, { file, hook }) {
    if (!file?.endsWith('.pt')) return null;
    const opened = await torch(file);
    const dict = opened.value instanceof Map ? torchDict(opened) : new Map();
    const places = [...dict.keys()].filter((key): key is string => typeof key === 'string' && key.endsWith(ENCODER)).map((key) => key.slice(0, -ENCODER.length));
    if (places.length === 0) return null;
    const hooks = places.map((place) => place.replaceAll('-', '.'));
    const which = hook === undefined && hooks.length === 1 ? 0 : hooks.indexOf(hook ?? '');
    if (which < 0) throw new FileError(`${opened.name}: holds dictionaries at ${hooks.join(', ')}; ${hook === undefined ? 'say at which hook' : `there is none at ${hook}`}`);
    const tensors = torchTensors(opened, dict, `${places[which]}.`);
    const [features, dIn] = matrixShape(tensors, 'encoder.0.weight');
    return {
      config: {
        layout: this.name, dIn, features, variant: 'vanilla', k: null, signed: false, scale: 1, normalization: null, name: `vanilla ${fileName(source, file)} ${hooks[which]}`, warnings: [],
        metadata: {
          ...await runConfig(source), hook_name: hooks[which]!, hook_head_index: null, prepend_bos: false,
          model_from_pretrained_kwargs: { fold_ln: true, center_writing_weights: true, center_unembed: true, fold_value_biases: true },
        },
      },
      weights: async () => ({
        tensors, sizesFrom: 'encoder.0.weight', unshifted: true, unitDecoder: true,
        parts: { encoder: ['encoder.0.weight'], encoderBias: ['encoder.0.bias'], decoder: ['decoder.weight', 'across'], decoderBias: ['decoder.bias'] },
      }),
    };
  },
};

/** The two lines of final_config.yaml that are needed: `tlens_model_name: NAME`, and `n_ctx: N` of the training data. */
async function runConfig(source: FileSource): Promise<{ model_name?: string; context_size?: number }> {
  if (!(await source.has('final_config.yaml'))) return {};
  const text = new TextDecoder().decode(await source.bytes('final_config.yaml'));
  const model = /^tlens_model_name:\s*["']?([\w./-]+)["']?\s*$/m.exec(text)?.[1];
  const context = /^train_data:\s*\n(?:[ \t]+.*\n)*?[ \t]+n_ctx:\s*(\d+)\s*$/m.exec(text)?.[1];
  return { ...(model && model !== 'null' ? { model_name: model } : {}), ...(context ? { context_size: Number(context) } : {}) };
}
