// Writes a checkpoint of GPT-2 Small's exact shape with random weights (0.5 GB), for trying at full size what needs shapes but no skill.
//   node tests/support/random-gpt2.mjs DIR [tokenizer.json]
import { copyFileSync, mkdirSync, openSync, writeSync, closeSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [directory, tokenizer] = process.argv.slice(2);
if (!directory) {
  process.stderr.write('error: the directory to write to is needed\n');
  process.exit(2);
}
const [layers, heads, width, vocabulary, context] = [12, 12, 768, 50257, 1024];

/** GPT-2's tensors: weights of deviation 0.02, those of projections into the stream smaller by √(2 · layers); norms near 1. */
const tensors = [['wte.weight', [vocabulary, width], 0, 0.02], ['wpe.weight', [context, width], 0, 0.02]];
for (let layer = 0; layer < layers; layer++) {
  const name = (rest) => `h.${layer}.${rest}`;
  const inward = 0.02 / Math.sqrt(2 * layers);
  tensors.push(
    [name('ln_1.weight'), [width], 1, 0.02], [name('ln_1.bias'), [width], 0, 0.02],
    [name('attn.c_attn.weight'), [width, 3 * width], 0, 0.02], [name('attn.c_attn.bias'), [3 * width], 0, 0.02],
    [name('attn.c_proj.weight'), [width, width], 0, inward], [name('attn.c_proj.bias'), [width], 0, 0.02],
    [name('ln_2.weight'), [width], 1, 0.02], [name('ln_2.bias'), [width], 0, 0.02],
    [name('mlp.c_fc.weight'), [width, 4 * width], 0, 0.02], [name('mlp.c_fc.bias'), [4 * width], 0, 0.02],
    [name('mlp.c_proj.weight'), [4 * width, width], 0, inward], [name('mlp.c_proj.bias'), [width], 0, 0.02],
  );
}
tensors.push(['ln_f.weight', [width], 1, 0.02], ['ln_f.bias', [width], 0, 0.02]);

/** Uniform numbers in [-1, 1) by a linear congruence; the same on every machine. */
let state = 12345;
const draw = () => (state = (Math.imul(state, 1664525) + 1013904223) | 0) / 2 ** 31;

mkdirSync(directory, { recursive: true });
const header = {};
let at = 0;
for (const [name, shape] of tensors) {
  const bytes = 4 * shape.reduce((a, b) => a * b, 1);
  header[name] = { dtype: 'F32', shape, data_offsets: [at, at + bytes] };
  at += bytes;
}
const text = JSON.stringify(header);
const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8, ' '));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(padded.length));
const file = openSync(join(directory, 'model.safetensors'), 'w');
for (const part of [length, padded]) writeSync(file, part);
for (const [, shape, around, deviation] of tensors) {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => around + deviation * Math.sqrt(3) * draw());
  const bytes = Buffer.from(values.buffer);
  for (let begin = 0; begin < bytes.length;) begin += writeSync(file, bytes, begin);
}
closeSync(file);
writeFileSync(join(directory, 'config.json'), `${JSON.stringify({
  model_type: 'gpt2', n_layer: layers, n_head: heads, n_embd: width, n_positions: context, n_ctx: context, vocab_size: vocabulary, activation_function: 'gelu_new',
  layer_norm_epsilon: 1e-5, bos_token_id: 50256, eos_token_id: 50256, tie_word_embeddings: true,
}, null, 2)}\n`);
if (tokenizer) copyFileSync(tokenizer, join(directory, 'tokenizer.json'));
