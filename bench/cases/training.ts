/** Training steps of vanilla sparse autoencoders: many small ones as one batch, and one large one. */
import type { Gpu } from '../../src/gpu/index.ts';
import { SaeStep, Tensor, adam, adamDefaults, type SaeWeights } from '../../src/tensor/index.ts';
import { inputs, relative, sample } from '../numbers.ts';
import type { SaeStepWork } from '../peers/peer.ts';
import { lazy, type Case } from './case.ts';

const RATE = 1e-3;
const L1 = 0.1;

interface Sizes { count: number; rows: number; width: number; features: number }

interface StepCase extends Sizes {
  long?: boolean;
  /** Bias of the encoder: how far below zero most codes start, and with it how many are active. */
  bias: number;
  /** Mean active features of a row, for the cost of what follows the encoder. */
  active: number;
  /** Compared with as many steps of one dictionary each. */
  singles?: boolean;
}

const PARTS = ['encoder', 'encoderBias', 'decoder', 'decoderBias'] as const;
type Part = (typeof PARTS)[number];

/** Weights, moments and examples of `count` dictionaries on the device. */
interface State { weights: SaeWeights; first: SaeWeights; second: SaeWeights; x: Tensor; pool: Tensor; l1: Tensor; rate: Tensor }

function makeState(gpu: Gpu, { count, rows, width, features }: Sizes, data: Data, bias: number, rate: number): State {
  const shape: Record<Part, number[]> = { encoder: [count, features, width], encoderBias: [count, features], decoder: [count, features, width], decoderBias: [count, width] };
  const zeros = (): SaeWeights => Object.fromEntries(PARTS.map((part) => [part, Tensor.zeros(gpu, shape[part])])) as unknown as SaeWeights;
  return {
    weights: {
      encoder: Tensor.from(gpu, data.encoder, shape.encoder), encoderBias: Tensor.from(gpu, new Float32Array(count * features).fill(bias), shape.encoderBias),
      decoder: Tensor.from(gpu, data.decoder, shape.decoder), decoderBias: Tensor.zeros(gpu, shape.decoderBias),
    },
    first: zeros(), second: zeros(), x: Tensor.from(gpu, data.x, [count, rows, width]),
    pool: Tensor.from(gpu, Uint32Array.from({ length: count }, (_, i) => i), [count]),
    l1: Tensor.from(gpu, new Float32Array(count).fill(L1), [count]), rate: Tensor.from(gpu, new Float32Array(count).fill(rate), [count]),
  };
}

function freeState({ weights, first, second, ...rest }: State): void {
  for (const tensor of [...[weights, first, second].flatMap((w) => Object.values(w) as Tensor[]), ...Object.values(rest)]) tensor.dispose();
}

/** Forward, gradients, and Adam on all four parameters. */
function record(step: SaeStep, state: State, rows: number): void {
  const { weights, first, second, x, pool, l1, rate } = state;
  step.train(x, pool, weights, l1, rows);
  for (const part of PARTS) adam({ parameter: weights[part], gradient: step.gradients[part], first: first[part], second: second[part], rate }, { ...adamDefaults, step: 1 });
}

interface Data { x: Float32Array; encoder: Float32Array; decoder: Float32Array }

/** The state of dictionary `i` alone, as views. */
function oneOf({ weights, first, second, x, l1, rate, pool }: State, i: number, make: (part: Tensor) => Tensor): State {
  const views = (of: SaeWeights): SaeWeights => Object.fromEntries(PARTS.map((part) => [part, of[part].rows(i, 1)])) as unknown as SaeWeights;
  return { weights: views(weights), first: views(first), second: views(second), x: x.rows(i, 1), l1: make(l1), rate: make(rate), pool: make(pool) };
}

