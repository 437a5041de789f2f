/**
 * Activations on disk, so that many runs learn from what the model computed once. A folder of
 *
 *   manifest.json                    what is in it: the model and how its weights were processed, the sites, the text and how it was packed
 *   activations-00000.safetensors …  shards, a tensor [tokens, width] for every site, named by its hook, with `.HEAD` behind that of one head
 *
 * Any reader of safetensors can use them. Rows are tokens that count, in the order of the text; shards lie one behind the other. Every file
 * is written whole or not at all, the manifest after the shard that it names, so that writing can stop at any moment and go on.
 */
import * as z from 'zod';
import { FileError, ShapeError, UnknownSiteError, UsageError } from '../errors.ts';
import { encodeSafetensors, fileName, openSafetensors, type FileSource, type TensorFile, type TensorToWrite } from '../files/index.ts';
import type { Gpu } from '../gpu/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { fromHalves, Tensor, toHalves } from '../tensor/index.ts';
import { StreamedExamples, type ActivationStream, type PutExamples } from './stream.ts';
import type { StreamSite } from './text-activations.ts';

const MANIFEST = 'manifest.json';
const FORMAT = 'diffract activations 1';
/** Rows that are read and handed over at a time. */
const PIECE = 8192;

const count = z.int().nonnegative();
const manifestSchema = z.object({
  format: z.literal(FORMAT),
  /** As in the cfg.json of dictionaries. */
  model: z.looseObject({ model_name: z.string(), model_hash: z.string(), weight_processing: z.record(z.string(), z.boolean()) }),
  sites: z.array(z.object({ tensor: z.string(), hook_name: z.string(), hook_head_index: count.nullable(), d_in: count.min(1) })).min(1),
  dtype: z.enum(['F32', 'F16']),
  /** Where the text is from and how it was packed, as in the cfg.json of dictionaries. */
  text: z.record(z.string(), z.unknown()),
  /** Tokens that all shards have together once all are written, and those of each but the last. */
  tokens: count.min(1),
  shard_tokens: count.min(1),
  shards: z.array(z.object({ file: z.string().regex(/^[\w.-]+$/), tokens: z.tuple([count, count]) })),
  /** Where reading of the text stood behind the last shard; null when all are written. */
  state: z.unknown(),
});

export type CacheManifest = z.infer<typeof manifestSchema>;

/** What is to be written. */
export interface CachePlan {
  model: CacheManifest['model'];
  sites: readonly StreamSite[];
  text: Readonly<Record<string, unknown>>;
  tokens: number;
  dtype: CacheManifest['dtype'];
}

/** A folder that is written. `write` writes a file whole or not at all. */
export interface CacheFolder {
  /** A file's bytes; null if there is none. */
  read(name: string): Promise<Uint8Array | null>;
  write(name: string, bytes: Uint8Array): Promise<void>;
}

/** A site's name in the shards: that of its hook, and of its head behind it. */
export function cachedName({ hook, head }: StreamSite): string {
  return head === undefined ? hook : `${hook}.${head}`;
}

/**
 * Writes activations that a stream of these sites brings, a round for each shard, or goes on with a folder that lacks some. Throws UsageError if
 * the folder holds other activations, naming what differs; NumberError for a number that f16 cannot hold; and what the folder and the stream throw.
 */
