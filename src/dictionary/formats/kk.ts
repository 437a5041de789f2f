/**
 * Kissane and Krzyzanowski's dictionaries of attention outputs (`ckkissane/attn-saes-gpt2-small-all-layers`): a state dictionary `NAME.pt` with
 * `W_enc [d, D], b_enc, W_dec [D, d], b_dec` beside `NAME_cfg.json`. Activations are all heads' z side by side, d = heads · width of a head, the
 * first head's numbers first.
 */
import { fileName } from '../../files/index.ts';
import { fieldsOf, torchDict, torchTensors, type SaeFormat } from './format.ts';

export const kk: SaeFormat = {
  name: "Kissane and Krzyzanowski's",
  async open({ source, torch }, { file }) {
    if (!file?.endsWith('.pt')) return null;
    const config = file.replace(/\.pt$/, '_cfg.json');
    if (!(await source.has(config))) return null;
    const fields = fieldsOf(await source.json(config), fileName(source, config));
    const { act_name: hook, model_name: model = 'gpt2-small', seq_len: context = 128 } = fields.values;
    if (typeof hook !== 'string') fields.refuse('act_name', 'the name of a hook is needed');
    return {
      config: {
        layout: this.name, dIn: fields.count('act_size'), features: fields.count('dict_size'), variant: 'vanilla', k: null, signed: false, scale: 1, normalization: null,
        name: `vanilla ${fileName(source, file)}`, warnings: [],
        metadata: {
          model_name: String(model), hook_name: hook as string, hook_head_index: null, prepend_bos: true, context_size: context, dataset_path: 'Skylion007/openwebtext',
          ...(String(hook).endsWith('hook_z') ? { reshape_activations: 'hook_z' } : {}),
          // The model as TransformerLens gives it by default.
          model_from_pretrained_kwargs: { fold_ln: true, center_writing_weights: true, center_unembed: true, fold_value_biases: true },
        },
      },
      weights: async () => {
        const opened = await torch(file);
        return {
          tensors: torchTensors(opened, torchDict(opened)), sizesFrom: config,
          parts: { encoder: ['W_enc', 'across'], encoderBias: ['b_enc'], decoder: ['W_dec'], decoderBias: ['b_dec'] },
        };
      },
    };
  },
};
