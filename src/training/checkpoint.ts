/**
 * Checkpoints: one safetensors file that holds all a run needs to go on bit for bit: weights and Adam's moments of every dictionary,
 * counters of the current epoch, and in the header's metadata, as JSON, the step, the settings and the jobs. The data's order, schedules and
 * random choices are functions of these. A single file, so that a writer that is whole or not at all keeps the checkpoint whole; and it holds a
 * digest of all its other bytes, so that damage on the disk is found, within tensors too.
 */
import { sha256 } from '../digest.ts';
import { FileError, NumberError, UsageError } from '../errors.ts';
import { encodeSafetensors, memorySource, openSafetensors, type TensorToWrite } from '../files/index.ts';
import type { Tensor } from '../tensor/index.ts';
import type { SaeBatch } from './batch.ts';
import { trainDefaults, variantOf, type TrainSettings } from './settings.ts';
import type { TrainVariant } from './variants.ts';

const FORMAT = 'diffract SAE training checkpoint';
const VERSION = '3';
/** Stands in the header before the digest, and holds its place until it is known. */
const MARK = '"digest":"';
const NO_DIGEST = '0'.repeat(64);
/** Hashed at once; what hashes may be limited to 2 GiB. */
const BLOCK = 2 ** 28;
/** Settings that change what is reported, not what is computed. */
const FREE: readonly (keyof TrainSettings)[] = ['logEvery'];

/** What a checkpoint says of a job; a run that goes on must say the same. */
interface JobState { name: string; variant: TrainVariant; width: number; examples: number; l1: number | null; k: number | null; seed: number; learningRate: number; scale: number }

interface State { step: number; settings: TrainSettings; jobs: JobState[]; stream?: unknown }

export interface Checkpoint extends State {
  tensors: Map<string, Float32Array>;
}

/** The batches of a run, with the positions of their jobs in the run. */
export interface Placed { batch: SaeBatch; members: readonly number[] }

/** Every tensor of the state of a batch's jobs, by the suffix of its name. */
function stateOf(batch: SaeBatch): [suffix: string, tensor: Tensor][] {
  const { weights, first, second, step } = batch;
  return [
    ...(Object.entries(weights) as [string, Tensor][]),
    ...batch.trained.flatMap((part): [string, Tensor][] => [[`${part}.first`, first[part]!], [`${part}.second`, second[part]!]]),
    ['totals', batch.totals],
    ['auxiliary_totals', batch.auxiliaryTotals],
    ['fired', step.fired],
    ...(batch.auxiliary ? [['dead', step.dead] as [string, Tensor]] : []),
    ...(batch.inputMeans ? [['input_mean', batch.inputMeans] as [string, Tensor]] : []),
    ...batch.counters.state(),
    ...(batch.variant === 'batchtopk' ? [['running_threshold', batch.running] as [string, Tensor]] : []),
  ];
}

/** Throws NumberError for numbers of a job that are none: nothing can go on from them, so that the checkpoint before is worth more. */
function checkNumbers(values: Float32Array, suffix: string, { name, learningRate }: JobState, step: number): void {
  // Zero as long as all are finite.
  let sum = 0;
  for (const value of values) sum += value * 0;
  if (sum === 0) return;
  throw new NumberError(`training ${name}: ${suffix} holds NaN or infinity after step ${step}, so no checkpoint is written; the learning rate (${learningRate}) is probably too high`);
}

/** The state of a run after `step` steps, as the bytes of one file. Throws NumberError, naming the dictionary, for a state that holds NaN or infinity. */
export async function saveCheckpoint(placed: readonly Placed[], step: number, settings: TrainSettings, stream?: unknown): Promise<Uint8Array> {
  const tensors: Record<string, TensorToWrite> = {};
  const jobs: JobState[] = [];
  for (const { batch, members } of placed) {
    const parts = stateOf(batch);
    const read = await Promise.all(parts.map(([, tensor]) => (tensor.dtype === 'u32' ? tensor.readU32() : tensor.read())));
    members.forEach((job, i) => {
      jobs[job] = jobState(batch, i, settings);
      parts.forEach(([suffix, { dtype, shape }], s) => {
        const size = read[s]!.length / members.length;
        const own = read[s]!.subarray(i * size, (i + 1) * size);
        if (own instanceof Float32Array) checkNumbers(own, suffix, jobs[job]!, step);
        tensors[`${job}.${suffix}`] = { dtype: dtype === 'u32' ? 'U32' : 'F32', shape: shape.slice(1), data: own };
      });
    });
  }
  const state: State = { step, settings, jobs, ...(stream === undefined ? {} : { stream }) };
  const bytes = encodeSafetensors(tensors, { format: FORMAT, version: VERSION, digest: NO_DIGEST, state: JSON.stringify(state) });
  const at = digestPlace(bytes);
  bytes.set(new TextEncoder().encode(await digestAround(bytes, at)), at);
  return bytes;
}

