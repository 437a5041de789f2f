/**
 * The forward pass: GPT-2's blocks with hooks. At each hook edits are applied, then what was asked for is kept. Nothing is read back.
 *
 * Block (pre-norm transformer, Radford et al. 2019), D = width, for the residual stream x [prompts · positions, D]:
 *   q | k | v = LN₁(x) W_qkv + b_qkv;  z = softmax(q kᵀ / √d, causal) v;  x ← x + z W_O + b_O;  x ← x + gelu(LN₂(x) W_in + b_in) W_out + b_out
 * Where no hook in between is asked for, projections are fused with what follows them.
 */
import { add, addPositions, attention, attentionApply, attentionScores, embed, gatherRows, gelu, layerNorm, layerNormScale, matmul, positionEmbedding, softmax, Tensor } from '../tensor/index.ts';
import type { Gpu } from '../gpu/index.ts';
import type { Gpt2Config } from './config.ts';
import { HookPoints, type Field, type ResolvedCapture, type ResolvedEdit } from './hook-points.ts';
import { NO_ROW, planRun, rowOf, type Plan, type Rows } from './plan.ts';
import { depthOf, type Hook, type HookKind, type Hooks } from './sites.ts';
import type { ResolvedSplice } from './splice.ts';
import type { BlockWeights, ModelWeights, Norm } from './weights.ts';

/** What a run keeps so that others can resume it: per layer the residual stream before it and its queries, keys and values. */
export interface Kept {
  residual: Tensor[]; // [prompts · positions, D]
  qkv: Tensor[]; // [prompts, positions, 3·D]
}

export interface ForwardRequest {
  /** u32 [prompts, positions] */
  tokens: Tensor;
  cache: readonly Hook[];
  captures: readonly ResolvedCapture[];
  edits: readonly ResolvedEdit[];
  /** None unless given; the model's hooks have their sites. */
  splices?: readonly ResolvedSplice[];
  logits: 'all' | 'none' | Uint32Array;
  keep: boolean;
  resume: Kept | null;
}

export interface ForwardResult {
  cache: Map<string, Tensor>;
  captured: Tensor[];
  logits: Tensor | null;
  kept: Kept | null;
}

export interface ForwardModel { gpu: Gpu; config: Gpt2Config; weights: ModelWeights; hooks: Hooks }

/** Records one forward pass. Call it inside a scope of the Gpu; only what is returned needs to outlive it. */
export function forward(model: ForwardModel, request: ForwardRequest): ForwardResult {
  return new Forward(model, request).run();
}

class Forward {
  private readonly model: ForwardModel;
  private readonly request: ForwardRequest;
  private readonly plan: Plan;
  private readonly points: HookPoints;
  private readonly kept: Kept | null;
  private readonly batch: number;
  private readonly length: number;
  private rows: Rows;
  /** Residual stream [rows, D]; null until there is one. */
  private stream: Tensor | null = null;
  /** Somebody else holds the stream's memory too, so that an edit must not write into it. */
  private shared = false;
  private logits: Tensor | null = null;
  private rowIndex: Tensor | null = null;
  private prefixLengths: Tensor | null = null;

  constructor(model: ForwardModel, request: ForwardRequest) {
    this.model = model;
    this.request = request;
    [this.batch, this.length] = request.tokens.shape as [number, number];
    const { resume, splices = [], ...asked } = request;
    // A dictionary is an edit of its hook at all its positions.
    this.plan = planRun({ ...asked, edits: [...asked.edits, ...splices], layers: model.config.layers, batch: this.batch, length: this.length, resumed: resume !== null });
    this.rows = this.plan.rows;
    this.points = new HookPoints(model, request, this.batch, this.length);
    this.kept = request.keep ? { residual: [], qkv: [] } : null;
  }

  run(): ForwardResult {
    const { layers } = this.model.config;
    const { plan } = this;
    if (plan.from === 'tokens') this.embedding();
    else this.take(this.carried(this.request.resume!.residual[plan.layer]!), this.isWhole());
    // A resumed run may begin with the output of the block before.
    if (plan.layer > 0 && plan.from === 'residual') this.visitStream('resid_post', plan.layer - 1);
    for (let layer = plan.layer; layer < layers && this.reaches('resid_pre', layer); layer++) this.block(layer);
    if (this.reaches('final_scale', layers)) this.unembed();
    this.stream?.dispose();
    return { cache: this.points.cache, captured: this.points.captured as Tensor[], logits: this.logits, kept: this.kept };
  }

