/**
 * Weights from a safetensors file to the GPU, tensor by tensor: read in pieces, checked for NaN and infinity, hashed, widened to float32,
 * processed if asked, uploaded. At no time is more than one piece of a file in memory, but for what weight processing needs (one block, or
 * the unembedding).
 */
import { FileError, LimitError, NumberError } from '../errors.ts';
import { bytesPerElement, widenToF32, type TensorFile } from '../files/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { elements, Tensor, toHalves } from '../tensor/index.ts';
import type { Gpt2Config } from './config.ts';
import { WeightHash } from './hash.ts';
import { expectedShapes, findWeights, type WeightEntry } from './names.ts';
import { changesWeights, type BlockNumbers, type WeightProcessing } from './processing.ts';

/** Weight and bias of a layer norm [D]; null once they are folded into what reads from it. */
export interface Norm { weight: Tensor; bias: Tensor }

/** D = width, M = width of the MLP. */
export interface BlockWeights {
  ln1: Norm | null;
  qkvWeight: Tensor; // [D, 3·D]
  qkvBias: Tensor; // [3·D]
  outWeight: Tensor; // [D, D]
  outBias: Tensor; // [D]
  ln2: Norm | null;
  mlpInWeight: Tensor; // [D, M]
  mlpInBias: Tensor; // [M]
  mlpOutWeight: Tensor; // [M, D]
  mlpOutBias: Tensor; // [D]
}

export interface ModelWeights {
  embed: Tensor; // [vocabulary, D]
  positions: Tensor; // [context, D]
  blocks: BlockWeights[];
  finalNorm: Norm | null;
  unembed: Tensor; // [vocabulary, D]; the embedding itself where the two are tied and unprocessed
  unembedBias: Tensor | null; // [vocabulary]
}

export interface LoadedWeights { weights: ModelWeights; hash: string; tensors: Tensor[] }

/** How weight matrices and token tables are stored on the device; positions, norms and biases are always f32. */
export const weightTypes = ['f32', 'f16'] as const;
export type WeightType = (typeof weightTypes)[number];

/** How weights are loaded. */
export interface WeightSettings { processing: WeightProcessing; type: WeightType }

/** Called with the bytes read so far, of how many, and the tensor that is read. */
export type LoadProgress = (done: number, total: number, tensor: string) => void;

/** Bytes of a file that are read, checked and hashed at a time. Part of the hash's definition: see hash.ts. */
const PIECE_BYTES = 16 * 2 ** 20;

/**
 * Finds all weights in a file and checks that they can fit, before anything is allocated or compiled. Throws LimitError if they cannot, FileError
 * for a tensor that is missing, unknown or of a wrong shape.
 */
export function checkWeights(gpu: Gpu, file: TensorFile, config: Gpt2Config, settings: WeightSettings): WeightEntry[] {
  const entries = findWeights(file, config);
  checkMemory(gpu, config, settings, file.name);
  return entries;
}

/** Loads the weights that `checkWeights` found. Throws NumberError for NaN, infinity, or what f16 cannot hold; on any error everything is freed. */
export async function loadWeights(gpu: Gpu, file: TensorFile, entries: readonly WeightEntry[], config: Gpt2Config, settings: WeightSettings, onProgress: LoadProgress = () => {}): Promise<LoadedWeights> {
  const loader = new Loader(gpu, file, entries, settings.type, onProgress);
  try {
    const weights = await assemble(loader, config, settings.processing);
    return { weights, hash: await loader.hash.digest(), tensors: loader.tensors };
  } catch (error) {
    for (const tensor of loader.tensors) tensor.dispose();
    throw error;
  }
}

/** Whether the unembedding is a tensor of its own on the GPU. */
function ownUnembed(config: Gpt2Config, processing: WeightProcessing): boolean {
  return !config.tied || processing.foldLn || processing.centerUnembed || processing.centerWritingWeights;
}

/** How a weight is stored: `f16` means the matrices that products read, and the token table. */
function storedAs(type: WeightType, name: string): WeightType {
  return type === 'f16' && /^(wte|lm_head)\.weight$|\.c_(attn|proj|fc)\.weight$/.test(name) ? 'f16' : 'f32';
}