export async function writeActivations(stream: ActivationStream & { data: readonly StreamedExamples[] }, plan: CachePlan, folder: CacheFolder, watching: { signal?: AbortSignal; onShard?: (done: number, total: number) => void } = {}): Promise<CacheManifest> {
  const { data } = stream;
  const shardTokens = data[0]!.shape[0];
  const sites = plan.sites.map((site, i) => ({ tensor: cachedName(site), hook_name: site.hook, hook_head_index: site.head ?? null, d_in: data[i]!.shape[1] }));
  const manifest: CacheManifest = { format: FORMAT, model: plan.model, sites, dtype: plan.dtype, text: { ...plan.text }, tokens: plan.tokens, shard_tokens: shardTokens, shards: [], state: null };
  const old = await folder.read(MANIFEST);
  if (old) {
    const found = parseManifest(old, MANIFEST);
    const different = (['model', 'sites', 'dtype', 'text', 'tokens', 'shard_tokens'] as const).filter((key) => JSON.stringify(found[key]) !== JSON.stringify(manifest[key]));
    if (different.length > 0) throw new UsageError(`the folder holds other activations: ${different.map((key) => describeDifference(key, found[key], manifest[key])).join('; ')}`);
    Object.assign(manifest, { shards: found.shards, state: found.state });
    if (found.shards.length > 0 && found.state !== null) stream.restore(found.state);
  }
  const shards = Math.ceil(plan.tokens / shardTokens);
  for (let shard = manifest.shards.length; shard < shards; shard++) {
    watching.signal?.throwIfAborted();
    const [start, end] = [shard * shardTokens, Math.min((shard + 1) * shardTokens, plan.tokens)];
    const tensors = await collect(stream, shard, end - start, sites, plan.dtype);
    const file = `activations-${String(shard).padStart(5, '0')}.safetensors`;
    await folder.write(file, encodeSafetensors(tensors, { format: FORMAT, model_hash: plan.model.model_hash, tokens: `${start}-${end}` }));
    manifest.shards.push({ file, tokens: [start, end] });
    manifest.state = shard + 1 < shards ? stream.state(shard + 1) : null;
    await folder.write(MANIFEST, new TextEncoder().encode(`${JSON.stringify(manifest, null, 1)}\n`));
    watching.onShard?.(shard + 1, shards);
  }
  return manifest;
}

/** The first `rows` examples of a round, of every site. */
async function collect(stream: ActivationStream & { data: readonly StreamedExamples[] }, round: number, rows: number, sites: CacheManifest['sites'], dtype: CacheManifest['dtype']): Promise<Record<string, TensorToWrite>> {
  const all = sites.map(({ d_in }) => new Float32Array(rows * d_in));
  const reads: Promise<void>[] = [];
  await stream.fill(round, (site, part, at) => {
    const values = all[stream.data.indexOf(site)]!;
    reads.push(part.read().then((own) => { values.set(own.subarray(0, Math.max(0, values.length - at * site.shape[1])), Math.min(values.length, at * site.shape[1])); }));
  });
  await Promise.all(reads);
  return Object.fromEntries(sites.map(({ tensor, d_in }, i) => [tensor, { dtype, shape: [rows, d_in], data: dtype === 'F16' ? toHalves(all[i]!) : all[i]! }]));
}

function parseManifest(bytes: Uint8Array, name: string): CacheManifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new FileError(`${name}: not JSON`, { cause });
  }
  const read = manifestSchema.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new FileError(`${name}: not the manifest of activations: ${issue!.path.join('.') || 'the whole'}: ${issue!.message}`);
}

function describeDifference(key: string, there: unknown, here: unknown): string {
  if (typeof there !== 'object') return `${key} (${String(there)} there, ${String(here)} here)`;
  const own = (value: unknown): Record<string, unknown> => (value ?? {}) as Record<string, unknown>;
  const names = [...new Set([...Object.keys(own(there)), ...Object.keys(own(here))])].filter((name) => JSON.stringify(own(there)[name]) !== JSON.stringify(own(here)[name]));
  return names.map((name) => `${key}.${name} (${JSON.stringify(own(there)[name])} there, ${JSON.stringify(own(here)[name])} here)`).join('; ');
}

/** Reads a folder's manifest. Throws FileError for none, a broken one, and a folder that lacks shards. */
export async function readCacheManifest(source: FileSource): Promise<CacheManifest> {
  const name = fileName(source, MANIFEST);
  if (!(await source.has(MANIFEST))) throw new FileError(`${name}: no such file: a folder of activations is needed`);
  const manifest = parseManifest(await source.bytes(MANIFEST), name);
  const written = manifest.shards.at(-1)?.tokens[1] ?? 0;
  if (written < manifest.tokens) throw new FileError(`${name}: ${written} of ${manifest.tokens} tokens are written: go on with the command that began it`);
  return manifest;
}