  /** Whether anything at a kind of hook, or deeper, is asked for. */
  private reaches(kind: HookKind, layer: number): boolean {
    return this.plan.deepest >= depthOf(kind, layer);
  }

  private embedding(): void {
    const { weights, config } = this.model;
    const { tokens } = this.request;
    const { points, batch, length } = this;
    const whole: Rows = { starts: new Uint32Array(batch), count: length };
    const embedded = embed(tokens, weights.embed);
    if (!points.touches('embed', -1) && !points.touches('pos_embed', -1)) {
      this.take(addPositions(embedded, weights.positions, 0).reshape([-1, config.width]));
    } else {
      const words = embedded.reshape([batch * length, config.width]);
      const places = positionEmbedding(weights.positions, batch, length, 0).reshape([batch * length, config.width]);
      points.visit('embed', -1, column(words), whole);
      points.visit('pos_embed', -1, column(places), whole);
      this.take(add(words, places));
      words.dispose();
      places.dispose();
    }
    embedded.dispose();
    if (!this.isWhole()) this.take(this.carried(this.stream!));
  }

  private block(layer: number): void {
    const { config, weights } = this.model;
    const { points, plan } = this;
    const block = weights.blocks[layer]!;
    const resumed = layer === plan.layer && plan.from === 'attention';
    let qkv: Tensor;
    if (resumed) qkv = this.keptQkv(layer);
    else {
      this.visitStream('resid_pre', layer);
      this.kept?.residual.push(this.stream!.reshape(this.stream!.shape));
      this.shared ||= this.kept !== null;
      if (!this.reaches('ln1_scale', layer)) return;
      const normalized = this.norm(this.stream!, block.ln1, layer, 'ln1_scale', 'ln1_normalized');
      if (!this.reaches('q', layer)) return;
      qkv = matmul(normalized, block.qkvWeight, { bias: block.qkvBias });
      normalized.dispose();
    }
    for (const [part, kind] of (['q', 'k', 'v'] as const).entries()) {
      points.visit(kind, layer, { tensor: qkv, offset: part * config.width, width: config.width, headWidth: config.headWidth }, this.rows);
    }
    const shaped = qkv.reshape([this.batch, this.rows.count, 3 * config.width]);
    this.kept?.qkv.push(shaped.reshape(shaped.shape));
    if (this.reaches('attn_scores', layer)) this.attend(layer, block, shaped);
    shaped.dispose();
    qkv.dispose();
  }

  /** The kept queries, keys and values of the rows carried, in memory of their own where an edit will write into them. */
  private keptQkv(layer: number): Tensor {
    const all = this.request.resume!.qkv[layer]!;
    const flat = all.reshape([-1, all.shape[2]!]);
    const edited = (['q', 'k', 'v'] as const).some((kind) => this.points.edits(kind, layer));
    if (this.isWhole() && !edited) return flat;
    const own = this.isWhole() ? flat.clone() : this.carried(flat);
    flat.dispose();
    return own;
  }

  /** Attention, and if it is asked for the rest of the block. qkv [prompts, positions, 3·D] */
  private attend(layer: number, block: BlockWeights, qkv: Tensor): void {
    const { config } = this.model;
    const { points, plan, rows } = this;
    const input = { qkv, prefix: this.prefix(layer), heads: config.heads };
    let attended: Tensor;
    if (points.touches('attn_scores', layer) || points.touches('pattern', layer)) {
      const scores = attentionScores(input);
      points.visit('attn_scores', layer, keys(scores), rows);
      if (!this.reaches('pattern', layer)) return;
      const pattern = softmax(scores);
      scores.dispose();
      points.visit('pattern', layer, keys(pattern), rows);
      if (!this.reaches('z', layer)) return;
      attended = attentionApply(pattern, input);
      pattern.dispose();
    } else {
      if (!this.reaches('z', layer)) return;
      attended = attention(input);
    }
    let z = attended.reshape([-1, config.width]);
    attended.dispose();
    points.visit('z', layer, { tensor: z, offset: 0, width: config.width, headWidth: config.headWidth }, rows);
    if (points.touches('result', layer)) this.result(layer, block, z);
    if (this.reaches('attn_out', layer)) {
      if (plan.narrow && layer === config.layers - 1) z = this.narrowTo(plan.narrow, z);
      this.mix(layer, block, z);
    }
    z.dispose();
  }