/** Bytes of a weight on the GPU. */
export function storedBytes(type: WeightType, name: string, shape: readonly number[]): number {
  return elements(shape) * (storedAs(type, name) === 'f16' ? 2 : 4);
}

/** Bytes that the weights take on the GPU. */
export function weightBytes(config: Gpt2Config, { processing, type }: WeightSettings): number {
  let total = [...expectedShapes({ ...config, tied: true })].reduce((sum, [name, shape]) => sum + storedBytes(type, name, shape), 0);
  if (ownUnembed(config, processing)) total += storedBytes(type, 'lm_head.weight', [config.vocabulary, config.width]);
  return total;
}

function checkMemory(gpu: Gpu, config: Gpt2Config, settings: WeightSettings, file: string): void {
  for (const [name, shape] of expectedShapes(config)) {
    const bytes = storedBytes(settings.type, name, shape);
    if (bytes > gpu.limits.bufferBytes) throw new LimitError(`${file}: tensor ${name} needs a buffer of ${bytes} bytes, this adapter allows ${gpu.limits.bufferBytes}`);
  }
  const needed = weightBytes(config, settings);
  const free = gpu.memoryLimit - gpu.memory().live;
  if (needed > free) throw new LimitError(`${file}: the model's weights need ${needed} bytes, ${free} of the allowed ${gpu.memoryLimit} are left`);
}

async function assemble(loader: Loader, config: Gpt2Config, processing: WeightProcessing): Promise<ModelWeights> {
  if (changesWeights(processing)) return assembleProcessed(loader, config, processing);
  // In the file's order, so that it is read from front to back.
  const found = new Map<string, Tensor>();
  for (const { name } of loader.entries) {
    if (name === 'lm_head.weight' && config.tied) await loader.sameAsEmbedding();
    else found.set(name, await loader.tensor(name));
  }
  const get = (name: string): Tensor => found.get(name)!;
  const norm = (name: string): Norm => ({ weight: get(`${name}.weight`), bias: get(`${name}.bias`) });
  const blocks = Array.from({ length: config.layers }, (_, layer): BlockWeights => {
    const at = `h.${layer}`;
    return {
      ln1: norm(`${at}.ln_1`), ln2: norm(`${at}.ln_2`),
      qkvWeight: get(`${at}.attn.c_attn.weight`), qkvBias: get(`${at}.attn.c_attn.bias`),
      outWeight: get(`${at}.attn.c_proj.weight`), outBias: get(`${at}.attn.c_proj.bias`),
      mlpInWeight: get(`${at}.mlp.c_fc.weight`), mlpInBias: get(`${at}.mlp.c_fc.bias`),
      mlpOutWeight: get(`${at}.mlp.c_proj.weight`), mlpOutBias: get(`${at}.mlp.c_proj.bias`),
    };
  });
  return { embed: get('wte.weight'), positions: get('wpe.weight'), blocks, finalNorm: norm('ln_f'), unembed: get(config.tied ? 'wte.weight' : 'lm_head.weight'), unembedBias: null };
}

async function assembleProcessed(loader: Loader, config: Gpt2Config, processing: WeightProcessing): Promise<ModelWeights> {
  const { centerRows, processBlock, processUnembed } = await import('./process-weights.ts');
  const { width, vocabulary, context } = config;
  const embed = await loader.numbers('wte.weight');
  let unembed: Float32Array | null = null;
  if (config.tied) {
    if (loader.has('lm_head.weight')) await loader.sameAsEmbedding();
    if (ownUnembed(config, processing)) unembed = embed.slice();
  } else unembed = await loader.numbers('lm_head.weight');
  const finalWeight = await loader.numbers('ln_f.weight');
  const finalBias = await loader.numbers('ln_f.bias');
  const bias = unembed && processUnembed(unembed, finalWeight, finalBias, processing);
  if (processing.centerWritingWeights) centerRows(embed, width);
  const embedTensor = await loader.upload('wte.weight', embed, [vocabulary, width]);
  const unembedTensor = unembed ? await loader.upload('lm_head.weight', unembed, [vocabulary, width]) : embedTensor;
  const positions = await loader.numbers('wpe.weight');
  if (processing.centerWritingWeights) centerRows(positions, width);

  const blocks: BlockWeights[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    const numbers = await readBlock(loader, layer);
    processBlock(numbers, config.heads, processing);
    blocks.push(await uploadBlock(loader, layer, numbers, config));
  }
  return {
    embed: embedTensor,
    positions: await loader.upload('wpe.weight', positions, [context, width]),
    blocks,
    finalNorm: processing.foldLn ? null : { weight: await loader.upload('ln_f.weight', finalWeight, [width]), bias: await loader.upload('ln_f.bias', finalBias, [width]) },
    unembed: unembedTensor,
    unembedBias: bias ? await loader.upload('lm_head.bias', bias, [vocabulary]) : null,
  };
}

