/** Training runs that lose no work, without a model: checkpoints that are kept and found, full disks, numbers that are none, lost devices, signals, finished runs, and who watches. */
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { newestCheckpoint } from '../../src/cli/training-checkpoints.ts';
import { openRun, runTraining, type RunMeans, type TrainingFlags } from '../../src/cli/training-run.ts';
import { tableView } from '../../src/cli/training-view.ts';
import { DeviceLostError, FileError, NumberError, UsageError } from '../../src/errors.ts';
import { writeDirectoryAtomic, writeFileAtomic } from '../../src/files/node-write.ts';
import type { Gpu } from '../../src/gpu/index.ts';
import { openGpu } from '../../src/node.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { readCheckpoint, StreamedExamples, type ActivationStream, type LogRecord, type SaeJob, type TrainOptions } from '../../src/training/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { FakeTerminal } from '../support/terminal.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('training runs');
const gpu = await testGpu();
const root = mkdtempSync(join(tmpdir(), 'diffract-runs-'));
test.after(() => rmSync(root, { recursive: true, force: true }));

const [n, d] = [48, 6];
/** 3 steps an epoch, 18 in all; a checkpoint after every second. */
const settings: TrainOptions = { features: 8, epochs: 6, batch: 16, seed: 3, resampleAt: [] };
const folders = ['one', 'two'];
const last = (out: string): string[] => readdirSync(join(out, 'checkpoints')).sort();
const path = (out: string, step: number): string => join(out, 'checkpoints', `step-${String(step).padStart(8, '0')}.safetensors`);

interface Seen { lines: string[]; printed: string; steps: number[]; logs: LogRecord[] }

/** Runs two small dictionaries as the command does; `means` are what the test puts in its way. */
async function run(name: string, { flags = {}, on = gpu, means = () => ({}), options = {}, stream }: {
  flags?: Partial<TrainingFlags>; on?: Gpu; means?: (seen: Seen) => Partial<RunMeans>; options?: TrainOptions; stream?: ActivationStream & { data: StreamedExamples };
} = {}): Promise<Seen & { out: string }> {
  const out = join(root, name);
  const seen: Seen = { lines: [], printed: '', steps: [], logs: [] };
  const data = stream?.data ?? Tensor.from(on, random(n * d, 1), [n, d]);
  const jobs: SaeJob[] = [{ name: 'one', data, seed: 1, l1: 0.5 }, { name: 'two', variant: 'topk', data, seed: 2, k: 2 }];
  const all = { variants: [], l1: [], k: [], snapshots: [], asReleased: [], seed: 3, keepCheckpoints: 2, checkpointEvery: 2, out, ...flags } as unknown as TrainingFlags;
  try {
    await runTraining(on, jobs, folders, { ...settings, ...options, ...(stream ? { stream } : {}) }, { ...all, resumed: await openRun(all) }, {
      view: { step: (done) => { seen.steps.push(done); }, log: (records) => { seen.logs.push(...records); }, stop() {} },
      say: (line) => { seen.lines.push(line); }, print: (text) => { seen.printed += text; }, ...means(seen),
    });
  } finally {
    if (data instanceof Tensor) data.dispose();
  }
  return { ...seen, out };
}

/** All that a run is for, as text. */
const made = (out: string): Record<string, string> => Object.fromEntries([join(out, 'metrics.jsonl'), join(out, 'run.json'), ...folders.flatMap((folder) => readdirSync(join(out, folder)).map((file) => join(out, folder, file)))]
  .map((file) => [file.slice(out.length), readFileSync(file).toString('base64')]));

