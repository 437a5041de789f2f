/** What the commands share: errors as one line, progress on stderr for people only, results on stdout. */
import cliProgress from 'cli-progress';
import { InvalidArgumentError } from 'commander';
import { DiffractError } from '../errors.ts';

/** Prints an error as one line on stderr (with its stack if it is a fault of ours) and returns the exit code. */
export function reportError(error: unknown): number {
  if (error instanceof DiffractError) {
    process.stderr.write(`error: ${error.message}\n`);
    return error.exitCode;
  }
  process.stderr.write(`error: ${error instanceof Error ? error.stack : String(error)}\n`);
  return 1;
}

/** A progress bar on stderr; silent where nobody watches. */
export interface Progress {
  /** `done` of `total` steps, and a few words on the state. */
  update(done: number, total: number, note?: string): void;
  stop(): void;
}

export function progress(title: string): Progress {
  if (!process.stderr.isTTY) return { update() {}, stop() {} };
  const bar = new cliProgress.SingleBar({
    format: `${title.padEnd(22)} {bar} {percentage}% {note}`,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    etaBuffer: 50,
  }, cliProgress.Presets.shades_classic);
  let started = false;
  return {
    update(done, total, note = '') {
      if (!started) bar.start(total, done, { note });
      started = true;
      bar.setTotal(total);
      bar.update(done, { note });
    },
    stop() {
      if (started) bar.stop();
    },
  };
}

/** A line on stderr. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Prints a value as JSON on stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 1)}\n`);
}

/** When all output has gone out: a pipe takes it bit by bit, and what is left when the process ends is lost. */
export async function written(): Promise<void> {
  await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))));
}

/** For commander: a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least) throw new InvalidArgumentError(`a whole number of at least ${least} is needed, not "${text}".`);
    return value;
  };
}

/** For commander: a finite number of at least `least`. */
export function realNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value) || value < least) throw new InvalidArgumentError(`a number of at least ${least} is needed, not "${text}".`);
    return value;
  };
}

/** For commander: a comma-separated list. */
export function list(text: string): string[] {
  return text.split(',').map((item) => item.trim()).filter(Boolean);
}

/** For commander: an option that may be given several times. */
export function collect(text: string, before: string[] = []): string[] {
  return [...before, text];
}