async function readBlock(loader: Loader, layer: number): Promise<BlockNumbers> {
  const get = async (name: string): Promise<Float64Array> => Float64Array.from(await loader.numbers(`h.${layer}.${name}`));
  return {
    ln1Weight: await get('ln_1.weight'), ln1Bias: await get('ln_1.bias'),
    qkvWeight: await get('attn.c_attn.weight'), qkvBias: await get('attn.c_attn.bias'),
    outWeight: await get('attn.c_proj.weight'), outBias: await get('attn.c_proj.bias'),
    ln2Weight: await get('ln_2.weight'), ln2Bias: await get('ln_2.bias'),
    mlpInWeight: await get('mlp.c_fc.weight'), mlpInBias: await get('mlp.c_fc.bias'),
    mlpOutWeight: await get('mlp.c_proj.weight'), mlpOutBias: await get('mlp.c_proj.bias'),
  };
}

async function uploadBlock(loader: Loader, layer: number, block: BlockNumbers, { width, mlpWidth }: Gpt2Config): Promise<BlockWeights> {
  const put = (name: string, numbers: Float64Array, shape: number[]): Promise<Tensor> => loader.upload(`h.${layer}.${name}`, Float32Array.from(numbers), shape);
  const norm = async (name: string, weight: Float64Array | null, bias: Float64Array | null): Promise<Norm | null> =>
    weight && bias ? { weight: await put(`${name}.weight`, weight, [width]), bias: await put(`${name}.bias`, bias, [width]) } : null;
  return {
    ln1: await norm('ln_1', block.ln1Weight, block.ln1Bias),
    qkvWeight: await put('attn.c_attn.weight', block.qkvWeight, [width, 3 * width]), qkvBias: await put('attn.c_attn.bias', block.qkvBias, [3 * width]),
    outWeight: await put('attn.c_proj.weight', block.outWeight, [width, width]), outBias: await put('attn.c_proj.bias', block.outBias, [width]),
    ln2: await norm('ln_2', block.ln2Weight, block.ln2Bias),
    mlpInWeight: await put('mlp.c_fc.weight', block.mlpInWeight, [width, mlpWidth]), mlpInBias: await put('mlp.c_fc.bias', block.mlpInBias, [mlpWidth]),
    mlpOutWeight: await put('mlp.c_proj.weight', block.mlpOutWeight, [mlpWidth, width]), mlpOutBias: await put('mlp.c_proj.bias', block.mlpOutBias, [width]),
  };
}

/** Reads tensors of one file in pieces and puts them on the GPU; counts, hashes and checks what passes through. */
class Loader {
  readonly hash = new WeightHash();
  readonly tensors: Tensor[] = [];
  readonly entries: readonly WeightEntry[];
  private readonly gpu: Gpu;
  private readonly file: TensorFile;
  private readonly type: WeightType;
  private readonly byName: ReadonlyMap<string, WeightEntry>;
  private readonly onProgress: LoadProgress;
  private readonly total: number;
  private done = 0;
  private sinceSubmit = 0;

