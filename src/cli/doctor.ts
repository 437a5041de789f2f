/** `diffract doctor`: what this machine has, how quick it is, and whether its numbers are right. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { AdapterError } from '../errors.ts';
import { measureCeilings, type AdapterFacts, type Ceilings, type Gpu, type GpuLimits } from '../gpu/index.ts';
import { selfTest, type Check } from '../model/index.ts';
import { packageRoot } from '../node-adapter.mjs';
import { openDevice, tuningOption } from './device.ts';
import { printJson } from './terminal.ts';

/** What `doctor --json` prints. */
export interface Diagnosis {
  /** Evaluations on this machine can be trusted: there is an adapter, and every check passed. */
  trusted: boolean;
  adapter: (AdapterFacts & { software: boolean }) | null;
  features: string[];
  limits: GpuLimits | null;
  ceilings: Ceilings | null;
  checks: Check[];
  /** For each thing missing, what to do. */
  advice: string[];
  environment: { diffract: string; node: string; webgpu: string; platform: string; adapterChoice: string };
}

declare const DIFFRACT_VERSION: string;

/** Optional features that the engine asks a device for. */
const ENGINE_FEATURES = ['shader-f16', 'subgroups', 'timestamp-query'];

export function register(program: Command): void {
  program
    .command('doctor')
    .description('Show the adapter, measure it, and test whether its numbers are right. Exits 0 only if evaluations can be trusted here.')
    .addOption(tuningOption())
    .option('--json', 'print the diagnosis as JSON')
    .addHelpText('after', '\nExamples:\n  diffract doctor\n  DIFFRACT_ADAPTER=swiftshader diffract doctor --json')
    .action(async (options: { tuning?: string; json?: boolean }) => {
      const diagnosis = await diagnose(options.tuning);
      if (options.json) printJson(diagnosis);
      else process.stdout.write(`${format(diagnosis)}\n`);
      process.exitCode = diagnosis.trusted ? 0 : 1;
    });
}

async function diagnose(tuning?: string): Promise<Diagnosis> {
  const environment = {
    diffract: DIFFRACT_VERSION, node: process.versions.node, webgpu: webgpuVersion(),
    platform: `${process.platform}-${process.arch}`, adapterChoice: process.env.DIFFRACT_ADAPTER || 'auto',
  };
  let gpu: Gpu;
  try {
    gpu = await openDevice(tuning);
  } catch (error) {
    if (!(error instanceof AdapterError)) throw error;
    return { trusted: false, adapter: null, features: [], limits: null, ceilings: null, checks: [], advice: [error.message], environment };
  }
  const checks = await selfTest(gpu, join(packageRoot(), 'models', 'ioi-mini'));
  const diagnosis: Diagnosis = {
    trusted: checks.every((c) => c.passed),
    adapter: { ...gpu.info, software: gpu.software },
    features: [...gpu.features].sort(),
    limits: gpu.limits,
    ceilings: await measureCeilings(gpu),
    checks,
    advice: advise(gpu, checks),
    environment,
  };
  gpu.destroy();
  return diagnosis;
}

function advise(gpu: Gpu, checks: readonly Check[]): string[] {
  const advice: string[] = [];
  const failed = checks.filter((c) => !c.passed);
  if (failed.some((c) => !Number.isNaN(c.error))) {
    const other = /swiftshader/i.test(gpu.info.description) ? 'lavapipe' : 'swiftshader';
    advice.push(`this driver computes wrong numbers: update it, or set DIFFRACT_ADAPTER=${other} to go on without it`);
  }
  for (const c of failed) if (Number.isNaN(c.error)) advice.push(`${c.name} could not be tested: ${c.problem}`);
  const forced = (process.env.DIFFRACT_ADAPTER ?? 'auto') !== 'auto';
  if (gpu.software) advice.push(`no GPU is used: numbers are the same, but slow; with a GPU in this machine, install its Vulkan driver${forced ? ' and unset DIFFRACT_ADAPTER' : ''}`);
  if (!gpu.features.has('timestamp-query')) advice.push('no timestamp-query: benchmarks time with the wall clock, so close other programs while they run');
  return advice;
}

function webgpuVersion(): string {
  try {
    const main = createRequire(join(packageRoot(), 'package.json')).resolve('webgpu');
    return (JSON.parse(readFileSync(join(dirname(main), 'package.json'), 'utf8')) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}

function format(d: Diagnosis): string {
  const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20).toLocaleString('en')} MiB`;
  const lines: string[] = [];
  const row = (name: string, value: string): void => { lines.push(`${name.padEnd(12)}${value}`); };
  row('diffract', `${d.environment.diffract}, Node ${d.environment.node}, webgpu ${d.environment.webgpu}, ${d.environment.platform}, adapter choice ${d.environment.adapterChoice}`);
  row('adapter', d.adapter ? `${d.adapter.device || d.adapter.description} (${[d.adapter.vendor, d.adapter.architecture].filter(Boolean).join(' ')})` : 'none');
  if (d.adapter) row('driver', `${d.adapter.description}${d.adapter.software ? ', software on the CPU: slow' : ''}`);
  if (d.limits) {
    row('limits', `binding ${mib(d.limits.bindingBytes)}, buffer ${mib(d.limits.bufferBytes)}, ${d.limits.storageBuffers} storage buffers`);
    row('', `workgroup ${d.limits.workgroupInvocations} invocations, ${d.limits.workgroupBytes.toLocaleString('en')} bytes`);
    row('features', ENGINE_FEATURES.map((f) => `${f} ${d.features.includes(f) ? 'yes' : 'no'}`).join(', '));
  }
  if (d.ceilings) {
    row('measured', `copy ${d.ceilings.copyGBps.toFixed(1)} GB/s, multiply-add ${d.ceilings.gflops.toFixed(1)} GFLOP/s (${d.ceilings.source === 'wall' ? 'wall clock' : 'device timestamps'})`);
  }
  for (const c of d.checks) row(c === d.checks[0] ? 'self-test' : '', `${c.passed ? 'pass' : 'FAIL'}  ${c.name}: ${Number.isNaN(c.error) ? c.problem : `${shortened(c.error)} (at most ${shortened(c.allowed)})`}`);
  for (const [i, text] of d.advice.entries()) row(i === 0 ? 'to do' : '', text);
  row('verdict', d.trusted ? 'evaluations can be trusted here' : 'evaluations cannot be trusted here');
  return lines.join('\n');
}

function shortened(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toExponential(1);
}
