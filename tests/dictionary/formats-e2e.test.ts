import * as assert from 'uvu/assert';
import { loadSae } from '../../src/dictionary/index.ts';
import { memorySource } from '../../src/files/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { checkSae, decoded, numbers, preActivations, relu, unit } from '../support/plain-dictionary.ts';
import { refusal } from '../support/refusal.ts';
import { rows, turned, vector } from '../support/torch-dictionary.ts';
import { torchFile, type Value } from '../support/torch-file.ts';

const test = gpuSuite('e2e_sae');
const gpu = await testGpu();

test("e2e_sae's: several in a file, chosen by hook, decoders at unit length", async () => {
  const part = (at: string, encoder: readonly number[]): [string, Value][] => [
    [`${at}.encoder.0.weight`, rows(encoder)], [`${at}.encoder.0.bias`, vector(numbers.encoderBias)], [`${at}.decoder.weight`, turned(numbers.decoder)], [`${at}.decoder.bias`, vector(numbers.decoderBias)],
  ];
  const other = numbers.encoder.map((v) => -v);
  const yaml = 'wandb_project: gpt2-e2e\ntlens_model_name: gpt2-small\ntlens_model_path: null\ntrain_data:\n  dataset_name: apollo-research/Skylion007\n  is_tokenized: true\n  n_ctx: 1024\nsaes:\n  n_ctx: 7\n';
  const source = memorySource({ 'samples_400000.pt': torchFile(new Map([...part('blocks-2-hook_resid_pre', other), ...part('blocks-6-hook_resid_pre', numbers.encoder)])), 'final_config.yaml': new TextEncoder().encode(yaml) });
  const file = 'samples_400000.pt';
  const back = (codes: number[]): number[] => decoded(codes, unit(numbers.decoder));
  const encode = (encoder: readonly number[]) => (x: readonly number[]): number[] => preActivations(x, { shifted: false, encoder }).map(relu);
  const sae = await loadSae(gpu, source, { hookName: 'blocks.6.hook_resid_pre', prependBos: false, weightProcessing: { centerWritingWeights: true } }, { file });
  assert.equal([sae.metadata.model_name, sae.metadata.hook_name, sae.metadata['context_size']], ['gpt2-small', 'blocks.6.hook_resid_pre', 1024]);
  await checkSae(gpu, sae, encode(numbers.encoder), back);
  await checkSae(gpu, await loadSae(gpu, source, {}, { file, hook: 'blocks.2.hook_resid_pre' }), encode(other), back);
  assert.match(await refusal(() => loadSae(gpu, source, {}, { file })), /holds dictionaries at blocks\.2\.hook_resid_pre, blocks\.6\.hook_resid_pre; say at which hook/);
  assert.match(await refusal(() => loadSae(gpu, source, { hookName: 'blocks.3.hook_resid_pre' }, { file })), /there is none at blocks\.3\.hook_resid_pre/);
});

test.run();