  constructor(gpu: Gpu, file: TensorFile, entries: readonly WeightEntry[], type: WeightType, onProgress: LoadProgress) {
    this.gpu = gpu;
    this.file = file;
    this.entries = entries;
    this.type = type;
    this.byName = new Map(entries.map((entry) => [entry.name, entry]));
    this.onProgress = onProgress;
    this.total = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  /** A tensor on the GPU, uploaded piece by piece. */
  async tensor(name: string): Promise<Tensor> {
    const tensor = this.make(name, this.byName.get(name)!.shape);
    // What the file has as halves goes to the device as it is.
    const straight = tensor.dtype === 'f16' ? (bits: Uint16Array, at: number): void => this.putHalves(tensor, bits, at) : undefined;
    await this.read(name, (values, at) => this.put(name, tensor, values, at), straight);
    return tensor;
  }

  /** A whole tensor as float32 on the CPU. */
  async numbers(name: string): Promise<Float32Array> {
    const out = new Float32Array(elements(this.byName.get(name)!.shape));
    await this.read(name, (values, at) => out.set(values, at));
    return out;
  }

  /** Numbers of a weight to the GPU. */
  async upload(name: string, numbers: Float32Array, shape: readonly number[]): Promise<Tensor> {
    const tensor = this.make(name, shape);
    const piece = PIECE_BYTES / 4;
    for (let at = 0; at < numbers.length; at += piece) this.put(name, tensor, numbers.subarray(at, at + piece), at);
    return tensor;
  }

  /** Reads a stored copy of a tied head and checks that it is the embedding. */
  async sameAsEmbedding(): Promise<void> {
    await this.read('lm_head.weight', () => {});
    if (!this.hash.has('wte.weight')) await this.read('wte.weight', () => {});
    if (!this.hash.same('wte.weight', 'lm_head.weight')) {
      throw new FileError(`${this.file.name}: tensor lm_head.weight is not wte.weight, but config.json ties them; set tie_word_embeddings to false to use both`);
    }
  }

  private make(name: string, shape: readonly number[]): Tensor {
    const tensor = this.gpu.keep(Tensor.empty(this.gpu, shape, storedAs(this.type, name)));
    this.tensors.push(tensor);
    return tensor;
  }

  private put(name: string, tensor: Tensor, values: Float32Array, at: number): void {
    if (tensor.dtype === 'f16') {
      const where = (i: number): string => `${this.file.name}: tensor ${name} at [${place(at + i, tensor.shape)}]`;
      this.putHalves(tensor, toHalves(values, where), at);
      return;
    }
    tensor.write(values, at);
    this.sent(values.byteLength);
  }

  private putHalves(tensor: Tensor, bits: Uint16Array, at: number): void {
    tensor.writeHalves(bits, at);
    this.sent(bits.byteLength);
  }

  private sent(bytes: number): void {
    // Writes wait for a submit in memory of the driver's; an empty one sends them on their way.
    this.sinceSubmit += bytes;
    if (this.sinceSubmit < PIECE_BYTES) return;
    this.sinceSubmit = 0;
    this.gpu.device.queue.submit([]);
  }

  /** Reads a tensor in pieces. Pieces stored as halves go to `straight` if it is given, all others are widened for `use`. */
  private async read(name: string, use: (values: Float32Array, at: number) => void, straight?: (bits: Uint16Array, at: number) => void): Promise<void> {
    const { stored, bytes, shape } = this.byName.get(name)!;
    const { dtype } = this.file.info(stored);
    const again = this.hash.has(name);
    for (let start = 0; start < bytes; start += PIECE_BYTES) {
      const piece = await this.file.rawRange(stored, start, Math.min(bytes, start + PIECE_BYTES));
      if (!again) await this.hash.add(name, dtype, shape, piece);
      const at = start / bytesPerElement(dtype);
      const bits = straight && dtype === 'F16' ? new Uint16Array(piece.buffer, piece.byteOffset, piece.byteLength / 2) : null;
      // Halves that all are numbers need no widening.
      if (bits?.every((half) => (half & 0x7c00) !== 0x7c00)) straight!(bits, at);
      else {
        const values = widenToF32(piece, dtype);
        const bad = firstNotFinite(values);
        if (bad >= 0) throw new NumberError(`${this.file.name}: tensor ${stored} has ${values[bad]} at [${place(at + bad, shape)}]`);
        use(values, at);
      }
      if (!again) this.done += piece.length;
      this.onProgress(this.done, this.total, name);
    }
  }
}

/** Index of the first NaN or infinity, or -1. */
function firstNotFinite(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & 0x7f800000) === 0x7f800000) return i;
  return -1;
}

/** A flat index as indices along each axis. */
function place(flat: number, shape: readonly number[]): string {
  const indices: number[] = [];
  for (const n of [...shape].reverse()) {
    indices.unshift(flat % n);
    flat = Math.floor(flat / n);
  }
  return indices.join(', ');
}
