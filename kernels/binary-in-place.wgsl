// Element by element, in place: a += b, a -= b, a *= b or a += factor · b (OPERATION 0 to 3).
//
// a [size]   b [size], or with BROADCAST [width], repeated
// One thread: four elements, WORKGROUP apart. Groups: ceil(size / (4 · WORKGROUP)).
const WORKGROUP: u32 = 64u;
const OPERATION: u32 = 0u;
const BROADCAST: bool = false;

struct Params { size: u32, width: u32, factor: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;

fn element(i: u32) {
  if (i >= params.size) { return; }
  var j = i;
  if (BROADCAST) { j = i % params.width; }
  if (OPERATION == 0u) { a[i] += b[j]; }
  if (OPERATION == 1u) { a[i] -= b[j]; }
  if (OPERATION == 2u) { a[i] *= b[j]; }
  if (OPERATION == 3u) { a[i] += params.factor * b[j]; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * (4u * WORKGROUP) + local.x;
  element(i);
  element(i + WORKGROUP);
  element(i + 2u * WORKGROUP);
  element(i + 3u * WORKGROUP);
}
