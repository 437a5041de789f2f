/** Pipelines by kernel and variant, made once; several at a time while something else loads, or at first use. */
import { ShaderError, type DiffractError } from '../errors.ts';
import { variantKey, variantSource, type Kernel, type Variant } from './kernel.ts';

export interface Pipeline {
  readonly id: number;
  readonly kernel: Kernel;
  readonly pipeline: GPUComputePipeline;
  readonly storageLayout: GPUBindGroupLayout;
}

export class Pipelines {
  private readonly ready = new Map<string, Pipeline>();
  private readonly coming = new Map<string, Promise<Pipeline>>();
  private readonly layouts = new Map<string, { storage: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();
  private nextId = 1;
  /** Layout of the uniform parameters; only where immediates are missing. */
  readonly paramLayout: GPUBindGroupLayout | null;

  private readonly device: GPUDevice;
  private readonly immediates: boolean;
  private readonly onFault: (outcome: Promise<DiffractError | null>) => void;

  constructor(device: GPUDevice, immediates: boolean, onFault: (outcome: Promise<DiffractError | null>) => void) {
    this.device = device;
    this.immediates = immediates;
    this.onFault = onFault;
    this.paramLayout = immediates ? null : device.createBindGroupLayout({
      entries: [{ binding: 0, visibility: 4 /* COMPUTE */, buffer: { type: 'uniform', hasDynamicOffset: true } }],
    });
  }

  get count(): number {
    return this.ready.size;
  }

  /** The pipeline, made now if it does not exist yet. A compile error is reported as a fault of the work that uses it. */
  get(kernel: Kernel, variant: Variant): Pipeline {
    const key = variantKey(kernel, variant);
    const known = this.ready.get(key);
    if (known) return known;
    const { module, check } = this.module(kernel, variant, key);
    this.onFault(check.then(() => null, (error: DiffractError) => error));
    const layout = this.layout(kernel);
    const pipeline = this.device.createComputePipeline({ label: key, layout: layout.pipeline, compute: { module, entryPoint: 'main' } });
    return this.store(key, kernel, pipeline, layout.storage);
  }

  /** Makes pipelines in parallel. Rejects with ShaderError, naming kernel, line and message. */
  async prepare(specs: readonly ({ kernel: Kernel } & Variant)[]): Promise<void> {
    await Promise.all(specs.map((spec) => {
      const key = variantKey(spec.kernel, spec);
      if (this.ready.has(key)) return null;
      let coming = this.coming.get(key);
      if (!coming) {
        coming = this.compile(spec.kernel, spec, key).finally(() => this.coming.delete(key));
        this.coming.set(key, coming);
      }
      return coming;
    }));
  }

  private async compile(kernel: Kernel, variant: Variant, key: string): Promise<Pipeline> {
    const { module, check } = this.module(kernel, variant, key);
    check.catch(() => {});
    const layout = this.layout(kernel);
    let pipeline: GPUComputePipeline;
    try {
      pipeline = await this.device.createComputePipelineAsync({ label: key, layout: layout.pipeline, compute: { module, entryPoint: 'main' } });
    } catch (error) {
      await check;
      throw new ShaderError(`kernel ${key}: ${(error as Error).message.split('\n')[0]}`);
    }
    return this.ready.get(key) ?? this.store(key, kernel, pipeline, layout.storage);
  }

  private module(kernel: Kernel, variant: Variant, key: string): { module: GPUShaderModule; check: Promise<void> } {
    const code = variantSource(kernel, variant, this.immediates);
    this.device.pushErrorScope('validation');
    const module = this.device.createShaderModule({ label: key, code });
    const check = this.device.popErrorScope().then(async (error) => {
      if (!error) return;
      const { messages } = await module.getCompilationInfo();
      const worst = messages.find((m) => m.type === 'error');
      const where = worst ? `line ${worst.lineNum}: ${worst.message} in "${code.split('\n')[worst.lineNum - 1]?.trim() ?? ''}"` : error.message;
      throw new ShaderError(`kernel ${key}: ${where.split('\n')[0]}`);
    });
    return { module, check };
  }

  private layout(kernel: Kernel): { storage: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const hasParams = kernel.params.length > 0;
    const key = `${kernel.access.join()}|${hasParams ? kernel.params.length : 0}`;
    let layout = this.layouts.get(key);
    if (!layout) {
      const storage = this.device.createBindGroupLayout({
        entries: kernel.access.map((access, binding) => ({ binding, visibility: 4 /* COMPUTE */, buffer: { type: access === 'read' ? 'read-only-storage' : 'storage' } as const })),
      });
      const bindGroupLayouts = hasParams && this.paramLayout ? [storage, this.paramLayout] : [storage];
      const immediateSize = hasParams && this.immediates ? kernel.params.length * 4 : 0;
      const pipeline = this.device.createPipelineLayout({ bindGroupLayouts, ...(immediateSize ? { immediateSize } : {}) } as GPUPipelineLayoutDescriptor);
      layout = { storage, pipeline };
      this.layouts.set(key, layout);
    }
    return layout;
  }

  private store(key: string, kernel: Kernel, pipeline: GPUComputePipeline, storageLayout: GPUBindGroupLayout): Pipeline {
    const entry = { id: this.nextId++, kernel, pipeline, storageLayout };
    this.ready.set(key, entry);
    return entry;
  }
}
