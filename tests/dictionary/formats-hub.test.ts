import * as assert from 'uvu/assert';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSae } from '../../src/dictionary/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { hubServer, type HubServer } from '../support/hub-server.ts';
import { across, checkSae, features, jsonFile, numbers, preActivations, relu, width } from '../support/plain-dictionary.ts';
import { refusal } from '../support/refusal.ts';
import { safetensorsFile } from '../support/safetensors-file.ts';
import { columns, rows, vector } from '../support/torch-dictionary.ts';
import { torchFile, type Value } from '../support/torch-file.ts';

const test = gpuSuite('dictionaries by their address on a hub');
const gpu = await testGpu();

const ofRelu = (x: readonly number[]): number[] => preActivations(x).map(relu);

/** Runs with a hub that has one repository, and with its own cache. */
async function withHub(repository: string, files: Record<string, Uint8Array>, work: (hub: HubServer) => Promise<void>): Promise<void> {
  const server = await hubServer(repository, files);
  const cache = mkdtempSync(join(tmpdir(), 'diffract-sae-hub-'));
  const before = { HF_ENDPOINT: process.env['HF_ENDPOINT'], DIFFRACT_CACHE: process.env['DIFFRACT_CACHE'] };
  Object.assign(process.env, { HF_ENDPOINT: server.url, DIFFRACT_CACHE: cache });
  try {
    await work(server);
  } finally {
    for (const [name, value] of Object.entries(before)) if (value === undefined) delete process.env[name];
    else process.env[name] = value;
    await server.close();
    rmSync(cache, { recursive: true, force: true });
  }
}

test('a folder of a release, with what its configuration does not say; afterwards without the hub', () => withHub('jbloom/GPT2-Small-SAEs-Reformatted', {
  'blocks.8.hook_resid_pre/cfg.json': jsonFile({ model_name: 'gpt2-small', hook_point: 'blocks.8.hook_resid_pre', hook_point_head_index: null, d_in: width, d_sae: features }),
  'blocks.8.hook_resid_pre/sae_weights.safetensors': safetensorsFile([
    ['W_enc', [width, features], across(numbers.encoder, features)], ['b_enc', [features], numbers.encoderBias], ['W_dec', [features, width], numbers.decoder], ['b_dec', [width], numbers.decoderBias],
  ]),
}, async (server) => {
  for (const reachable of [true, false]) {
    if (!reachable) await server.down();
    const sae = await openSae(gpu, 'hub:jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre', { hookName: 'blocks.8.hook_resid_pre' });
    assert.equal([sae.metadata['weight_processing'], sae.metadata['release']], [{ centerWritingWeights: true }, 'gpt2-small-res-jb']);
    await checkSae(gpu, sae, ofRelu);
  }
}));

test('one file of a repository', () => withHub('ckkissane/attn-saes-gpt2-small-all-layers', {
  'L5.pt': torchFile(new Map<string, Value>([['W_enc', columns(numbers.encoder)], ['W_dec', rows(numbers.decoder)], ['b_enc', vector(numbers.encoderBias)], ['b_dec', vector(numbers.decoderBias)]])),
  'L5_cfg.json': jsonFile({ act_name: 'blocks.5.attn.hook_z', act_size: width, dict_size: features }),
}, async (server) => {
  for (const reachable of [true, false]) {
    if (!reachable) await server.down();
    const sae = await openSae(gpu, 'hub:ckkissane/attn-saes-gpt2-small-all-layers/L5.pt', { hookName: 'blocks.5.attn.hook_z' });
    assert.is(sae.metadata['release'], 'gpt2-small-hook-z-kk');
    await checkSae(gpu, sae, ofRelu);
  }
  await server.up();
  assert.match(await refusal(() => openSae(gpu, 'hub:ckkissane/attn-saes-gpt2-small-all-layers/L6.pt')), /L6\.pt: no such file/);
}));

test.run();
