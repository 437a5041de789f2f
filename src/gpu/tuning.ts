/**
 * Settings of kernels that were found best on one adapter, as a small JSON file: which variant of an operation's kernels, with which
 * constants, for each class of shapes. The benchmark's tuner writes it, `openGpu({ tuning })` takes its parsed content, planners look
 * their choice up in `gpu.tuning`. What the file says is used as a whole or not at all: it counts only on the adapter and for the very
 * kernels that it was made with.
 *
 * This floor knows no operation. Those above announce what of them can be tuned (`installTunable`).
 */
import { sha256 } from '../digest.ts';
import { FileError } from '../errors.ts';
import type { AdapterFacts, GpuLimits } from './gpu.ts';
import type { Kernel } from './kernel.ts';
import type { TuningFile } from './tuning-file.ts';

export type { TuningFile };

export const TUNING_FORMAT = 'diffract-tuning';
export const TUNING_VERSION = 1;

/** What an operation uses in place of its default for a class of shapes. */
export interface Choice {
  variant: string;
  /** Values of `const NAME: u32 = …;` lines of the variant's kernel. */
  constants: Readonly<Record<string, number>>;
}

/** Choices by operation and class of shapes. */
export type Choices = Readonly<Record<string, Readonly<Record<string, Choice>>>>;

/** What a device was told to use. */
export interface Tuning {
  /** Whether a tuning file is in use; without one, or with one that was refused, kernels run with their defaults. */
  used: boolean;
  /** Why a file that was given is not used, in one line. */
  reason?: string;
  choices: Choices;
}

export const NO_TUNING: Tuning = { used: false, choices: {} };

/** What of a device a file is checked against. */
export interface TuningAdapter {
  info: Pick<AdapterFacts, 'vendor' | 'architecture' | 'device' | 'description'>;
  subgroupSize: number;
  limits: GpuLimits;
}

/** An operation that can be tuned. */
export interface Tunable {
  /** As `choices` names it. */
  operation: string;
  /** The kernel of each variant. */
  kernels: Readonly<Record<string, Kernel>>;
  /** The constants that a choice has to name, for each variant, and no others; if not given, any `u32` of the kernel's. */
  constants?: Readonly<Record<string, readonly string[]>>;
  /** Why an adapter cannot run the kernel so, in a few words; null where it can. The constants are known to be the kernel's own. */
  refuse(choice: Choice, adapter: TuningAdapter): string | null;
}

const tunables = new Map<string, Tunable>();

/** Announces an operation that can be tuned. */
export function installTunable(tunable: Tunable): void {
  tunables.set(tunable.operation, tunable);
}

/** Throws FileError unless `value` says of itself that it is a tuning file, of whatever version. */
export function assertTuning(value: unknown, name = 'openGpu: tuning'): void {
  const format = typeof value === 'object' && value !== null ? (value as { format?: unknown }).format : undefined;
  if (format !== TUNING_FORMAT) throw new FileError(`${name}: not a tuning file: its field "format" is ${JSON.stringify(format) ?? 'missing'}, not "${TUNING_FORMAT}"`);
}

/** The choices of a tuning file for a device, or none and the reason. Throws FileError for what is no tuning file at all. */
export async function checkTuning(value: unknown, adapter: TuningAdapter): Promise<Tuning> {
  assertTuning(value);
  const reason = await whyNot(value, adapter);
  return reason === null ? { used: true, choices: (value as TuningFile).choices } : { ...NO_TUNING, reason };
}

/** A tuning file for a device; the kernels are those of the operations that were tuned. */
export async function tuningFile(adapter: TuningAdapter, operations: readonly string[], choices: TuningFile['choices'], date: string): Promise<TuningFile> {
  const kernels: Record<string, string> = {};
  for (const { kernels: own } of [...tunables.values()].filter((t) => operations.includes(t.operation))) {
    for (const kernel of Object.values(own)) kernels[kernel.name] = await kernelHash(kernel);
  }
  return { format: TUNING_FORMAT, version: TUNING_VERSION, date, adapter: adapterOf(adapter), kernels, choices };
}

