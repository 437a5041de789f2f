/** Models that tests run: the random fixture, and variations of it made in memory. */
import { encodeSafetensors, memorySource, openSafetensors, type FileSource, type TensorToWrite } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';

/** The project's root, from wherever the test was bundled to. */
export const ROOT = process.cwd();
export const FIXTURE = `${ROOT}/tests/fixtures/gpt2-random`;
export const IOI_MINI = `${ROOT}/models/ioi-mini`;

/** The fixture's configuration and tensors, each as float32. */
export interface Parts { config: Record<string, unknown>; tensors: Record<string, TensorToWrite & { data: Float32Array }> }

export async function fixtureParts(directory = `${FIXTURE}/model`): Promise<Parts> {
  const source = directorySource(directory);
  const file = await openSafetensors(source);
  const tensors: Parts['tensors'] = {};
  for (const name of file.names) tensors[name] = { dtype: 'F32', shape: file.info(name).shape, data: (await file.f32(name)).slice() };
  return { config: await source.json('config.json'), tensors };
}

/** A model directory in memory. */
export function modelSource(config: object, tensors: Record<string, TensorToWrite>, more: Record<string, Uint8Array> = {}): FileSource {
  return memorySource({ 'config.json': text(config), 'model.safetensors': encodeSafetensors(tensors), ...more }, 'memory/model');
}

/** The same model in several files with an index. */
export function shardedSource(config: object, tensors: Record<string, TensorToWrite>, shards: number): FileSource {
  const names = Object.keys(tensors);
  const files: Record<string, Uint8Array> = { 'config.json': text(config) };
  const map: Record<string, string> = {};
  for (let shard = 0; shard < shards; shard++) {
    const path = `model-${String(shard + 1).padStart(5, '0')}-of-${String(shards).padStart(5, '0')}.safetensors`;
    const own = names.filter((_, i) => i % shards === shard);
    files[path] = encodeSafetensors(Object.fromEntries(own.map((name) => [name, tensors[name]!])));
    for (const name of own) map[name] = path;
  }
  files['model.safetensors.index.json'] = text({ metadata: {}, weight_map: map });
  return memorySource(files, 'memory/sharded');
}

export function text(json: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(json));
}

/** The bits of the float16 nearest to a number (ties to even), within float16's range. */
export function halfBits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1e-30)));
  const steps = size / 2 ** (exponent - 10);
  const floor = Math.floor(steps);
  const rest = steps - floor;
  const rounded = floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0);
  // A carry out of the fraction moves into the exponent by itself.
  return sign | (rounded + (exponent + 14) * 1024);
}

/** A number rounded to float16 and back. */
export function roundToHalf(value: number): number {
  const bits = halfBits(value);
  const exponent = (bits >> 10) & 31;
  const size = exponent === 0 ? (bits & 1023) * 2 ** -24 : (1 + (bits & 1023) / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

/** A number rounded to bfloat16 (ties to even) and its bits. */
export function brainBits(value: number): number {
  const [bits] = new Uint32Array(new Float32Array([value]).buffer);
  return ((bits! + 0x7fff + ((bits! >> 16) & 1)) >>> 16) & 0xffff;
}

export function roundToBrain(value: number): number {
  return new Float32Array(new Uint32Array([brainBits(value) << 16]).buffer)[0]!;
}
