/** What --sae makes of directories: where dictionaries of text serve, what they are called, which features are left out, and what is refused. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { loadDictionaries, processingOfSaes, type LoadChoice } from '../../src/cli/sae-directories.ts';
import { Sae, saeFiles, type SaeMetadata } from '../../src/dictionary/index.ts';
import { ShapeError, UnknownSiteError, UsageError } from '../../src/errors.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { formatSite } from '../../src/task/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('dictionaries named on the command line');
const gpu = await testGpu();
const folder = mkdtempSync(join(tmpdir(), 'diffract-sae-directories-'));
let model: Gpt2;

async function write(name: string, width: number, metadata: SaeMetadata, frequencies: Float32Array | null = null): Promise<string> {
  const of = (n: number, shape: number[]): Tensor => Tensor.from(gpu, random(n, width), shape);
  const weights = { encoder: of(12 * width, [12, width]), encoderBias: of(12, [12]), decoder: of(12 * width, [12, width]), decoderBias: of(width, [width]) };
  const sae = new Sae(name, weights, { l1_coefficient: 2, weight_processing: model.processing, ...metadata }, { frequencies });
  const path = join(folder, name);
  mkdirSync(path);
  for (const [file, bytes] of Object.entries(await saeFiles(sae))) writeFileSync(join(path, file), bytes);
  sae.dispose();
  return path;
}

test.before(async () => {
  model = await Gpt2.load(gpu, directorySource(IOI_MINI));
  await write('task', 32, { hook_name: 'blocks.0.attn.hook_z', hook_head_index: 3, position: 'end' });
  await write('head', 32, { hook_name: 'blocks.0.attn.hook_z', hook_head_index: 3, sparsity_examples: 65536 }, Float32Array.from({ length: 12 }, (_, f) => (f < 4 ? 1e-7 : f === 4 ? 0 : 1e-3)));
  await write('all', 128, { hook_name: 'blocks.1.attn.hook_z', hook_head_index: null, reshape_activations: 'hook_z' });
  await write('residual', 128, { hook_name: 'blocks.0.hook_resid_post' }, new Float32Array(12).fill(0.1));
  await write('mid', 128, { hook_name: 'blocks.1.hook_resid_mid' });
  await write('nameless', 32, {});
  await write('silent', 32, { hook_name: 'blocks.0.attn.hook_z', hook_head_index: 0, prepend_bos: false });
});
test.after(() => {
  model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** What was said on stderr at the last call. */
let notes = '';

async function quiet<T>(work: () => Promise<T>): Promise<T> {
  const { write: usual } = process.stderr;
  notes = '';
  process.stderr.write = ((text: string) => { notes += text; return true; }) as typeof usual;
  return work().finally(() => { process.stderr.write = usual; });
}

async function load(names: readonly string[], choice: LoadChoice = {}): Promise<{ line: string; dropped: number | undefined; features: number }[]> {
  const loaded = await quiet(() => loadDictionaries(model, names.map((name) => name.replace(/(^|=)(?=\w+$)/, (_, before) => `${before}${folder}/`)), choice));
  const seen = loaded.map(({ site, reads, name, variant, trainedOn, filter, dictionary }) => ({
    line: `${name} [${variant}] ${trainedOn ?? '?'} ${site ? formatSite(site) : '*'} ${reads!.hook}:${reads!.head}`, dropped: filter?.dropped, features: dictionary.features,
  }));
  for (const { dictionary } of loaded) dictionary.dispose();
  return seen;
}