/** Throws UsageError, naming what differs, unless activations are of this model as it is. */
export function checkCacheModel({ model }: CacheManifest, { name, hash, processing }: Pick<Gpt2, 'name' | 'hash' | 'processing'>): void {
  const wrong = [
    ...(model.model_hash === hash ? [] : [`they are of ${model.model_name} (hash ${model.model_hash.slice(0, 12)}), not of ${name} (${hash.slice(0, 12)})`]),
    ...Object.entries(processing).filter(([kind, on]) => (model.weight_processing[kind] ?? false) !== on).map(([kind, on]) => `${kind} is ${!on} for them, ${on} here`),
  ];
  if (wrong.length > 0) throw new UsageError(`the activations do not fit the model: ${wrong.join('; ')}`);
}

/** Activations from a folder, in rounds, from the beginning again behind the last one. */
export class CachedActivations implements ActivationStream {
  /** What each site brings, [examples, width], in the order of the sites. */
  readonly data: readonly StreamedExamples[];
  private readonly gpu: Gpu;
  private readonly source: FileSource;
  private readonly manifest: CacheManifest;
  private readonly sites: CacheManifest['sites'];
  private readonly files = new Map<string, Promise<TensorFile>>();

  /** Throws UnknownSiteError for a site that is not there, UsageError for rounds of more examples than there are. */
  constructor(gpu: Gpu, source: FileSource, manifest: CacheManifest, { sites, examples }: { sites: readonly StreamSite[]; examples: number }) {
    this.gpu = gpu;
    this.source = source;
    this.manifest = manifest;
    this.sites = sites.map((site) => {
      const found = manifest.sites.find(({ tensor }) => tensor === cachedName(site));
      if (!found) throw new UnknownSiteError(`${source.name} has no activations of ${cachedName(site)}; it has those of ${manifest.sites.map(({ tensor }) => tensor).join(', ')}`);
      return found;
    });
    if (examples > manifest.tokens) throw new UsageError(`rounds of ${examples} examples are more than the ${manifest.tokens} tokens of ${source.name}`);
    this.data = this.sites.map(({ d_in }) => new StreamedExamples(examples, d_in));
  }

  /** Throws FileError for a shard that is missing, broken or not of the shape that the manifest says. */
  async fill(round: number, put: PutExamples): Promise<void> {
    const { gpu, manifest: { tokens, shards } } = this;
    const examples = this.data[0]!.shape[0];
    for (let filled = 0; filled < examples;) {
      const at = (round * examples + filled) % tokens;
      const shard = shards.find(({ tokens: [start, end] }) => at >= start && at < end)!;
      const rows = Math.min(PIECE, shard.tokens[1] - at, examples - filled);
      for (const [i, site] of this.sites.entries()) {
        const part = await this.rows(shard, site, at - shard.tokens[0], rows);
        put(this.data[i]!, part, filled);
        part.dispose();
      }
      await gpu.idle();
      filled += rows;
    }
  }

  state(round: number): unknown {
    return { activations: this.manifest.tokens, round };
  }

  restore(state: unknown): void {
    const { activations } = (state ?? {}) as { activations?: unknown };
    if (activations !== this.manifest.tokens) throw new UsageError(`the checkpoint is not of a run on these activations (${String(activations ?? 'none')} tokens there, ${this.manifest.tokens} here)`);
  }

  private async rows({ file, tokens: [start, end] }: CacheManifest['shards'][number], { tensor, d_in }: CacheManifest['sites'][number], first: number, rows: number): Promise<Tensor> {
    const opened = this.files.get(file) ?? openSafetensors(this.source, file);
    this.files.set(file, opened);
    const shard = await opened;
    const { dtype, shape } = shard.info(tensor);
    if (dtype !== this.manifest.dtype || shape.length !== 2 || shape[0] !== end - start || shape[1] !== d_in) {
      throw new ShapeError(`${fileName(this.source, file)}: ${tensor} is ${dtype} [${shape.join(', ')}], but the manifest says ${this.manifest.dtype} [${end - start}, ${d_in}]`);
    }
    const bytes = await shard.rawRange(tensor, first * d_in * (dtype === 'F16' ? 2 : 4), (first + rows) * d_in * (dtype === 'F16' ? 2 : 4));
    const values = dtype === 'F16' ? fromHalves(new Uint16Array(bytes.buffer, 0, rows * d_in)) : new Float32Array(bytes.buffer, 0, rows * d_in);
    return Tensor.from(this.gpu, values, [rows, d_in]);
  }
}
