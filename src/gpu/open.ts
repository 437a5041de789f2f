/** Opens a device: takes the adapter's largest limits and the features that the engine can use. */
import { AdapterError } from '../errors.ts';
import { Gpu, type AdapterFacts } from './gpu.ts';
import { assertTuning, checkTuning } from './tuning.ts';

export interface OpenOptions {
  /** The WebGPU entry point; `navigator.gpu` if not given. */
  gpu?: GPU;
  powerPreference?: GPUPowerPreference;
  /** Pass parameters as immediates where they exist (default), or always through the uniform ring. */
  immediates?: boolean;
  /** Use kernels with subgroup operations where they can be used (default), or never. */
  subgroups?: boolean;
  /**
   * Ask for no optional feature and for no more than WebGPU's default limits: eight storage buffers a stage, bindings of 128 MiB, workgroups of 256
   * with 16 KiB, no immediates, subgroups, f16 or timestamps. Every browser's device has that much; what works so works in all of them.
   */
  portable?: boolean;
  /**
   * Parsed content of a file that the tuner made. One that was made for another adapter or other kernels, or that is broken, is not
   * used; `gpu.tuning` says why.
   */
  tuning?: unknown;
  /** Most bytes that the engine's buffers may take together; unlimited by default. */
  memoryLimit?: number;
  /** Lowers the largest binding, so that windows can be tried on small tensors. */
  windowBytes?: number;
}

const WANTED_FEATURES = ['shader-f16', 'subgroups', 'timestamp-query'] as const;
const WANTED_LIMITS = [
  'maxBufferSize', 'maxStorageBufferBindingSize', 'maxStorageBuffersPerShaderStage', 'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX', 'maxComputeWorkgroupSizeY',
] as const;

/**
 * Opens the best adapter there is. Throws AdapterError, with what to do, if there is none.
 * Throws FileError if `tuning` is no tuning file at all.
 * On success the device takes the adapter's largest limits, unless a portable one was asked for; `gpu.software` tells a CPU driver.
 */
export async function openGpu(options: OpenOptions = {}): Promise<Gpu> {
  if (options.tuning !== undefined) assertTuning(options.tuning);
  const entry = options.gpu ?? (globalThis.navigator as Navigator | undefined)?.gpu;
  if (!entry) throw new AdapterError('WebGPU is missing here: use a browser that has it, or import "diffract/node" in Node');
  const adapter = await entry.requestAdapter({ powerPreference: options.powerPreference ?? 'high-performance' });
  if (!adapter) throw new AdapterError('no WebGPU adapter was found: install a GPU driver, or a software one (node setup.mjs does it)');
  const { portable = false } = options;
  const requiredFeatures = portable ? [] : WANTED_FEATURES.filter((f) => adapter.features.has(f)) as GPUFeatureName[];
  const requiredLimits: Record<string, number> = {};
  for (const limit of portable ? [] : WANTED_LIMITS) {
    const value = adapter.limits[limit];
    if (value !== undefined) requiredLimits[limit] = Number(value);
  }
  const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  const limits = device.limits;
  const immediateBytes = (limits as unknown as { maxImmediateSize?: number }).maxImmediateSize ?? 0;
  const language = entry.wgslLanguageFeatures;
  const immediates = !portable && (options.immediates ?? true) && immediateBytes >= 64 && (language?.has('immediate_address_space') ?? false);
  const windowBytes = Math.floor((options.windowBytes ?? Infinity) / 256) * 256 || 256;
  const gpu = new Gpu(device, {
    immediates,
    subgroups: options.subgroups ?? true,
    info: facts(adapter),
    memoryLimit: options.memoryLimit ?? Infinity,
    limits: {
      // The last partial alignment step is left out, so that a window's size is always legal.
      bindingBytes: Math.min(windowBytes, Math.floor(limits.maxStorageBufferBindingSize / 256) * 256),
      bufferBytes: limits.maxBufferSize,
      workgroupInvocations: limits.maxComputeInvocationsPerWorkgroup,
      workgroupBytes: limits.maxComputeWorkgroupStorageSize,
      storageBuffers: limits.maxStorageBuffersPerShaderStage,
    },
  });
  if (options.tuning !== undefined) gpu.tuning = await checkTuning(options.tuning, gpu);
  return gpu;
}

function facts(adapter: GPUAdapter): AdapterFacts {
  const { vendor, architecture, device, description, subgroupMinSize = 0, subgroupMaxSize = 0 } = adapter.info;
  const isFallback = (adapter.info as { isFallbackAdapter?: boolean }).isFallbackAdapter ?? (adapter as { isFallbackAdapter?: boolean }).isFallbackAdapter ?? false;
  return { vendor, architecture, device, description, isFallback, subgroupMinSize, subgroupMaxSize };
}