  /** Each head's own contribution to the residual stream: z_h W_O,h, side by side [rows, H·D]. */
  private result(layer: number, block: BlockWeights, z: Tensor): void {
    const { heads, headWidth, width } = this.model.config;
    const { gpu } = this.model;
    const rows = z.shape[0]!;
    const every = Tensor.from(gpu, Uint32Array.from({ length: rows }, (_, i) => i), [rows]);
    const out = Tensor.empty(gpu, [rows, heads * width]);
    for (let head = 0; head < heads; head++) {
      const part = gatherRows(z, every, { offset: head * headWidth, width: headWidth });
      const weight = this.rowsOf(block.outWeight, head * headWidth, headWidth);
      matmul(part, weight, { out, outColumn: head * width });
      part.dispose();
      weight.dispose();
    }
    every.dispose();
    this.points.visit('result', layer, { tensor: out, offset: 0, width: heads * width, headWidth: width }, this.rows);
    out.dispose();
  }

  /** Rows of a weight matrix; of halves a copy as f32, because a row may begin at an odd one, from where nothing can be bound. */
  private rowsOf(weight: Tensor, start: number, count: number): Tensor {
    if (weight.dtype === 'f32') return weight.rows(start, count);
    const index = Tensor.from(this.model.gpu, Uint32Array.from({ length: count }, (_, i) => start + i), [count]);
    const rows = gatherRows(weight, index);
    index.dispose();
    return rows;
  }

  /** Carries on one position per prompt: the stream and z are cut down to it. */
  private narrowTo(positions: Uint32Array, z: Tensor): Tensor {
    // One row per prompt is the one: a plan has no row before the first that is asked for.
    if (this.rows.count === 1) return z;
    const index = this.index(positions);
    this.take(gatherRows(this.stream!, index));
    const narrowed = gatherRows(z, index);
    index.dispose();
    z.dispose();
    this.rows = { starts: positions, count: 1 };
    return narrowed;
  }

  /** The output projection and the MLP. */
  private mix(layer: number, block: BlockWeights, z: Tensor): void {
    const { points } = this;
    this.addToStream('attn_out', layer, z, block.outWeight, block.outBias);
    if (!this.reaches('resid_mid', layer)) return;
    this.visitStream('resid_mid', layer);
    if (!this.reaches('ln2_scale', layer)) return;
    const normalized = this.norm(this.stream!, block.ln2, layer, 'ln2_scale', 'ln2_normalized');
    if (!this.reaches('pre', layer)) return;
    let post: Tensor;
    if (points.touches('pre', layer)) {
      const pre = matmul(normalized, block.mlpInWeight, { bias: block.mlpInBias });
      points.visit('pre', layer, column(pre), this.rows);
      if (!this.reaches('post', layer)) return;
      post = gelu(pre);
      pre.dispose();
    } else post = matmul(normalized, block.mlpInWeight, { bias: block.mlpInBias, activation: 'gelu' });
    normalized.dispose();
    points.visit('post', layer, column(post), this.rows);
    if (!this.reaches('mlp_out', layer)) return;
    this.addToStream('mlp_out', layer, post, block.mlpOutWeight, block.mlpOutBias);
    post.dispose();
    if (this.reaches('resid_post', layer)) this.visitStream('resid_post', layer);
  }

  /** x ← x + a W + b, in one kernel unless the hook in between is asked for. */
  private addToStream(kind: 'attn_out' | 'mlp_out', layer: number, a: Tensor, weight: Tensor, bias: Tensor): void {
    if (!this.points.touches(kind, layer)) {
      this.take(matmul(a, weight, { bias, residual: this.stream! }));
      return;
    }
    const out = matmul(a, weight, { bias });
    this.points.visit(kind, layer, column(out), this.rows);
    this.take(add(this.stream!, out));
    out.dispose();
  }

