/** A safetensors file of float32 tensors put together byte by byte, by nothing but the format's description. */
export function safetensorsFile(tensors: readonly [name: string, shape: number[], values: ArrayLike<number>][]): Uint8Array {
  let offset = 0;
  const header = Object.fromEntries(tensors.map(([name, shape, values]) => {
    const begin = offset;
    offset += values.length * 4;
    return [name, { dtype: 'F32', shape, data_offsets: [begin, offset] }];
  }));
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + offset);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, json.length, true);
  bytes.set(json, 8);
  let at = 8 + json.length;
  for (const [, , values] of tensors) for (const value of Array.from(values)) {
    view.setFloat32(at, value, true);
    at += 4;
  }
  return bytes;
}
