import * as assert from 'uvu/assert';
import { loadSae } from '../../src/dictionary/index.ts';
import { evaluateMetrics } from '../../src/evaluation/index.ts';
import { memorySource } from '../../src/files/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { fixtureParts, modelSource } from '../support/models.ts';
import { random, relativeError } from '../support/numbers.ts';
import { dot, largest, layerNormOf } from '../support/plain-dictionary.ts';
import { Saved, torchFile, type Value } from '../support/torch-file.ts';

const test = gpuSuite('dictionaries of others on a model');
const gpu = await testGpu();

const [D, d, k] = [96, 48, 7];
const hook = 'blocks.1.hook_resid_post';
const tokens = [[5, 17, 3, 88, 41, 2, 60], [9, 9, 30, 12, 0, 96, 1, 44]];
const of = (n: number, seed: number): number[] => [...random(n, seed)];
const [encoder, latentBias, decoder, preBias] = [of(D * d, 1), of(D, 2), of(D * d, 3).map((v) => v / 10), of(d, 4)];

test('a dictionary that normalises every token is measured as it would be in float64, and centring the model changes nothing', async () => {
  const file = 'gpt2-small/resid_post_mlp_v5_32k/autoencoders/1.pt';
  const state = new Map<string, Value>(Object.entries({
    pre_bias: new Saved([d], preBias), latent_bias: new Saved([D], latentBias), 'encoder.weight': new Saved([D, d], encoder), 'decoder.weight': new Saved([d, D], decoder, { strides: [1, d] }),
    activation: 'TopK', activation_state_dict: { k, postact_fn: 'ReLU' },
  }));
  const source = memorySource({ [file]: torchFile(state) });
  const { config, tensors } = await fixtureParts();
  const found = [];
  for (const centerWritingWeights of [false, true]) {
    const model = await Gpt2.load(gpu, modelSource(config, tensors), { processing: { centerWritingWeights } });
    const sae = await loadSae(gpu, source, { hookName: hook, width: d, weightProcessing: { ...model.processing } }, { file });
    const measured = await evaluateMetrics(model, sae, { hook, tokens, excludeTokens: [] });
    const run = model.run(tokens, { cache: hook, logits: 'none' });
    const values = await run.get(hook).read();
    run.dispose();
    sae.dispose();
    model.dispose();
    const rows = tokens.flatMap((prompt, p) => prompt.map((_, t) => [...values.subarray((p * 8 + t) * d, (p * 8 + t + 1) * d)]));
    const errors = rows.map((x) => {
      const { mean, scale } = layerNormOf(x);
      const input = x.map((v, i) => (v - mean) / scale - preBias[i]!);
      const codes = largest(latentBias.map((b, f) => b + dot(input, encoder.slice(f * d, (f + 1) * d))), k);
      return x.reduce((sum, v, i) => sum + (v - mean - scale * (preBias[i]! + codes.reduce((all, c, f) => all + c * decoder[f * d + i]!, 0))) ** 2, 0);
    });
    const { saelens } = measured;
    assert.ok(relativeError([saelens.reconstruction_quality.mse!], [errors.reduce((sum, v) => sum + v, 0) / rows.length]) <= 1e-5);
    assert.is(saelens.sparsity.l0, k);
    assert.ok(saelens.model_performance_preservation.ce_loss_with_sae! !== saelens.model_performance_preservation.ce_loss_without_sae!);
    found.push([saelens.reconstruction_quality.mse!, saelens.sparsity.l1!, saelens.model_performance_preservation.ce_loss_with_sae!, saelens.model_behavior_preservation.kl_div_with_sae!]);
  }
  assert.ok(relativeError(found[1]!, found[0]!) <= 1e-4, JSON.stringify(found));
});

test.run();