  private unembed(): void {
    const { config, weights } = this.model;
    const { logits } = this.request;
    const { points, rows } = this;
    const every = points.touches('final_scale', config.layers) || points.touches('final_normalized', config.layers) || points.touches('logits', config.layers) || logits === 'all';
    if (every) {
      const normalized = this.norm(this.stream!, weights.finalNorm, config.layers, 'final_scale', 'final_normalized');
      if (logits === 'all' || points.touches('logits', config.layers)) {
        const all = matmul(normalized, weights.unembed, { transposeB: true, bias: weights.unembedBias ?? undefined });
        points.visit('logits', config.layers, column(all), rows);
        if (logits === 'all') this.logits = all.reshape([this.batch, this.length, config.vocabulary]);
        else if (typeof logits !== 'string') this.logits = gatherRows(all, this.index(logits));
      }
    }
    if (typeof logits === 'string' || this.logits) return;
    const last = rows.count === 1 ? this.stream! : gatherRows(this.stream!, this.index(logits));
    const normalized = layerNorm(last, weights.finalNorm?.weight ?? null, weights.finalNorm?.bias ?? null, config.epsilon);
    this.logits = matmul(normalized, weights.unembed, { transposeB: true, bias: weights.unembedBias ?? undefined });
  }

  private norm(x: Tensor, norm: Norm | null, layer: number, scaleKind: HookKind, kind: HookKind): Tensor {
    const { epsilon } = this.model.config;
    if (this.points.touches(scaleKind, layer)) {
      const scale = layerNormScale(x, epsilon);
      this.points.visit(scaleKind, layer, column(scale), this.rows);
      scale.dispose();
    }
    const normalized = layerNorm(x, norm?.weight ?? null, norm?.bias ?? null, epsilon);
    this.points.visit(kind, layer, column(normalized), this.rows);
    return normalized;
  }

  private visitStream(kind: HookKind, layer: number): void {
    const { points } = this;
    if (!points.touches(kind, layer)) return;
    if (this.shared && points.edits(kind, layer)) this.take(this.stream!.clone());
    points.visit(kind, layer, column(this.stream!), this.rows);
    this.shared ||= points.caches(kind, layer);
  }

  /** Makes a tensor the residual stream. */
  private take(stream: Tensor, shared = false): void {
    if (stream === this.stream) return;
    this.stream?.dispose();
    this.stream = stream;
    this.shared = shared;
  }

  /** Whether all positions of all prompts are carried. */
  private isWhole(): boolean {
    return this.rows.count === this.length;
  }

  /** The rows that are carried, of a tensor [prompts · positions, …] that has them all; a handle of the whole if that is it. */
  private carried(x: Tensor): Tensor {
    if (this.isWhole()) return x.reshape(x.shape);
    const { starts, count } = this.rows;
    this.rowIndex ??= Tensor.from(this.model.gpu, Uint32Array.from({ length: this.batch * count }, (_, at) => {
      const prompt = Math.floor(at / count);
      const position = starts[prompt]! + at % count;
      return position < this.length ? prompt * this.length + position : NO_ROW;
    }), [this.batch * count]);
    return gatherRows(x, this.rowIndex);
  }

  /** Keys and values of the positions before those carried, from the run that this one resumes. */
  private prefix(layer: number): { qkv: Tensor; length: number; lengths?: Tensor } | undefined {
    const { starts } = this.rows;
    const length = starts.reduce((a, b) => Math.max(a, b), 0);
    if (length === 0) return undefined;
    const qkv = this.request.resume!.qkv[layer]!;
    if (starts.every((start) => start === length)) return { qkv, length };
    return { qkv, length, lengths: (this.prefixLengths ??= Tensor.from(this.model.gpu, starts, [this.batch])) };
  }

  /** Rows, among those carried, of one position per prompt. */
  private index(positions: Uint32Array): Tensor {
    return Tensor.from(this.model.gpu, positions.map((position, prompt) => rowOf(this.rows, prompt, position)), [positions.length]);
  }
}

/** A tensor [rows, width] without heads as a field. */
function column(tensor: Tensor): Field {
  return { tensor, offset: 0, width: tensor.shape.at(-1)!, headWidth: 0 };
}

/** Scores or a pattern [prompts, heads, queries, keys] as a field: one row per head and query. */
function keys(tensor: Tensor): Field {
  return { tensor, offset: 0, width: tensor.shape.at(-1)!, headWidth: 0, headRows: tensor.shape[1]! };
}
