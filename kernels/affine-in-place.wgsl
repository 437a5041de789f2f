// Element by element, in place: x = scale · x + shift.
//
// x [size]. One thread: four elements, WORKGROUP apart. Groups: ceil(size / (4 · WORKGROUP)).
const WORKGROUP: u32 = 64u;

struct Params { size: u32, scale: f32, shift: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;

fn element(i: u32) {
  if (i < params.size) { x[i] = params.scale * x[i] + params.shift; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * (4u * WORKGROUP) + local.x;
  element(i);
  element(i + WORKGROUP);
  element(i + 2u * WORKGROUP);
  element(i + 3u * WORKGROUP);
}