function stepCase({ count, rows, width, features, bias, active, singles = false, long = false }: StepCase): Case {
  const sizes = { count, rows, width, features };
  const data = lazy((): Data => ({ x: inputs(count * rows * width, 21), encoder: inputs(count * features * width, 22), decoder: inputs(count * features * width, 23).map((v) => v / Math.sqrt(width / 3)) }));
  const parameters = count * (2 * features * width + features + width);
  return {
    group: 'training', kernel: 'SAE step', shape: `${count === 1 ? '' : `${count} × `}${width} to ${features}, ${rows} rows, about ${Math.round(active)} active`, long, tolerance: 1e-3,
    // The encoder is dense; decoder, the code's gradient and those of both matrices follow the active features.
    flops: 2 * count * rows * width * (features + 4 * active), bytes: 28 * parameters,
    prepare(gpu) {
      const host = data.get();
      const step = new SaeStep(gpu, { dictionaries: count, features, width, maxRows: rows });
      // A rate of zero: every repetition does the same work on the same weights.
      const state = makeState(gpu, sizes, host, bias, 0);
      const single = singles ? new SaeStep(gpu, { dictionaries: 1, features, width, maxRows: rows }) : null;
      const own = single ? Array.from({ length: count }, (_, i) => oneOf(state, i, (t) => Tensor.from(gpu, t === state.pool ? Uint32Array.of(0) : Float32Array.of(t === state.l1 ? L1 : 0), [1]))) : [];
      const alone = (): void => { for (const state of own) record(single!, state, rows); };
      // What the path that was not chosen takes; its buffers are made when it is first asked for.
      const other = step.path === 'sparse' ? 'dense' : 'sparse';
      let detour: SaeStep | null = null;
      const otherwise = (): void => record((detour ??= new SaeStep(gpu, { dictionaries: count, features, width, maxRows: rows }, { path: other })), state, rows);
      return {
        run: () => record(step, state, rows),
        async read() {
          const fresh = makeState(gpu, sizes, host, bias, RATE);
          record(step, fresh, rows);
          return fresh.weights.decoder.read().finally(() => freeState(fresh));
        },
        error: (result) => decoderError(result, host, sizes, bias),
        against: { [`its ${other} path`]: otherwise, ...(single ? { [`${count} single steps`]: alone } : {}) },
        async figures() {
          const steady = await measureHost(gpu, () => record(step, state, rows));
          const apart = single ? await measureHost(gpu, alone) : null;
          return { 'host ms a step': steady.ms, dispatches: steady.dispatches, 'new buffers': steady.buffers, ...(apart ? { 'host ms of single steps': apart.ms } : {}) };
        },
        dispose() {
          step.dispose();
          single?.dispose();
          detour?.dispose();
          for (const state of own) freeState(state);
          freeState(state);
          data.forget();
        },
      };
    },
    ...(bias === 0 ? { peerWork: (): SaeStepWork => ({ op: 'sae-step', dictionaries: count, rows, width, features, l1: L1, ...data.get() }) } : {}),
  };
}

/** What recording a step costs the calling thread, and what it allocates. */
async function measureHost(gpu: Gpu, run: () => void): Promise<{ ms: number; dispatches: number; buffers: number }> {
  run();
  await gpu.idle();
  const [counters, memory] = [gpu.counters(), gpu.memory()];
  const start = performance.now();
  run();
  const ms = performance.now() - start;
  const now = gpu.memory();
  const dispatches = gpu.counters().dispatches - counters.dispatches;
  await gpu.idle();
  return { ms, dispatches, buffers: Math.max(0, now.liveBuffers + now.pooledBuffers - memory.liveBuffers - memory.pooledBuffers) };
}

/**
 * How far the decoder's first step of Adam is from the reference's, for some rows of the first and the last dictionary. From zero moments a
 * step is rate · g / (|g| + ε), so that only its sign matters where g is far from ε: entries whose gradient is small beside its row's are
 * left out, because rounding may turn them.
 */
function decoderError(result: Float32Array, { x, encoder, decoder }: Data, { count, rows, width, features }: Sizes, bias: number): number {
  if (result.length !== decoder.length) return Infinity;
  const pairs: (readonly [number, number])[] = [];
  for (const which of new Set([0, count - 1])) {
    const part = (all: Float32Array, wide: number): Float32Array => all.subarray(which * wide, (which + 1) * wide);
    const [own, enc, dec, out] = [part(x, rows * width), part(encoder, features * width), part(decoder, features * width), part(result, features * width)];
    const chosen = sample(features, 40);
    const place = new Map(chosen.map((f, i) => [f, i] as const));
    const gradients = new Float64Array(chosen.length * width);
    for (let r = 0; r < rows; r++) {
      const error = new Float64Array(width);
      const active: [at: number, code: number][] = [];
      for (let c = 0; c < width; c++) error[c] = -own[r * width + c]!;
      for (let f = 0; f < features; f++) {
        let code = bias;
        for (let c = 0; c < width; c++) code += own[r * width + c]! * enc[f * width + c]!;
        if (code <= 0) continue;
        for (let c = 0; c < width; c++) error[c]! += code * dec[f * width + c]!;
        const at = place.get(f);
        if (at !== undefined) active.push([at, code]);
      }
      for (const [at, code] of active) for (let c = 0; c < width; c++) gradients[at * width + c]! += (2 / rows) * code * error[c]!;
    }
    for (const [at, f] of chosen.entries()) {
      const row = gradients.subarray(at * width, (at + 1) * width);
      const size = Math.sqrt(row.reduce((sum, g) => sum + g * g, 0) / width);
      for (let c = 0; c < width; c++) {
        const g = row[c]!;
        if (size > 0 && Math.abs(g) < 0.01 * size) continue;
        pairs.push([out[f * width + c]! - dec[f * width + c]!, (-RATE * g) / (Math.abs(g) + 1e-8)]);
      }
    }
  }
  return relative(pairs);
}

/** Standard deviations that a bias lies below the mean of the codes so that 40 of 24,576 stay active. */
const RARE = 2.95;

export function trainingCases(): Case[] {
  const rare = (width: number): number => -RARE * Math.sqrt(width / 9);
  return [
    stepCase({ count: 12, rows: 256, width: 64, features: 512, bias: 0, active: 256, singles: true }),
    stepCase({ count: 220, rows: 512, width: 64, features: 512, bias: 0, active: 256, singles: true, long: true }),
    stepCase({ count: 1, rows: 128, width: 768, features: 6144, bias: rare(768), active: 10 }),
    stepCase({ count: 1, rows: 512, width: 768, features: 24576, bias: rare(768), active: 39, long: true }),
  ];
}
