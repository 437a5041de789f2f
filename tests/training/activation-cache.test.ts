/** Activations on disk: what the model computes, in files that others can read; written in pieces, read in rounds, of one model only. */
import * as assert from 'uvu/assert';
import { FileError, ShapeError, UnknownSiteError, UsageError } from '../../src/errors.ts';
import { encodeSafetensors, memorySource, openSafetensors, readDocuments } from '../../src/files/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { openSource } from '../../src/node.ts';
import {
  CachedActivations, checkCacheModel, packDefaults, readCacheManifest, TextActivations, TokenRows, trainSaes, writeActivations, type ActivationStream, type CacheFolder, type CachePlan, type PackState, type SaeJob, type StreamSite,
} from '../../src/training/index.ts';
import { modelMetadata } from '../../src/task/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('activations on disk');
const gpu = await testGpu();
const SITES: StreamSite[] = [{ hook: 'blocks.0.hook_resid_post' }, { hook: 'blocks.0.attn.hook_z', head: 2 }];
const documents = Array.from({ length: 20 }, (_, i) => Array.from(random(9 + (i * 7) % 23, i), (value) => 2 + Math.floor(Math.abs(value) * 90)));
const text = memorySource({ 'a.json': new TextEncoder().encode(JSON.stringify(documents)) });

/** Keeps files in memory; the write numbered `until` and all after it fail. */
function folderOf(files: Record<string, Uint8Array>, until = Infinity): CacheFolder {
  let writes = 0;
  return {
    read: async (name) => files[name] ?? null,
    async write(name, bytes) {
      if (writes++ >= until) throw new FileError(`cannot write ${name}: the disk is full`);
      files[name] = bytes;
    },
  };
}

async function withModel(use: (model: Gpt2, stream: (examples: number) => TextActivations, plan: CachePlan) => Promise<void>): Promise<void> {
  const model = await Gpt2.load(gpu, openSource('models/ioi-mini'));
  const open = (state?: PackState): TokenRows => new TokenRows((from) => readDocuments([{ source: text, path: 'a.json' }], {}, from), { ...packDefaults, context: 12, bos: 1, separator: 1, heldOut: 0 }, { state });
  const plan: CachePlan = { model: modelMetadata(model) as CachePlan['model'], sites: SITES, text: { context_size: 12 }, tokens: 150, dtype: 'F32' };
  await use(model, (examples) => new TextActivations(model, { sites: SITES, examples, open, special: [1], batch: 2 }), plan).finally(() => model.dispose());
}

/** The examples of a round, site by site. */
async function roundOf(stream: ActivationStream & Pick<TextActivations, 'data'>, round: number): Promise<Float32Array[]> {
  const out = stream.data.map(({ size }) => new Float32Array(size).fill(NaN));
  const reads: Promise<void>[] = [];
  await stream.fill(round, (site, rows, at) => reads.push(rows.read().then((values) => out[stream.data.indexOf(site)]!.set(values, at * site.shape[1]))));
  await Promise.all(reads);
  return out;
}

test('shards hold what the stream brings, under the names of the hooks; interrupted writing goes on to the same bytes', () => withModel(async (_model, stream, plan) => {
  const whole: Record<string, Uint8Array> = {};
  await writeActivations(stream(64), plan, folderOf(whole));
  assert.equal(Object.keys(whole).sort(), ['activations-00000.safetensors', 'activations-00001.safetensors', 'activations-00002.safetensors', 'manifest.json']);
  const expected = await roundOf(stream(150), 0);
  const names = ['blocks.0.hook_resid_post', 'blocks.0.attn.hook_z.2'];
  let at = 0;
  for (const [shard, rows] of [64, 64, 22].entries()) {
    const file = await openSafetensors(memorySource(whole), `activations-0000${shard}.safetensors`);
    assert.is(file.metadata['tokens'], `${at}-${at + rows}`);
    for (const [i, name] of names.entries()) {
      const width = expected[i]!.length / 150;
      assert.equal(file.info(name).shape, [rows, width]);
      assert.ok(relativeError(await file.f32(name), expected[i]!.subarray(at * width, (at + rows) * width)) < 1e-6, `${name} ${shard}`);
    }
    at += rows;
  }
  // The disk is full at the second shard, and at the manifest behind it.
  for (const until of [2, 3]) {
    const files: Record<string, Uint8Array> = {};
    assert.match(await refusal(() => writeActivations(stream(64), plan, folderOf(files, until)), FileError), /the disk is full/);
    assert.match(await refusal(() => readCacheManifest(memorySource(files)), FileError), /64 of 150 tokens are written/);
    await writeActivations(stream(64), plan, folderOf(files));
    assert.equal(files, whole);
  }
  assert.match(await refusal(() => writeActivations(stream(64), { ...plan, dtype: 'F16', text: { context_size: 24 } }, folderOf(whole)), UsageError), /dtype \(F32 there, F16 here\); text\.context_size \(12 there, 24 here\)/);
}));

