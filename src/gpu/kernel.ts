/**
 * A kernel is a WGSL file. This module reads from its text what the engine needs to bind it (the storage bindings, the parameter
 * struct, the tunable constants) and writes the text of a variant: other constant values, parameters as immediates, enabled extensions.
 * The file itself stays valid WGSL as it stands.
 */
import { ShaderError } from '../errors.ts';

export type ScalarType = 'u32' | 'i32' | 'f32';
export interface ParamField { name: string; type: ScalarType }

export interface Kernel {
  readonly name: string;
  readonly source: string;
  /** Access of `@group(0) @binding(i)`, in order. */
  readonly access: readonly ('read' | 'read_write')[];
  /** Fields of `struct Params`, in order; empty if the kernel takes none. */
  readonly params: readonly ParamField[];
  /** Values of the tunable constants as the file has them. */
  readonly constants: ReadonlyMap<string, { type: string; value: string }>;
}

/** What may differ between two pipelines made from one kernel. */
export interface Variant {
  /** New values for `const NAME: TYPE = …;` lines; booleans as 0 or 1. */
  constants?: Readonly<Record<string, number | boolean>>;
  /** WGSL extensions to enable, e.g. `subgroups`. */
  enables?: readonly string[];
}

export const MAX_PARAM_BYTES = 64;
const UNIFORM_LINE = '@group(1) @binding(0) var<uniform> params: Params;';
const CONSTANT = /^const (\w+): (u32|i32|f32|bool) = ([^;]+);/gm;
const BINDING = /@group\(0\)\s*@binding\((\d+)\)\s*var<storage(?:,\s*(read|read_write))?>/g;

/** Reads a kernel's interface from its text. Throws ShaderError if the text breaks the conventions. */
export function defineKernel(name: string, source: string): Kernel {
  const access: ('read' | 'read_write')[] = [];
  for (const [, index, mode] of source.matchAll(BINDING)) access[Number(index)] = mode === 'read_write' ? 'read_write' : 'read';
  for (let i = 0; i < access.length; i++) if (!access[i]) throw new ShaderError(`kernel ${name}: @binding(${i}) is missing`);
  const constants = new Map<string, { type: string; value: string }>();
  for (const [, key, type, value] of source.matchAll(CONSTANT)) constants.set(key!, { type: type!, value: value! });
  return { name, source, access, params: readParams(name, source), constants };
}

function readParams(name: string, source: string): ParamField[] {
  const body = source.match(/struct Params \{([^}]*)\}/)?.[1];
  if (body === undefined) return [];
  if (!source.includes(UNIFORM_LINE)) throw new ShaderError(`kernel ${name}: struct Params needs the line ${UNIFORM_LINE}`);
  const fields = body.replace(/\/\/.*$/gm, '').split(',').map((f) => f.trim()).filter(Boolean).map((field) => {
    const [, key, type] = field.match(/^(\w+)\s*:\s*(u32|i32|f32)$/) ?? [];
    if (!key) throw new ShaderError(`kernel ${name}: parameter "${field}" is not a u32, i32 or f32`);
    return { name: key, type: type as ScalarType };
  });
  if (fields.length * 4 > MAX_PARAM_BYTES) throw new ShaderError(`kernel ${name}: ${fields.length} parameters, at most ${MAX_PARAM_BYTES / 4}`);
  return fields;
}

/** A key that is equal for equal variants of a kernel. */
export function variantKey(kernel: Kernel, variant: Variant): string {
  let key = kernel.name;
  for (const name in variant.constants) key += `|${name}=${Number(variant.constants[name])}`;
  for (const name of variant.enables ?? []) key += `|+${name}`;
  return key;
}

/** The text of a variant. Throws ShaderError for a constant that the file does not have. */
export function variantSource(kernel: Kernel, variant: Variant, immediates: boolean): string {
  let text = kernel.source;
  for (const [name, value] of Object.entries(variant.constants ?? {})) {
    const known = kernel.constants.get(name);
    if (!known) throw new ShaderError(`kernel ${kernel.name} has no constant ${name}; it has ${[...kernel.constants.keys()].join(', ') || 'none'}`);
    text = text.replace(new RegExp(`^const ${name}: ${known.type} = [^;]+;`, 'm'), `const ${name}: ${known.type} = ${literal(known.type, value)};`);
  }
  let head = (variant.enables ?? []).map((e) => `enable ${e};\n`).join('');
  if (immediates && kernel.params.length) {
    head += 'requires immediate_address_space;\n';
    text = text.replace(UNIFORM_LINE, 'var<immediate> params: Params;');
  }
  return head + text;
}

function literal(type: string, value: number | boolean): string {
  if (type === 'bool') return value ? 'true' : 'false';
  if (type === 'f32') return `f32(${Number(value)})`;
  return `${Math.trunc(Number(value))}${type === 'u32' ? 'u' : 'i'}`;
}

/** Writes named parameters as the kernel's struct lays them out, into `words` from `at` on (in 32-bit words). */
export function packParams(kernel: Kernel, params: Readonly<Record<string, number>>, words: Uint32Array, floats: Float32Array, at: number): void {
  for (let i = 0; i < kernel.params.length; i++) {
    const { name, type } = kernel.params[i]!;
    const value = params[name];
    if (value === undefined) throw new ShaderError(`kernel ${kernel.name}: parameter ${name} is not given`);
    if (type === 'f32') floats[at + i] = value;
    else words[at + i] = value;
  }
}
