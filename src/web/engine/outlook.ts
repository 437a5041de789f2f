/** A model before it is loaded: what its files say, how much of them is here, and whether it fits the device. */
import { Unreachable, urlSource, opfsHubCache, parseHubAddress, type FileSource } from '../../files/index.ts';
import { outlineModel, weightTypes, type LargestTensor, type WeightType } from '../../model/index.ts';
import { rowWindows } from '../../tensor/index.ts';
import type { FileFacts, FormOutlook, ModelOutlook, Origin } from '../protocol.ts';
import { bytes as inWords } from '../parts/format.ts';
import { openOrigin, originName } from './origins.ts';
import { modelFiles } from './sort-files.ts';

const HUGGING_FACE = 'https://huggingface.co';

/** Largest binding and largest buffer of a device in bytes. */
export interface DeviceLimits { bindingBytes: number; bufferBytes: number }

/** Reads descriptions and headers. FileError or ConfigError for what is broken. */
export async function outlookOf(origin: Origin, limits: DeviceLimits, signal?: AbortSignal): Promise<ModelOutlook> {
  const source = openOrigin(origin, { signal });
  const outline = await outlineModel(origin.kind === 'hub' ? headersOf(origin, source) : source);
  const files = await filesOf(origin, modelFiles((await source.list?.()) ?? []), signal);
  return {
    name: originName(origin), origin, config: outline.config, parameters: outline.parameters, tokenizer: await source.has('tokenizer.json'), files,
    forms: Object.fromEntries(weightTypes.map((type) => [type, formOf(outline.device[type], type, limits)])) as Record<WeightType, FormOutlook>,
  };
}

function formOf({ bytes, unembedBytes, largest }: { bytes: number; unembedBytes: number; largest: LargestTensor }, type: WeightType, { bindingBytes, bufferBytes }: DeviceLimits): FormOutlook {
  const fits = largest.bytes <= bufferBytes;
  const refusal = fits ? null : `as ${type}, its tensor ${largest.name} needs a buffer of ${largest.bytes} bytes (${inWords(largest.bytes)}), but this adapter allows ${bufferBytes} (${inWords(bufferBytes)})`;
  return { bytes, unembedBytes, largest: { name: largest.name, bytes: largest.bytes, windows: rowWindows({ limits: { bindingBytes } }, largest.rows, [largest.rowBytes]).length }, refusal };
}

/** A hub's files, of which parts are read where they lie: the library's own source brings in a file whole for any part of it. */
function headersOf(origin: Origin & { kind: 'hub' }, source: FileSource): FileSource {
  const kept = openOrigin(origin, { offline: true });
  const { repository, folder } = parseHubAddress(`hub:${origin.address}`);
  return {
    ...source,
    async range(path, start, end) {
      const { commit } = await source.origin!();
      try {
        return await kept.range(path, start, end);
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error;
      }
      const at = [origin.endpoint?.replace(/\/+$/, '') || HUGGING_FACE, repository, 'resolve', commit, ...(folder ? [folder] : [])].join('/');
      return urlSource(at).range(path, start, end);
    },
  };
}

/** Sizes of files, and how much of each needs no download any more. */
export async function filesOf(origin: Origin, paths: readonly string[], signal?: AbortSignal): Promise<FileFacts[]> {
  const source = openOrigin(origin, { signal });
  const files: FileFacts[] = [];
  for (const path of paths) {
    const bytes = await source.size(path);
    files.push({ path, bytes, kept: origin.kind === 'hub' ? await keptBytes(origin, source, path) : bytes });
  }
  return files;
}

/** Bytes of a hub's file that are in the browser, complete or under way. The cache's layout is that of HubCache. */
async function keptBytes(origin: Origin & { kind: 'hub' }, source: FileSource, path: string): Promise<number> {
  const { repository, folder } = parseHubAddress(`hub:${origin.address}`);
  const root = `models--${repository.replace('/', '--')}`;
  const cache = opfsHubCache();
  const listed = await cache.readText(`${root}/.diffract/${(await source.origin!()).commit}.json`);
  const entry = listed === null ? undefined : (JSON.parse(listed) as Record<string, { digest: string }>)[folder ? `${folder}/${path}` : path];
  if (!entry) return 0;
  const blob = `${root}/blobs/${entry.digest}`;
  const there = (await cache.open(blob)) ?? (await cache.open(`${blob}.incomplete`));
  return there?.size ?? 0;
}
