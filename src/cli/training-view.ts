/** What a person sees of training while it runs: a row of figures for each dictionary above a line on the run, drawn again in place. */
import { clearScreenDown, cursorTo, moveCursor } from 'node:readline';
import type { LogRecord } from '../training/index.ts';

/** Who looks at a run while it runs; it changes nothing of what is written. */
export interface TrainingView {
  step(done: number, total: number): void;
  log(records: readonly LogRecord[]): void;
  /** Leaves the terminal as it was. May be called again. */
  stop(): void;
}

/** A terminal, or what may be one; a size that is not known is taken to be 80 × 24. */
export type Screen = NodeJS.WritableStream & { isTTY?: boolean; columns?: number; rows?: number };

/** Milliseconds between two drawings: seldom enough to read and to cost nothing. */
const PAUSE = 100;

/** Steps and figures of a run at a moment. */
export interface RunState {
  done: number;
  total: number;
  /** The steps that were done when the clock was started, and the seconds since then. */
  from: number;
  seconds: number;
  /** The latest of each dictionary; none before the first are logged. */
  records: readonly LogRecord[];
  /** What examples are called, e.g. `tokens`. */
  unit: string;
}

/** The view on stderr of a run whose examples are called `unit`; nothing where nobody watches. */
export function tableView(unit: string, screen: Screen = process.stderr, now: () => number = () => performance.now()): TrainingView {
  if (!screen.isTTY) return { step() {}, log() {}, stop() {} };
  let steps: Omit<RunState, 'records' | 'unit'> | null = null;
  let records: readonly LogRecord[] = [];
  let started = 0;
  let last = -Infinity;
  let drawn: readonly string[] = [];
  const columns = (): number => screen.columns || 80;
  const clear = (): void => {
    if (drawn.length === 0) return;
    // A terminal that was made narrower has wrapped them.
    moveCursor(screen, 0, -drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns())), 0));
    cursorTo(screen, 0);
    clearScreenDown(screen);
    drawn = [];
  };
  const draw = (): void => {
    if (!steps) return;
    last = now();
    clear();
    drawn = tableLines({ ...steps, records, unit }, columns(), screen.rows || 24);
    screen.write(`${drawn.join('\n')}\n`);
  };
  return {
    step: (done, total) => {
      // The first steps are behind when they are told of, and kernels were compiled in them: the clock starts here.
      if (!steps) started = now();
      steps = { done, total, from: steps?.from ?? done, seconds: (now() - started) / 1000 };
      if (now() - last >= PAUSE) draw();
    },
    log: (latest) => {
      records = [...latest];
      if (now() - last >= PAUSE) draw();
    },
    stop: () => {
      clear();
      steps = null;
    },
  };
}

const HEAD = ['dictionary', 'loss', 'mse', 'L0', 'explained', 'dead'];
/** Columns that figures take, each with its gap. */
const FIGURE = 11;
const SHORTEST_NAME = 12;

/** The table's lines, none wider than the terminal, and fewer than its rows. */
export function tableLines(state: RunState, columns: number, rows: number): string[] {
  const { records } = state;
  // A full line may wrap.
  const width = columns - 1;
  const longest = Math.max(...[HEAD[0]!, ...records.map(({ name }) => name)].map((text) => text.length));
  const name = Math.max(SHORTEST_NAME, Math.min(longest, width - FIGURE * (HEAD.length - 1)));
  const lines = [HEAD, ...records.map(cells)].map(([first, ...figures]) => `${shorten(first!, name).padEnd(name)}${figures.map((text) => text.padStart(FIGURE)).join('')}`);
  // The head, the line on the run, that on those left out, and the one that the cursor stands in.
  const room = Math.max(1, rows - 4);
  const shown = records.length === 0 ? [] : records.length <= room ? lines : [...lines.slice(0, 1 + room), `and ${records.length - room} more`];
  return [...shown, progressLine(state)].map((line) => line.slice(0, width));
}

function cells({ name, loss, mse, l0, explained_variance: explained, dead_fraction: dead }: LogRecord): string[] {
  return [name, figure(loss), figure(mse), l0.toFixed(2), Number.isFinite(explained) ? explained.toFixed(4) : '–', `${(100 * dead).toFixed(0)}%`];
}

/** Four digits, at most nine characters. */
function figure(value: number): string {
  const size = Math.abs(value);
  return size === 0 || (size >= 1e-3 && size < 1e5) ? Number(value.toPrecision(4)).toString() : value.toExponential(2);
}

/** The end of a name tells its sparsity, and its beginning its kind. */
function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  const head = Math.ceil((width - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (width - 1 - head))}`;
}

/** Steps, how many examples a second were learnt from, and the time that is left at that speed. */
function progressLine({ done, total, from, seconds, records, unit }: RunState): string {
  const percent = Math.floor((100 * done) / total);
  const text = `step ${done.toLocaleString('en')} of ${total.toLocaleString('en')} (${percent}%)`;
  if (done <= from || seconds <= 0) return text;
  const [latest] = records;
  // Steps of an epoch's end may be smaller; over what is trained on this is what they hold.
  const each = latest?.training_samples ? latest.training_samples / latest.step : null;
  const speed = (done - from) / seconds;
  const rate = each === null ? `${figure(speed)} steps/s` : `${Math.round(speed * each).toLocaleString('en')} ${unit}/s`;
  return `${text}   ${rate}   ${clock((total - done) / speed)} left`;
}

/** Seconds as 9:59 or 1:02:03. */
function clock(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number): string => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
