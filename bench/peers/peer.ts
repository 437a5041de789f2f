/**
 * Another WebGPU engine, driven on the same adapter and in the same process or page as this one.
 *
 * A peer is given exactly the inputs that our kernel gets, keeps them on the device where it can, and is timed in the same way: runs
 * started one after another, the clock stopped when the device has done them all. What a peer must move at every run is named, and
 * our own time is then taken with the same bytes moved.
 */
export interface Peer {
  /** As the npm package is called. */
  readonly name: string;
  readonly version: string;
  /** Uploads and compiles; null for work that the engine has no way to do. Throws what the engine throws when it tries and fails. */
  prepare(work: PeerWork): Promise<PeerRun | null>;
  dispose(): void | Promise<void>;
}

/** Peers that could be opened, and why the others could not. */
export interface OpenedPeers { peers: Peer[]; missing: { name: string; why: string }[] }

export interface PeerRun {
  /** Starts the work once; it may return before the device is done. */
  run(): void | Promise<void>;
  /** Resolves when the device has done all that was started. */
  done(): Promise<void>;
  /** The result of one more run, laid out as `PeerWork` says. */
  read(): Promise<Float32Array>;
  /** Bytes that the engine moves between host and device in every run; null where everything stays on the device. */
  transfers: { upload: number; download: number } | null;
  /** What a reader of its time must know: where it could not take its usual way, for one. */
  note?: string;
  dispose(): void | Promise<void>;
}

export type PeerWork = MatmulWork | AttentionWork | LayerNormWork | SoftmaxWork | AdamWork | ForwardWork | SaeStepWork;

/** op(a) [batch, m, k] times op(b) [batch, k, n]; a is [batch, k, m] if transposeA, b [batch, n, k] if transposeB. Result [batch, m, n]. */
export interface MatmulWork { op: 'matmul'; batch: number; m: number; k: number; n: number; transposeA: boolean; transposeB: boolean; a: Float32Array; b: Float32Array }

/** Causal attention, scale 1 / √width; qkv [batch, positions, 3, heads, width] is cut into what the engine wants beforehand. Result [batch, positions, heads, width]. */
export interface AttentionWork { op: 'attention'; batch: number; positions: number; heads: number; width: number; qkv: Float32Array }

/** x [rows, width]; gamma, beta [width]. Result [rows, width]. */
export interface LayerNormWork { op: 'layer-norm'; rows: number; width: number; epsilon: number; x: Float32Array; gamma: Float32Array; beta: Float32Array }

/** x [rows, width], softmax over the last axis. Result [rows, width]. */
export interface SoftmaxWork { op: 'softmax'; rows: number; width: number; x: Float32Array }

/** One step of Adam (β 0.9 and 0.999, ε 1e-8, first step from zero moments, learning rate 1e-3) on flat parameters. Result: the parameters after `read`'s step from the given start. */
export interface AdamWork { op: 'adam'; parameters: number; parameter: Float32Array; gradient: Float32Array }

/** A forward pass of GPT-2's architecture. Result: logits [batch, positions, vocabulary], or of the last position only, [batch, vocabulary]. */
export interface ForwardWork {
  op: 'forward';
  batch: number; positions: number; lastOnly: boolean;
  layers: number; heads: number; model: number; hidden: number; vocabulary: number; epsilon: number;
  /** [batch, positions] */
  tokens: Int32Array;
  /** By GPT-2's names in a Hugging Face file (`wte.weight`, `h.0.attn.c_attn.weight` [in, out], …). */
  weights: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;
}

/**
 * One training step of many vanilla SAEs, each on examples of its own: f = ReLU((x − b_dec) encoderᵀ + b_enc), x̂ = f decoder + b_dec,
 * loss mean_rows(‖x − x̂‖² + l1 Σ f), gradients of all four parameters, then Adam (rate 1e-3). Result of `read`: [decoder after one step from the given start].
 */
export interface SaeStepWork {
  op: 'sae-step';
  dictionaries: number; rows: number; width: number; features: number; l1: number;
  /** [dictionaries, rows, width] */
  x: Float32Array;
  /** [dictionaries, features, width] each; biases start at zero. */
  encoder: Float32Array; decoder: Float32Array;
}