/** The beginning of the SHA-256 of a kernel's file, in hexadecimal. Text that was shortened for a page begins with it (build-library.mjs). */
export async function kernelHash(kernel: Kernel): Promise<string> {
  return /^\/\/#([0-9a-f]{16})\n/.exec(kernel.source)?.[1] ?? (await sha256(kernel.source)).slice(0, 16);
}

function adapterOf({ info, subgroupSize }: TuningAdapter): TuningFile['adapter'] {
  const { vendor, architecture, device, description } = info;
  return { vendor, architecture, device, description, subgroupSize };
}

async function whyNot(value: unknown, adapter: TuningAdapter): Promise<string | null> {
  const { version } = value as { version?: unknown };
  if (version !== TUNING_VERSION) return `it is of version ${JSON.stringify(version) ?? 'none'}, this program reads ${TUNING_VERSION}`;
  // Loaded when there is a file to check: most pages have none.
  const parsed = (await import('./tuning-file.ts')).tuningSchema.safeParse(value);
  if (!parsed.success) {
    const [first] = parsed.error.issues;
    return `it is broken: ${first!.path.join('.') || 'the whole'}: ${first!.message}`;
  }
  return foreign(parsed.data.adapter, adapterOf(adapter)) ?? await stale(parsed.data) ?? unfit(parsed.data, adapter);
}

/** Why a file was made for something else than this adapter. */
function foreign(theirs: TuningFile['adapter'], ours: TuningFile['adapter']): string | null {
  for (const key of Object.keys(ours) as (keyof typeof ours)[]) {
    if (theirs[key] === ours[key]) continue;
    const what = key === 'subgroupSize' ? 'subgroup size' : key;
    return `it was made for another adapter: ${what} ${JSON.stringify(theirs[key])}, here ${JSON.stringify(ours[key])}`;
  }
  return null;
}

/** Why a file speaks of other kernels than there are now. */
async function stale({ kernels, choices }: TuningFile): Promise<string | null> {
  const again = 'tune again';
  const known = new Map([...tunables.values()].flatMap((t) => Object.values(t.kernels)).map((kernel) => [kernel.name, kernel]));
  for (const [name, hash] of Object.entries(kernels)) {
    const kernel = known.get(name);
    if (!kernel) return `kernel ${name} is no longer tuned: ${again}`;
    if (await kernelHash(kernel) !== hash) return `kernel ${name} has changed since: ${again}`;
  }
  for (const operation of Object.keys(choices)) {
    const tunable = tunables.get(operation);
    if (!tunable) return `${operation} cannot be tuned`;
    for (const { name } of Object.values(tunable.kernels)) if (!Object.hasOwn(kernels, name)) return `it does not know kernel ${name}: ${again}`;
  }
  return null;
}

/** Why a choice cannot be run: no such variant or constant, or more than the adapter allows. */
function unfit({ choices }: TuningFile, adapter: TuningAdapter): string | null {
  for (const [operation, classes] of Object.entries(choices)) {
    const tunable = tunables.get(operation)!;
    for (const [name, choice] of Object.entries(classes)) {
      const where = `${operation} ${name}`;
      if (!Object.hasOwn(tunable.kernels, choice.variant)) return `${where}: there is no variant "${choice.variant}"`;
      const kernel = tunable.kernels[choice.variant]!;
      const wanted = tunable.constants?.[choice.variant];
      for (const constant of Object.keys(choice.constants)) {
        if (kernel.constants.get(constant)?.type !== 'u32' || !(wanted?.includes(constant) ?? true)) return `${where}: kernel ${kernel.name} has no constant ${constant} to tune`;
      }
      for (const constant of wanted ?? []) if (!Object.hasOwn(choice.constants, constant)) return `${where}: it says nothing of ${constant}`;
      const reason = tunable.refuse(choice, adapter);
      if (reason !== null) return `${where}: ${reason}`;
    }
  }
  return null;
}
