// Packed 16-bit floats to f32, two a word, the low half first: IEEE half precision, or bfloat16 with BFLOAT.
// Done on the bits, because an adapter may flush half-precision subnormals, which small weights are, to zero.
//
// packed [ceil(size / 2)]   out [size], the bits of f32
// One thread: two words, WORKGROUP apart. Groups: ceil(words / (2 · WORKGROUP)).
const WORKGROUP: u32 = 64u;
const BFLOAT: bool = false;

struct Params { size: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> packed: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

fn widen(half: u32) -> u32 {
  if (BFLOAT) { return half << 16u; }
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 0x1fu;
  let fraction = half & 0x3ffu;
  if (exponent == 0u) { return sign | bitcast<u32>(f32(fraction) * 5.9604644775390625e-8); } // fraction · 2^-24, subnormal or zero
  if (exponent == 31u) { return sign | 0x7f800000u | (fraction << 13u); } // infinity or NaN
  return sign | ((exponent + 112u) << 23u) | (fraction << 13u);
}
fn word(i: u32) {
  if (2u * i >= params.size) { return; }
  let both = packed[i];
  out[2u * i] = widen(both & 0xffffu);
  if (2u * i + 1u < params.size) { out[2u * i + 1u] = widen(both >> 16u); }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * (2u * WORKGROUP) + local.x;
  word(i);
  word(i + WORKGROUP);
}
