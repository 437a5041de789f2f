/** From files in any layout that is known to a dictionary: which layout it is, what it says of itself, whether it belongs where it is to be used. */
import { FileError } from '../../errors.ts';
import { openTorch, type FileSource, type TorchFile } from '../../files/index.ts';
import type { Gpu } from '../../gpu/index.ts';
import { Sae } from '../sae.ts';
import { checkSite, processingOf, type ExpectedSite } from './check.ts';
import { dictionaryLearning } from './dictionary-learning.ts';
import { e2e } from './e2e.ts';
import type { FoundSae, SaeChoice, SaeFileConfig, SaeFiles, SaeFormat } from './format.ts';
import { kk } from './kk.ts';
import { openai } from './openai.ts';
import { releaseOf, type Release } from './releases.ts';
import { readSparsity, saelens } from './saelens.ts';
import { sparsify } from './sparsify.ts';
import { readWeights } from './weights.ts';

/** In the order in which they are tried: those that two layouts could take for their own come first to the narrower one. */
const FORMATS: readonly SaeFormat[] = [kk, dictionaryLearning, openai, e2e, sparsify, saelens];

/** See load.ts. */
export async function loadSae(gpu: Gpu, source: FileSource, expected: ExpectedSite = {}, choice: SaeChoice = {}): Promise<Sae> {
  const found = await findSae(source, { ...(expected.hookName === undefined ? {} : { hook: expected.hookName }), ...choice });
  const { config } = found;
  const { variant, k, signed, normalization, name, metadata } = config;
  const warnings = [...config.warnings, ...checkSite(config, expected, choice.file === undefined ? source.name : `${source.name}/${choice.file}`)];
  const sparsity = config.layout === saelens.name ? await readSparsity(source) : null;
  if (sparsity && sparsity.length !== config.features) throw new FileError(`${source.name}/sparsity.safetensors: has ${sparsity.length} frequencies, but cfg.json says ${config.features} features`);
  const frequencies = sparsity && sparsity.map((log) => 10 ** log);
  return new Sae(name, await readWeights(gpu, found), metadata, { variant, ...(k === null ? {} : { k }), ...(signed ? { signed } : {}), normalization, warnings, frequencies });
}

/** See load.ts. */
export async function readSaeConfig(source: FileSource, choice: SaeChoice = {}): Promise<SaeFileConfig> {
  return (await findSae(source, choice)).config;
}

async function findSae(source: FileSource, given: SaeChoice): Promise<FoundSae> {
  const release = releaseOf(source.name);
  const file = given.file ?? (given.hook === undefined ? undefined : release?.files?.[given.hook]);
  const choice = { ...given, ...(file === undefined ? {} : { file }) };
  const opened = new Map<string, Promise<TorchFile>>();
  const files: SaeFiles = {
    source,
    torch(path) {
      const torch = opened.get(path) ?? openTorch(source, path);
      opened.set(path, torch);
      return torch;
    },
  };
  for (const format of FORMATS) {
    const found = await format.open(files, choice);
    if (found) return { ...found, config: complete(found.config, release, source.name) };
  }
  if (choice.file !== undefined) throw new FileError(`${source.name}/${choice.file}: in none of the layouts of dictionaries that are known (${FORMATS.map(({ name }) => name).join(', ')})`);
  throw new FileError(`${source.name}: there is no dictionary: neither cfg.json nor config.json with ae.pt${release?.files ? '; say at which hook' : '; a file such as samples_400000.pt has to be named'}`);
}

/** What the table of releases knows better, and the processing of weights that all of it comes to. */
function complete(config: SaeFileConfig, release: Release | null, name: string): SaeFileConfig {
  const metadata = { ...config.metadata };
  let { scale } = config;
  if (release) {
    Object.assign(metadata, { model_from_pretrained_kwargs: release.model, prepend_bos: release.prependBos, release: release.name, quirks: [...release.quirks] });
    metadata['context_size'] ??= release.contextSize;
    metadata.model_name ??= 'gpt2-small';
    const factor = release.factors?.[metadata.hook_name ?? ''];
    if (Number.isNaN(scale) && factor !== undefined) scale = 1 / factor;
  }
  if (Number.isNaN(scale)) throw new FileError(`${name}/cfg.json: normalize_activations asks for one factor on all activations, but there is no activation_scaler.json that holds it`);
  if (metadata['weight_processing'] === undefined) {
    const processing = processingOf(metadata, config.normalization);
    if (processing) metadata['weight_processing'] = processing;
  }
  return { ...config, scale, metadata };
}