/** Where a checkpoint's digest stands. The header begins with format and version, so that it is not far. */
function digestPlace(bytes: Uint8Array): number {
  const head = new TextDecoder('latin1').decode(bytes.subarray(0, 512));
  return head.indexOf(MARK) + MARK.length;
}

/** The SHA-256 of the SHA-256s of all blocks before and after the 64 bytes at `at`. */
async function digestAround(bytes: Uint8Array, at: number): Promise<string> {
  const digests = [await sha256(bytes.subarray(0, at))];
  for (let from = at + NO_DIGEST.length; from < bytes.length; from += BLOCK) digests.push(await sha256(bytes.subarray(from, from + BLOCK)));
  return sha256(digests.join(''));
}

function jobState(batch: SaeBatch, i: number, settings: TrainSettings): JobState {
  const job = batch.jobs[i]!;
  const { name, data, l1, k, seed, learningRate } = job;
  return {
    name, variant: variantOf(job), width: data.shape[1]!, examples: data.shape[0]!, l1: l1 ?? null, k: k ?? null, seed,
    learningRate: learningRate ?? settings.learningRate, scale: batch.scales[i]!,
  };
}

/** Reads a checkpoint's bytes. Throws FileError if they are something else, cut short, or not the bytes that were written. */
export async function readCheckpoint(bytes: Uint8Array, name = 'checkpoint.safetensors'): Promise<Checkpoint> {
  const file = await openSafetensors(memorySource({ [name]: bytes }), name);
  if (file.metadata['format'] !== FORMAT) throw new FileError(`${name}: not a checkpoint of SAE training`);
  if (file.metadata['version'] !== VERSION) throw new FileError(`${name}: a checkpoint of version ${file.metadata['version']}, but version ${VERSION} is read here`);
  if (file.metadata['digest'] !== await digestAround(bytes, digestPlace(bytes))) throw new FileError(`${name}: damaged: its bytes are not those that were written`);
  let state: State;
  try {
    state = JSON.parse(file.metadata['state'] ?? '') as State;
  } catch (cause) {
    throw new FileError(`${name}: its state is no JSON`, { cause });
  }
  if (!Number.isInteger(state?.step) || !Array.isArray(state.jobs) || typeof state.settings !== 'object') throw new FileError(`${name}: its state is incomplete`);
  const tensors = new Map<string, Float32Array>();
  for (const key of file.names) {
    const raw = await file.raw(key);
    // u32 and f32 alike as the 32-bit patterns they are: values must pass through unchanged.
    tensors.set(key, new Float32Array(raw.buffer, raw.byteOffset, raw.byteLength / 4));
  }
  return { ...state, tensors };
}

/** Names of the settings and jobs in which two runs differ, as a person would look for them. */
export function differences(checkpoint: Pick<State, 'settings' | 'jobs'>, settings: TrainSettings, jobs: readonly JobState[]): string[] {
  const found: string[] = [];
  const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
  // A setting that there was not yet when the checkpoint was written did what its default does.
  const there = { ...trainDefaults, ...checkpoint.settings };
  for (const key of Object.keys(settings) as (keyof TrainSettings)[]) {
    if (!FREE.includes(key) && !same(there[key], settings[key])) found.push(`${key} (${String(there[key])} there, ${String(settings[key])} here)`);
  }
  if (checkpoint.jobs.length !== jobs.length) found.push(`number of dictionaries (${checkpoint.jobs.length} there, ${jobs.length} here)`);
  jobs.forEach((job, i) => {
    const old = checkpoint.jobs[i];
    if (!old) return;
    for (const key of Object.keys(job) as (keyof JobState)[]) {
      if (same(old[key], job[key])) continue;
      const label = key === 'scale' ? 'data' : key;
      found.push(`${label} of ${job.name} (${key === 'scale' ? 'scale ' : ''}${old[key]} there, ${job[key]} here)`);
    }
  });
  return found;
}

/** Puts a checkpoint's state into a run's batches. Throws UsageError naming every field in which the run differs, FileError for missing tensors. */
export function restoreCheckpoint(checkpoint: Checkpoint, placed: readonly Placed[], settings: TrainSettings): void {
  const jobs: JobState[] = [];
  for (const { batch, members } of placed) members.forEach((job, i) => { jobs[job] = jobState(batch, i, settings); });
  const different = differences(checkpoint, settings, jobs);
  if (different.length) throw new UsageError(`the checkpoint is of another run: ${different.join('; ')}`);
  for (const { batch, members } of placed) {
    for (const [suffix, tensor] of stateOf(batch)) {
      const size = tensor.size / members.length;
      members.forEach((job, i) => {
        const values = checkpoint.tensors.get(`${job}.${suffix}`);
        if (values?.length !== size) throw new FileError(`the checkpoint has no tensor ${job}.${suffix} of ${size} numbers`);
        const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
        batch.writeBits(tensor, bits, i * size);
      });
    }
    batch.follow(checkpoint.step);
  }
}

