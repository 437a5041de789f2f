// f32 to IEEE half precision, two a word, the low half first; each rounded to a nearest half. The counterpart of widen16.
//
// x [size]   packed [ceil(size / 2)]; an odd last number has a zero beside it
// One thread: one word. Groups: ceil(words / WORKGROUP).
const WORKGROUP: u32 = 64u;

struct Params { size: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> packed: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let first = 2u * i;
  if (first >= params.size) { return; }
  var second = 0.0;
  if (first + 1u < params.size) { second = x[first + 1u]; }
  packed[i] = pack2x16float(vec2f(x[first], second));
}