test('a dictionary learns from the folder what it learns from the model, and goes on bit for bit', () => withModel(async (model, stream, plan) => {
  const files: Record<string, Uint8Array> = {};
  await writeActivations(stream(50), { ...plan, tokens: 192 }, folderOf(files));
  const source = memorySource(files);
  const manifest = await readCacheManifest(source);
  checkCacheModel(manifest, model);
  const train = async (from: ActivationStream & Pick<TextActivations, 'data'>, options: object = {}) => {
    const jobs: SaeJob[] = [{ name: 'a', data: from.data[0]!, l1: 0.3, seed: 1 }];
    const { saes } = await trainSaes(gpu, jobs, { features: 16, epochs: 3, batch: 16, resampleAt: [], stream: from, ...options });
    const bits = await saes[0]!.weights.encoder.read();
    saes[0]!.dispose();
    return bits;
  };
  const cached = () => new CachedActivations(gpu, source, manifest, { sites: SITES.slice(0, 1), examples: 64 });
  let checkpoint: Uint8Array | null = null;
  const bits = await train(cached(), { checkpointEvery: 6, onCheckpoint: (bytes: Uint8Array, step: number) => { if (step === 6) checkpoint = bytes; } });
  const own = stream(64);
  for (const round of [0, 1, 2]) assert.ok(relativeError((await roundOf(cached(), round))[0]!, (await roundOf(own, round))[0]!) < 1e-6);
  assert.equal(await train(cached(), { resume: checkpoint! }), bits);
  // Behind the last token the first one comes again.
  const long = new CachedActivations(gpu, source, manifest, { sites: SITES.slice(1), examples: 150 });
  const [first, second] = [(await roundOf(long, 0))[0]!, (await roundOf(long, 1))[0]!];
  const width = first.length / 150;
  assert.equal(second.subarray(42 * width), first.subarray(0, 108 * width));
}));

test('halves take half the room and are as near as halves are', () => withModel(async (_model, stream, plan) => {
  const [full, half]: Record<string, Uint8Array>[] = [{}, {}];
  await writeActivations(stream(150), plan, folderOf(full!));
  await writeActivations(stream(150), { ...plan, dtype: 'F16' }, folderOf(half!));
  const read = async (files: Record<string, Uint8Array>) => roundOf(new CachedActivations(gpu, memorySource(files), await readCacheManifest(memorySource(files)), { sites: SITES, examples: 150 }), 0);
  const [exact, near] = [await read(full!), await read(half!)];
  exact.forEach((values, i) => {
    const error = relativeError(near[i]!, values);
    assert.ok(error > 1e-6 && error < 2 ** -11, `${error}`);
  });
  assert.ok(half!['activations-00000.safetensors']!.length < 0.51 * full!['activations-00000.safetensors']!.length);
}));

test('another model, unknown sites, broken manifests and shards are refused by name', () => withModel(async (model, stream, plan) => {
  const files: Record<string, Uint8Array> = {};
  await writeActivations(stream(150), plan, folderOf(files));
  const source = memorySource(files, 'cache');
  const manifest = await readCacheManifest(source);
  const other = { name: 'other', hash: 'f'.repeat(64), processing: { ...model.processing, foldLayerNorm: true } } as unknown as Gpt2;
  assert.match(await refusal(() => checkCacheModel(manifest, other), UsageError), /they are of ioi-mini .* not of other \(ffffffffffff\); foldLayerNorm is false for them, true here/);
  assert.match(await refusal(() => new CachedActivations(gpu, source, manifest, { sites: [{ hook: 'blocks.0.attn.hook_z', head: 1 }], examples: 8 }), UnknownSiteError), /no activations of blocks\.0\.attn\.hook_z\.1; it has those of blocks\.0\.hook_resid_post, blocks/);
  assert.match(await refusal(() => new CachedActivations(gpu, source, manifest, { sites: SITES, examples: 151 }), UsageError), /151 examples are more than the 150 tokens/);
  assert.match(await refusal(() => readCacheManifest(memorySource({}, 'cache')), FileError), /cache\/manifest\.json: no such file/);
  assert.match(await refusal(() => readCacheManifest(memorySource({ 'manifest.json': new TextEncoder().encode('{"format":"x"}') })), FileError), /not the manifest of activations: format/);
  const cached = (broken: Record<string, Uint8Array>) => new CachedActivations(gpu, memorySource({ ...files, ...broken }, 'cache'), manifest, { sites: SITES, examples: 8 });
  const wrong = encodeSafetensors({ 'blocks.0.hook_resid_post': { dtype: 'F32', shape: [2, 3], data: new Float32Array(6) } });
  assert.match(await refusal(() => cached({ 'activations-00000.safetensors': wrong }).fill(0, () => {}), ShapeError), /blocks\.0\.hook_resid_post is F32 \[2, 3\], but the manifest says F32 \[150, 128\]/);
  await refusal(() => cached({ 'activations-00000.safetensors': files['activations-00000.safetensors']!.slice(0, 3000) }).fill(0, () => {}), FileError);
  assert.match(await refusal(() => cached({}).restore({ round: 1 }), UsageError), /not of a run on these activations/);
}));

test.run();