test('dictionaries of text serve what they reach, apart from those of the task', async () => {
  const found = await load(['task', 'head', 'all', 'residual', 'z@L1H2@end=all', 'v@L1H0@io=residual', 'z@L0H3@end=nameless', 'blocks.0.attn.hook_z:3=nameless', 'head']);
  assert.equal(found.map(({ line }) => line), [
    'vanilla λ=2 [vanilla] task z@L0H3@end blocks.0.attn.hook_z:3',
    'vanilla λ=2 (text) [vanilla (text)] text * blocks.0.attn.hook_z:3',
    'vanilla λ=2 (text, all heads) [vanilla (text, all heads)] text * blocks.1.attn.hook_z:null',
    'vanilla λ=2 (text, residual) [vanilla (text, residual)] text * blocks.0.hook_resid_post:null',
    'vanilla λ=2 (text, all heads) [vanilla (text, all heads)] text z@L1H2@end blocks.1.attn.hook_z:null',
    'vanilla λ=2 (text, residual) [vanilla (text, residual)] text v@L1H0@io blocks.0.hook_resid_post:null',
    'vanilla λ=2 #2 [vanilla] ? z@L0H3@end blocks.0.attn.hook_z:3',
    'vanilla λ=2 (text) #2 [vanilla (text)] text * blocks.0.attn.hook_z:3',
    'vanilla λ=2 (text) #3 [vanilla (text)] text * blocks.0.attn.hook_z:3',
  ]);
  assert.equal(found.map(({ dropped, features }) => [dropped, features]), [[undefined, 12], [5, 7], [undefined, 12], [0, 12], [undefined, 12], [0, 12], [undefined, 12], [undefined, 12], [5, 7]]);
  assert.match(notes, /head: 5 of 12 features are left out, which were active on fewer than one in 1000000 tokens in training, none of the 65536 that were counted\n/);
  assert.match(notes, /nameless: it does not say at which hook it was trained; it is used at blocks\.0\.attn\.hook_z\n/);
  assert.equal((await load(['head'], { minFrequency: 1e-8 })).map(({ dropped, features }) => [dropped, features]), [[1, 11]]);
  await load(['silent']);
  assert.match(notes, /silent: it was trained on rows without a beginning-of-sequence token; prompts that begin with one are unlike them\n/);
  assert.equal((await load(['head'], { minFrequency: 0 })).map(({ dropped, features }) => [dropped, features]), [[undefined, 12]]);
});

test('the processing of weights that dictionaries name is what the model is loaded with', async () => {
  const one = await write('folded', 32, { hook_name: 'blocks.0.attn.hook_z', hook_head_index: 0, weight_processing: { ...model.processing, foldValueBiases: true } });
  assert.equal(await processingOfSaes([join(folder, 'task'), join(folder, 'head')]), {});
  assert.equal(await quiet(() => processingOfSaes([join(folder, 'task'), `z@L0H0@end=${one}`])), { foldValueBiases: true });
  assert.match(notes, /weights are processed as the SAEs were trained with: foldValueBiases\n/);
  assert.match(await refusal(() => load(['folded']), UsageError), /weight processing foldValueBiases true, not false/);
});

test('what reaches no head, another head or another site is refused in a line that says why, and nothing stays loaded', async () => {
  const refused = (name: string, type: typeof UsageError | typeof ShapeError | typeof UnknownSiteError = UsageError, choice: LoadChoice = {}) => refusal(() => load(['task', name], choice), type);
  assert.match(await refused('mid'), /reads blocks\.1\.hook_resid_mid, which says nothing of any head's q, k, v or z: .*MLP/);
  assert.match(await refused('nameless'), /does not name a hook; give a site or a hook, as in --sae z@L0H3@end=/);
  assert.match(await refused('z@L1H2@end=residual'), /from which no linear map leads to z@L1H2@end: z is a sum over positions/);
  assert.match(await refused('q@L2H2@end=residual'), /no linear map leads to q@L2H2@end: heads of layer 2 read another/);
  assert.match(await refused('z@L0H2@end=head'), /reads head 3 of blocks\.0\.attn\.hook_z, from which no linear map leads to z@L0H2@end/);
  assert.match(await refused('blocks.0.attn.hook_z:9=nameless', UnknownSiteError), /heads 0 to 3/);
  assert.match(await refused('blocks.0.hook_resid_pre=nameless', ShapeError), /width 32, but its site blocks\.0\.hook_resid_pre has width 128/);
  assert.match(await refused('head', UsageError, { minFrequency: 0.5 }), /none of its 12 features is left/);
});

test.run();
