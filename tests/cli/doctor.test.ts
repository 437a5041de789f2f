import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Diagnosis } from '../../src/cli/doctor.ts';
import { Gpt2, selfTest } from '../../src/model/index.ts';
import reference from '../../src/model/selftest-reference.json';
import { adapterChoice, packageRoot } from '../../src/node-adapter.mjs';
import { cli } from '../support/cli.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';

const model = join(packageRoot(), 'models', 'ioi-mini');
const names = ['matmul', 'softmax', 'layer norm', 'logits of ioi-mini', 'sign of the indirect-object logit difference, prompts wrong'];

const selfTests = gpuSuite('self-test');

selfTests('passes on this adapter', async () => {
  const checks = await selfTest(await testGpu(), model);
  assert.equal(checks.map((c) => c.name), names);
  for (const c of checks) assert.ok(c.passed && c.error <= c.allowed && c.problem === '', `${c.name}: ${c.problem}`);
});

selfTests('its stored tokens are what the model\'s tokenizer makes of its texts', async () => {
  const gpt2 = await Gpt2.load(await testGpu(), model);
  try {
    for (const { text, tokens, correct } of reference.prompts) {
      assert.equal([...gpt2.tokenizer!.encode(text)], tokens);
      assert.match(text, new RegExp(`\\b${gpt2.tokenizer!.token(correct).trim()}\\b`));
    }
  } finally {
    gpt2.dispose();
  }
});

selfTests('notices a model that computes something else', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'diffract-'));
  try {
    for (const name of ['config.json', 'tokenizer.json']) copyFileSync(join(model, name), join(folder, name));
    const weights = readFileSync(join(model, 'model.safetensors'));
    const headerBytes = Number(weights.readBigUInt64LE(0));
    const header = JSON.parse(weights.toString('utf8', 8, 8 + headerBytes)) as Record<string, { data_offsets: [number, number] }>;
    // One bit in the exponent of one float16.
    weights[8 + headerBytes + header['h.1.mlp.c_fc.bias']!.data_offsets[0] + 1]! ^= 0x10;
    writeFileSync(join(folder, 'model.safetensors'), weights);
    const checks = await selfTest(await testGpu(), folder);
    assert.equal(checks.filter((c) => !c.passed).map((c) => c.name)[0], 'logits of ioi-mini');
    assert.match(checks[3]!.problem, /^measured .*, allowed 0\.0001$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

selfTests('a model that cannot be loaded fails its checks and no other', async () => {
  const checks = await selfTest(await testGpu(), '/nowhere');
  assert.equal(checks.filter((c) => !c.passed).map((c) => c.name), names.slice(3));
  assert.ok(Number.isNaN(checks[3]!.error));
  assert.match(checks[3]!.problem, /nowhere/);
});

selfTests.run();

const command = suite('doctor');

command('trusts this machine and says what it has, as JSON and as text', async () => {
  const json = await cli(['doctor', '--json']);
  assert.is(json.code, 0, json.stderr);
  const found = JSON.parse(json.stdout) as Diagnosis;
  assert.is(found.trusted, true);
  assert.match(found.adapter!.description, { lavapipe: /llvmpipe/, swiftshader: /SwiftShader/, auto: /./ }[adapterChoice()]);
  assert.ok(found.ceilings!.copyGBps > 0.01 && found.ceilings!.gflops > 0.01, JSON.stringify(found.ceilings));
  assert.ok(found.limits!.bindingBytes >= 128 * 2 ** 20);
  assert.equal(found.checks.map((c) => c.passed), names.map(() => true));
  if (found.adapter!.software) assert.ok(found.advice.some((text) => /GPU/.test(text)));
});

command('without an adapter it exits 1 and says what to do', async () => {
  const { code, stdout } = await cli(['doctor'], { DIFFRACT_ADAPTER: 'auto', VK_DRIVER_FILES: '/nowhere.json', VK_ICD_FILENAMES: '/nowhere.json' });
  assert.is(code, 1);
  assert.match(stdout, /adapter +none\n/);
  assert.match(stdout, /to do +no WebGPU adapter was found: install a GPU driver/);
  assert.match(stdout, /evaluations cannot be trusted here\n$/);
});

command.run();