test('the newest checkpoints are kept; stopped by a signal, resumed and watched or not, it ends with the same bytes; once finished it says so', async () => {
  const whole = await run('whole', { flags: { keepCheckpoints: 3 } });
  assert.equal(last(whole.out), [12, 14, 16].map((step) => path('', step).slice(12)));
  assert.equal([whole.steps.at(-1), whole.logs.length], [18, 12]);
  assert.match(whole.lines.join('\n'), /^training takes [\d.]+ MB on the device, beside the model: .*(examples|weights) [\d.]+ MB.*\n2 dictionaries after 18 steps in [\d.]+ s: /);

  // Nobody watches, and a signal comes; 48 tokens are three steps.
  const cut = join(root, 'cut');
  try {
    const stopped = await run('cut', {
      flags: { checkpointEvery: undefined, checkpointTokens: 48 },
      means: () => ({ view: { step: (done) => { if (done === 8) process.emit('SIGTERM', 'SIGTERM'); }, log() {}, stop() {} } }),
    });
    assert.is(process.exitCode, 143);
    assert.match(stopped.lines.join('\n'), /stopped after step \d+ of 18; go on with the same command and --resume .*cut \(.*step-000000\d\d\.safetensors\)/);
  } finally {
    process.exitCode = undefined;
  }
  const [before, newest] = last(cut).map((name) => Number(name.slice(5, 13))) as [number, number];
  assert.ok(before % 3 === 0 && before < newest && newest < 18 && existsSync(path(cut, newest)) && !existsSync(join(cut, 'run.json')));
  appendFileSync(join(cut, 'metrics.jsonl'), '{"name": "one", "va');
  // Watched, every moment of it: the clock of this terminal makes each step last a second.
  const terminal = new FakeTerminal(80, 24);
  let clock = 0;
  await run('cut', { flags: { resume: cut }, means: () => ({ view: tableView('prompts', terminal, () => (clock += 1000)) }) });
  assert.ok(terminal.seen.some((screen) => /^dictionary +loss[^\n]+\none +[\d.]+[^\n]+\ntwo +[\d.]+ [^\n]+%\nstep 18 of 18 \(100%\) .* prompts\/s   0:00 left$/.test(screen)), terminal.seen.join('\n---\n'));
  assert.is(terminal.screen(), '');
  assert.equal(made(cut), made(whole.out));
  assert.equal(process.listenerCount('SIGTERM'), 0);

  const stamp = statSync(join(cut, 'one', 'cfg.json')).mtimeMs;
  const again = await run('cut', { flags: { resume: cut } });
  assert.match(again.lines.join('\n'), /^the run in .*cut is finished after 18 steps: nothing is left to do$/);
  assert.is(again.printed, whole.printed);
  assert.is(statSync(join(cut, 'one', 'cfg.json')).mtimeMs, stamp);
  assert.match(await refusal(() => run('cut', { flags: { resume: cut }, options: { epochs: 7 } }), UsageError), /the run in .*cut is finished, and was another: epochs \(6 there, 7 here\)/);
  // Without one of its dictionaries it is not.
  rmSync(join(cut, 'two'), { recursive: true });
  await run('cut', { flags: { resume: cut } });
  assert.equal(made(cut), made(whole.out));
});

test('of damaged checkpoints the newest that is whole is taken, and the others are named', async () => {
  const { out } = await run('damaged', { flags: { keepCheckpoints: 9 } });
  const good = readFileSync(path(out, 16));
  const lines: string[] = [];
  const taken = async (): Promise<number> => (lines.splice(0), (await newestCheckpoint(out, (line) => { lines.push(line); })).step);
  assert.equal([await taken(), lines], [16, []]);
  // Any byte: of the length, of the header, of the digest, of tensors.
  const header = Number(good.readBigUInt64LE(0));
  for (const at of [0, 3, 9, 40, good.indexOf('"digest"') + 20, good.indexOf('"state"') + 30, 8 + header, good.length - 1]) {
    const bytes = Buffer.from(good);
    bytes[at]! ^= 1;
    writeFileSync(path(out, 16), bytes);
    assert.is(await taken(), 14, `byte ${at}`);
    assert.equal([lines.length, /^passed over .*step-00000016\.safetensors: [^\n]+: going on from .*step-00000014\.safetensors, after step 14$/.test(lines[0]!)], [1, true], lines.join('\n'));
  }
  for (const length of [0, 7, 8, header, good.length - 1]) {
    writeFileSync(path(out, 16), good.subarray(0, length));
    assert.is(await taken(), 14, `${length} bytes`);
  }
  writeFileSync(path(out, 16), Buffer.concat([good, Buffer.alloc(4)]));
  assert.is(await taken(), 14);
  mkdirSync(path(out, 18));
  truncateSync(path(out, 14), 50);
  assert.is(await taken(), 12);
  for (const step of [2, 4, 6, 8, 10, 12]) truncateSync(path(out, step), 100);
  assert.match(await refusal(() => taken(), FileError), /^--resume: no checkpoint in .*checkpoints is whole: (.*step-000000\d\d\.safetensors: .*; ){8}.*step-00000002\.safetensors: /);
  assert.match(await refusal(() => newestCheckpoint(join(root, 'none'), assert.unreachable), FileError), /--resume: there is no checkpoint in .*none/);
  // What was passed over goes once there is a newer one that is whole.
  rmSync(path(out, 18), { recursive: true });
  writeFileSync(path(out, 12), readFileSync(path(join(root, 'whole'), 12)));
  const resumed = await run('damaged', { flags: { resume: out, keepCheckpoints: 9 } });
  assert.equal(made(resumed.out), made(join(root, 'whole')));
  assert.equal(last(out).slice(-3), [12, 14, 16].map((step) => path('', step).slice(12)));
});

