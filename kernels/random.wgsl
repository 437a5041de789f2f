// Random numbers from a counter, Philox-4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"):
// element i of a stream is word i mod 4 of the block with counter (⌊i / 4⌋, 0, streamLow, streamHigh) and key (seedLow, seedHigh).
// So it depends on nothing but seed, stream and i.
//   KIND 0  the 32 bits themselves
//   KIND 1  uniform in [a, b): a + (b - a) · u, u = ⌊bits / 256⌋ / 2^24
//   KIND 2  normal, mean a and deviation b, by Box and Muller: words (0, 1) and (2, 3) of a block give two numbers each,
//           r cos φ and r sin φ with r = √(-2 ln ((⌊bits / 256⌋ + 1) / 2^24)) and φ = 2π ⌊bits' / 256⌋ / 2^24
//
// out [size]: elements start … start + size - 1, start a multiple of 4. One thread: one block. Groups: ceil(size / (4 · WORKGROUP)).
const WORKGROUP: u32 = 64u;
const KIND: u32 = 0u;

struct Params { size: u32, start: u32, seedLow: u32, seedHigh: u32, streamLow: u32, streamHigh: u32, a: f32, b: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> out: array<u32>;

// High and low words of the 64-bit product, from 16-bit halves.
fn product(a: u32, b: u32) -> vec2u {
  let aLow = a & 0xffffu; let aHigh = a >> 16u;
  let bLow = b & 0xffffu; let bHigh = b >> 16u;
  let low = aLow * bLow;
  let middle = aHigh * bLow + (low >> 16u); // at most (2^16 - 1)² + 2^16 - 1, so it fits
  let other = aLow * bHigh + (middle & 0xffffu);
  return vec2u(aHigh * bHigh + (middle >> 16u) + (other >> 16u), a * b);
}
fn philox(start: vec4u) -> vec4u {
  var c = start;
  var key = vec2u(params.seedLow, params.seedHigh);
  for (var round = 0u; round < 10u; round++) {
    let p0 = product(0xd2511f53u, c.x);
    let p1 = product(0xcd9e8d57u, c.z);
    c = vec4u(p1.x ^ c.y ^ key.x, p1.y, p0.x ^ c.w ^ key.y, p0.y);
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
const UNIT: f32 = 5.9604644775390625e-8; // 2^-24

// Sine and cosine of a turn's share u in [0, 1). Written out, because the built-in ones may be off by 2^-11.
fn direction(u: f32) -> vec2f {
  let quarter = floor(4.0 * u + 0.5);
  let a = (4.0 * u - quarter) * 1.5707963267948966; // |a| ≤ π/4
  let s = a * a;
  let sine = a * (1.0 + s * (-1.6666666667e-1 + s * (8.3333333333e-3 + s * (-1.9841269841e-4 + s * 2.7557319224e-6))));
  let cosine = 1.0 + s * (-0.5 + s * (4.1666666667e-2 + s * (-1.3888888889e-3 + s * 2.4801587302e-5)));
  switch (u32(quarter) & 3u) {
    case 1u: { return vec2f(-sine, cosine); }
    case 2u: { return vec2f(-cosine, -sine); }
    case 3u: { return vec2f(sine, -cosine); }
    default: { return vec2f(cosine, sine); }
  }
}
fn normals(first: u32, second: u32) -> vec2f {
  let radius = sqrt(max(-2.0 * log((f32(first >> 8u) + 1.0) * UNIT), 0.0));
  return params.a + params.b * radius * direction(f32(second >> 8u) * UNIT);
}
fn put(i: u32, bits: u32) {
  if (i < params.size) { out[i] = bits; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = ((group.y * groups.x + group.x) * WORKGROUP + local.x) * 4u;
  if (i >= params.size) { return; }
  var bits = philox(vec4u((params.start + i) / 4u, 0u, params.streamLow, params.streamHigh));
  if (KIND == 1u) { bits = bitcast<vec4u>(params.a + (params.b - params.a) * (vec4f(bits >> vec4u(8u)) * UNIT)); }
  if (KIND == 2u) { bits = bitcast<vec4u>(vec4f(normals(bits.x, bits.y), normals(bits.z, bits.w))); }
  put(i, bits.x);
  put(i + 1u, bits.y);
  put(i + 2u, bits.z);
  put(i + 3u, bits.w);
}
