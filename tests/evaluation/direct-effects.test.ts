import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { directEffects } from '../../src/evaluation/direct-effects.ts';
import { openSource } from '../../src/files/index.ts';
import { Gpt2, type NO_PROCESSING } from '../../src/model/index.ts';
import { grammarFor, IoiTask } from '../../src/task/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('direct effects');
const gpu = await testGpu();
const near = (a: number, b: number, allowed: number, what = ''): void => assert.ok(Math.abs(a - b) <= allowed, `${what}: ${a} is not ${b}`);

async function withModel(processing: Partial<typeof NO_PROCESSING>, body: (model: Gpt2, tokens: number[][], first: number[], second: number[]) => Promise<void>): Promise<void> {
  const model = await Gpt2.load(gpu, openSource(IOI_MINI), { processing });
  try {
    const prompts = IoiTask.create(model.tokenizer!, await grammarFor(openSource(IOI_MINI))).sample({ count: 3, seed: 4 });
    await body(model, prompts.tokens, [...prompts.correct], [...prompts.incorrect]);
  } finally {
    model.dispose();
  }
}

for (const processing of [{}, { foldLn: true, centerWritingWeights: true, centerUnembed: true, foldValueBiases: true }]) {
  const how = Object.keys(processing).length > 0 ? 'folded norms' : 'weights as they are';
  test(`each component through the final norm with its scale held, one by one, with ${how}`, () => withModel(processing, async (model, tokens, first, second) => {
    const { width, heads, layers } = model.config;
    const found = await directEffects(model, tokens, { first, second });
    const [unembed, gamma] = await Promise.all([model.weights.unembed.read(), model.weights.finalNorm?.weight.read()]);
    for (const [p, prompt] of tokens.entries()) {
      const run = model.run([prompt], { cache: ['hook_embed', 'hook_pos_embed', '*.hook_result', '*.hook_mlp_out', '*.hook_attn_out', 'blocks.3.hook_resid_post'], logits: 'last' });
      const last = async (hook: string): Promise<Float32Array> => (await run.get(hook).read()).slice(-(run.get(hook).size / prompt.length));
      const stream = await last('blocks.3.hook_resid_post');
      const mean = stream.reduce((a, b) => a + b, 0) / width;
      const sigma = Math.sqrt(stream.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width + model.config.epsilon);
      near(found[p]!.scale, sigma, 1e-4 * sigma, 'scale');
      const effect = (c: Float32Array): number => {
        const own = c.reduce((a, b) => a + b, 0) / width;
        return c.reduce((sum, value, i) => sum + ((value - own) / sigma) * (gamma?.[i] ?? 1) * (unembed[first[p]! * width + i]! - unembed[second[p]! * width + i]!), 0);
      };
      near(found[p]!.embed, effect(await last('hook_embed')), 1e-4, 'embed');
      near(found[p]!.posEmbed, effect(await last('hook_pos_embed')), 1e-4, 'pos_embed');
      for (let layer = 0; layer < layers; layer++) {
        const result = await last(`blocks.${layer}.attn.hook_result`);
        const own = Array.from({ length: heads }, (_, head) => effect(result.slice(head * width, (head + 1) * width)));
        own.forEach((value, head) => near(found[p]!.heads[layer]![head]!, value, 1e-4, `L${layer}H${head}`));
        near(found[p]!.mlps[layer]!, effect(await last(`blocks.${layer}.hook_mlp_out`)), 1e-4, `mlp ${layer}`);
        near(found[p]!.attentionBias[layer]!, effect(await last(`blocks.${layer}.hook_attn_out`)) - own.reduce((a, b) => a + b, 0), 3e-4, `bias ${layer}`);
      }
      const logits = await run.logits!.read();
      near(found[p]!.total, logits[first[p]!]! - logits[second[p]!]!, 1e-3, 'sum');
      run.dispose();
    }
  }));
}

test('logits of earlier positions, and tokens that do not fit', () => withModel({}, async (model, tokens, first, second) => {
  const [prompt] = tokens;
  const [whole] = await directEffects(model, [prompt!.slice(0, 7)], { first: [first[0]!], second: [second[0]!] });
  const [within] = await directEffects(model, [prompt!], { first: [first[0]!], second: [second[0]!], positions: [6] });
  near(within!.total, whole!.total, 1e-4);
  assert.match(await refusal(() => directEffects(model, tokens, { first: first.slice(1), second: second.slice(1) }), ShapeError), /2 pairs of tokens do not fit 3 prompts/);
  assert.match(await refusal(() => directEffects(model, [prompt!], { first: [1026], second: [0] }), ShapeError), /id 1026 .* 0 to 1025/);
}));

test('weights that are stored as halves, with the output bias of an unembedding', async () => {
  const model = await Gpt2.load(gpu, openSource(IOI_MINI), { weights: 'f16', processing: { foldLn: true } });
  try {
    const tokens = [[5, 90, 700, 3], [12, 8]];
    const found = await directEffects(model, tokens, { first: [17, 400], second: [900, 2] });
    const run = model.run(tokens);
    const logits = await run.logits!.read();
    run.dispose();
    near(found[0]!.total, logits[17]! - logits[900]!, 1e-3);
    near(found[1]!.total, logits[1026 + 400]! - logits[1026 + 2]!, 1e-3);
  } finally {
    model.dispose();
  }
});

test.run();
