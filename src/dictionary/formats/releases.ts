/**
 * Dictionaries of GPT-2 Small that are much used, and what their own files do not say of them: how the model was loaded that they were trained on
 * (TransformerLens' options), tokens of context, the beginning-of-sequence token, factors on activations. From SAELens' list of releases, the
 * authors' code and the publications. Known by the repository's name, wherever it was copied to.
 */
export interface Release {
  /** As SAELens names it. */
  name: string;
  repository: string;
  hooks: readonly string[];
  features: readonly number[];
  /** As options of TransformerLens' `from_pretrained_no_processing`. */
  model: Readonly<Record<string, boolean>>;
  prependBos: boolean;
  contextSize: number;
  /** What activations are multiplied by before encoding (`expected_average_only_in`), by hook. */
  factors?: Readonly<Record<string, number>>;
  /** By hook, where file names do not follow from it. */
  files?: Readonly<Record<string, string>>;
  quirks: readonly string[];
}

const LAYERS = Array.from({ length: 12 }, (_, layer) => layer);
const at = (hook: string): string[] => LAYERS.map((layer) => `blocks.${layer}.${hook}`);
const byLayer = <T>(hook: string, values: readonly T[]): Record<string, T> => Object.fromEntries(values.map((value, layer) => [`blocks.${layer}.${hook}`, value]));

const CENTERED = { center_writing_weights: true };
/** TransformerLens' `from_pretrained` with nothing said. */
const PROCESSED = { fold_ln: true, center_writing_weights: true, center_unembed: true, fold_value_biases: true };

const Z_FILES = [
  'L0_Hcat_z_lr1.20e-03_l11.80e+00_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9', 'L1_Hcat_z_lr1.20e-03_l18.00e-01_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v5',
  'L2_Hcat_z_lr1.20e-03_l11.00e+00_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v4', 'L3_Hcat_z_lr1.20e-03_l19.00e-01_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9',
  'L4_Hcat_z_lr1.20e-03_l11.10e+00_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v7', 'L5_Hcat_z_lr1.20e-03_l11.00e+00_ds49152_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9',
  'L6_Hcat_z_lr1.20e-03_l11.10e+00_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9', 'L7_Hcat_z_lr1.20e-03_l11.10e+00_ds49152_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9',
  'L8_Hcat_z_lr1.20e-03_l11.30e+00_ds24576_bs4096_dc1.00e-05_rsanthropic_rie25000_nr4_v6', 'L9_Hcat_z_lr1.20e-03_l11.20e+00_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9',
  'L10_Hcat_z_lr1.20e-03_l11.30e+00_ds24576_bs4096_dc1.00e-05_rsanthropic_rie25000_nr4_v9', 'L11_Hcat_z_lr1.20e-03_l13.00e+00_ds24576_bs4096_dc3.16e-06_rsanthropic_rie25000_nr4_v9',
].map((name) => `gpt2-small_${name}.pt`);

const MLP_FACTORS = [
  1.049317316132615, 2.3693984005104283, 1.6411934982190302, 1.8958522157897557, 1.81673478700627, 1.550234472245924,
  1.3237742807210804, 1.1042905114723296, 0.9123762783479742, 0.6955335635232373, 0.3619728926727644, 0.2851548652550073,
];

function openAi(place: string, hook: string, short: string): Release[] {
  return ([['32k', 32_768], ['128k', 131_072]] as const).map(([size, features]) => ({
    name: `gpt2-small-${short}-v5-${size}`, repository: `jbloom/GPT2-Small-OAI-v5-${size}-${place}-SAEs`, hooks: at(hook), features: [features],
    model: {}, prependBos: false, contextSize: 64,
    quirks: ['32 active features whatever the token; every activation is brought to mean 0 and deviation 1 and back', 'trained in contexts of 64 tokens without a beginning-of-sequence token'],
  }));
}

const END_TO_END = (['sce', 'scefr', 'scl', 'sle', 'slefr', 'sll'] as const).map((kind): Release => ({
  name: `gpt2-small-res_${kind}-ajt`, repository: `neuronpedia/gpt2-small__res_${kind}-ajt`, hooks: [2, 6, 10].map((layer) => `blocks.${layer}.hook_resid_pre`), features: [46_080],
  model: PROCESSED, prependBos: false, contextSize: 1024,
  quirks: [
    kind.endsWith('l') ? 'trained on reconstructions alone' : `trained on the model's predictions${kind.endsWith('fr') ? ' and on activations further on' : ''}, so that reconstructions may lie far from activations`,
    `of three that are alike in ${kind.startsWith('sc') ? 'what they cost in loss' : 'how many features are active'}`,
  ],
}));

export const GPT2_RELEASES: readonly Release[] = [
  {
    name: 'gpt2-small-res-jb', repository: 'jbloom/GPT2-Small-SAEs-Reformatted', hooks: [...at('hook_resid_pre'), 'blocks.11.hook_resid_post'], features: [24_576],
    model: CENTERED, prependBos: true, contextSize: 128, quirks: ['on activations of the first token, the beginning of the sequence, reconstructions are poor'],
  },
  {
    name: 'gpt2-small-res-jb-feature-splitting', repository: 'jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8', hooks: ['blocks.8.hook_resid_pre'],
    features: [768, 1536, 3072, 6144, 12_288, 24_576, 49_152, 98_304], model: CENTERED, prependBos: true, contextSize: 128, quirks: ['one of eight that differ in width'],
  },
  {
    name: 'gpt2-small-hook-z-kk', repository: 'ckkissane/attn-saes-gpt2-small-all-layers', hooks: at('attn.hook_z'), features: [24_576, 49_152],
    model: PROCESSED, prependBos: true, contextSize: 128, files: byLayer('attn.hook_z', Z_FILES),
    quirks: ["all heads' z side by side, the first head's numbers first"],
  },
  {
    name: 'gpt2-small-mlp-tm', repository: 'tommmcgrath/gpt2-small-mlp-out-saes', hooks: at('hook_mlp_out'), features: [24_576],
    model: CENTERED, prependBos: true, contextSize: 512, factors: byLayer('hook_mlp_out', MLP_FACTORS), quirks: ['activations are multiplied by a factor of the layer, which its own files do not hold'],
  },
  ...openAi('resid-post', 'hook_resid_post', 'resid-post'), ...openAi('resid-mid', 'hook_resid_mid', 'resid-mid'), ...openAi('mlp-out', 'hook_mlp_out', 'mlp-out'), ...openAi('attn-out', 'hook_attn_out', 'attn-out'),
  ...END_TO_END,
];

/** The release that a source's name (a path, URL or hub address) lies in, by the repository's own name among its parts; null for others. */
export function releaseOf(name: string): Release | null {
  const parts = name.replace(/models--[^/\\]+?--/g, '').split(/[\\/]/).map((part) => part.replace(/@.*$/, ''));
  return GPT2_RELEASES.find(({ repository }) => parts.includes(repository.slice(repository.indexOf('/') + 1))) ?? null;
}
