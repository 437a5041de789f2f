/** A writer of ONNX models (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): one graph, small constants, everything else fed. */

export type Attribute = number | string | readonly number[] | { float: number };

export interface OnnxNode {
  op: string;
  /** '' leaves out an optional input or output. */
  inputs: readonly string[];
  outputs: readonly string[];
  /** `com.microsoft` for ONNX Runtime's own operations. */
  domain?: string;
  /** Whole numbers are written as integers; `{ float }` forces the other. */
  attributes?: Readonly<Record<string, Attribute>>;
}

export interface OnnxValue { name: string; shape: readonly number[]; type?: 'float' | 'int32' | 'int64' }
export interface OnnxConstant { name: string; shape: readonly number[]; data: Float32Array | Int32Array | BigInt64Array }

export interface OnnxGraph {
  nodes: readonly OnnxNode[];
  inputs: readonly OnnxValue[];
  outputs: readonly OnnxValue[];
  constants?: readonly OnnxConstant[];
}

const IR_VERSION = 9;
const OPSET = 18;
const MICROSOFT = 'com.microsoft';
const TYPES = { float: 1, int32: 6, int64: 7 } as const;
const ATTRIBUTE_TYPES = { float: 1, int: 2, string: 3, ints: 7 } as const;

type Bytes = number[];

function varint(value: number | bigint): Bytes {
  let rest = BigInt.asUintN(64, BigInt(value));
  const out: Bytes = [];
  for (; rest > 127n; rest >>= 7n) out.push(Number(rest & 127n) | 128);
  return [...out, Number(rest)];
}

const int = (field: number, value: number | bigint): Bytes => [...varint(field << 3), ...varint(value)];
const bytes = (field: number, content: ArrayLike<number>): Bytes => [...varint((field << 3) | 2), ...varint(content.length), ...Array.from(content)];
const text = (field: number, value: string): Bytes => bytes(field, new TextEncoder().encode(value));
const float = (field: number, value: number): Bytes => [...varint((field << 3) | 5), ...new Uint8Array(new Float32Array([value]).buffer)];
const many = <T>(values: readonly T[], write: (value: T) => Bytes): Bytes => values.flatMap(write);

function attribute([name, value]: [string, Attribute]): Bytes {
  const typed = (content: Bytes, type: keyof typeof ATTRIBUTE_TYPES): Bytes => bytes(5, [...text(1, name), ...content, ...int(20, ATTRIBUTE_TYPES[type])]);
  if (typeof value === 'string') return typed(text(4, value), 'string');
  if (typeof value === 'number') return Number.isInteger(value) ? typed(int(3, value), 'int') : typed(float(2, value), 'float');
  if ('float' in value) return typed(float(2, value.float), 'float');
  return typed(many(value, (v) => int(8, v)), 'ints');
}

function node({ op, inputs, outputs, domain, attributes = {} }: OnnxNode): Bytes {
  return [...many(inputs, (name) => text(1, name)), ...many(outputs, (name) => text(2, name)), ...text(4, op), ...many(Object.entries(attributes), attribute), ...(domain ? text(7, domain) : [])];
}

function valueInfo({ name, shape, type = 'float' }: OnnxValue): Bytes {
  const dimensions = many(shape, (size) => bytes(1, int(1, size)));
  return [...text(1, name), ...bytes(2, bytes(1, [...int(1, TYPES[type]), ...bytes(2, dimensions)]))];
}

function constant({ name, shape, data }: OnnxConstant): Bytes {
  const type = data instanceof Float32Array ? TYPES.float : data instanceof Int32Array ? TYPES.int32 : TYPES.int64;
  return [...many(shape, (size) => int(1, size)), ...int(2, type), ...text(8, name), ...bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))];
}

/** The bytes of a model file. */
export function onnxModel({ nodes, inputs, outputs, constants = [] }: OnnxGraph): Uint8Array {
  const graph = [
    ...many(nodes, (n) => bytes(1, node(n))), ...text(2, 'graph'), ...many(constants, (c) => bytes(5, constant(c))),
    ...many(inputs, (v) => bytes(11, valueInfo(v))), ...many(outputs, (v) => bytes(12, valueInfo(v))),
  ];
  const opset = (domain: string, version: number): Bytes => bytes(8, [...text(1, domain), ...int(2, version)]);
  return Uint8Array.from([...int(1, IR_VERSION), ...bytes(7, graph), ...opset('', OPSET), ...opset(MICROSOFT, 1)]);
}