test('a full disk names the file and the checkpoint before, which stays whole', async () => {
  const full = (path: string): never => { throw new FileError(`cannot write ${path}: no space left on the device`); };
  const advice = /; the last checkpoint is whole and of step 6: .*step-00000006\.safetensors; go on from it with --resume \S+$/;
  const refused = async (name: string, means: () => Partial<RunMeans>): Promise<string> => {
    const message = await refusal(() => run(name, { means }), FileError);
    assert.not(message.includes('\n'));
    return message;
  };
  const checkpoint = await refused('full', () => ({ write: async (path, data) => (path.includes('step-00000008') ? full(path) : writeFileAtomic(path, data)) }));
  assert.match(checkpoint, /^cannot write .*step-00000008\.safetensors: no space left on the device; /);
  assert.match(checkpoint, advice);
  assert.is((await readCheckpoint(readFileSync(path(join(root, 'full'), 6)))).step, 6);
  // A file that is always full.
  if (existsSync('/dev/full')) {
    let calls = 0;
    const metrics = await refused('full-metrics', () => ({ append: (path, text) => appendFile(calls++ < 2 ? path : '/dev/full', text) }));
    assert.match(metrics, /^cannot write .*metrics\.jsonl: no space left on the device; the last checkpoint is whole and of step 8: /);
  }
  const dictionary = await refused('full-end', () => ({ writeDirectory: async (path, files) => (path.endsWith('two') ? full(path) : writeDirectoryAtomic(path, files)) }));
  assert.match(dictionary, /^cannot write .*two: no space left on the device; the last checkpoint is whole and of step 16: /);
  for (const name of ['full', 'full-end']) {
    await run(name, { flags: { resume: join(root, name) } });
    assert.equal(made(join(root, name)), made(join(root, 'whole')));
  }
  const early = await refused('full-early', () => ({ write: async (path, data) => (path.includes('step-') ? full(path) : writeFileAtomic(path, data)) }));
  assert.match(early, /step-00000002\.safetensors: no space left on the device; there is no checkpoint yet$/);
});

/** Rounds of examples, of which the one numbered `bad` holds a number that is none. */
class Rounds implements ActivationStream {
  readonly data = new StreamedExamples(n, d);
  private readonly bad: number;
  constructor(bad: number) { this.bad = bad; }
  async fill(round: number, put: Parameters<ActivationStream['fill']>[1]): Promise<void> {
    const values = random(n * d, round);
    if (round === this.bad) values[7] = NaN;
    const rows = Tensor.from(gpu, values, [n, d]);
    put(this.data, rows, 0);
    rows.dispose();
  }
  state(): unknown { return null; }
  restore(): void {}
}

test('numbers that are none stop the run at the last checkpoint that holds numbers', async () => {
  const message = await refusal(() => run('nan', { stream: new Rounds(3) }), NumberError);
  assert.match(message, /^training (one|two): .*step 1[012].*; the last checkpoint is whole and of step 8: .*step-00000008\.safetensors$/);
  assert.equal(last(join(root, 'nan')), [6, 8].map((step) => path('', step).slice(12)));
  const { tensors } = await readCheckpoint(readFileSync(path(join(root, 'nan'), 8)));
  assert.ok(tensors.get('0.encoder')!.every(Number.isFinite));
});

test('a lost device names the last checkpoint, with exit code 3', async () => {
  const own = await openGpu();
  let lost: unknown;
  await run('lost', { on: own, means: () => ({ view: { step: (done) => { if (done === 12) own.destroy(); }, log() {}, stop() {} } }) }).catch((error: unknown) => { lost = error; });
  assert.instance(lost, DeviceLostError);
  const { message, exitCode } = lost as DeviceLostError;
  assert.is(exitCode, 3);
  assert.match(message, /^the GPU device is lost: [^\n]+; the last checkpoint is whole and of step 1[02]: .*step-0000001[02]\.safetensors; go on from it with --resume \S+lost$/);
  await run('lost', { flags: { resume: join(root, 'lost') } });
  assert.equal(made(join(root, 'lost')), made(join(root, 'whole')));
});

test.run();
