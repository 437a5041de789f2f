// Test kernel: out[i] = scale * x[i] + shift for i < count.
//   0 x [count]   1 out [count]   dispatch: ceil(count / WORKGROUP) workgroups, folded
const WORKGROUP: u32 = 64u;
const TWICE: bool = false;
struct Params { count: u32, scale: f32, shift: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(WORKGROUP) fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (i >= params.count) { return; }
  var value = params.scale * x[i] + params.shift;
  if (TWICE) { value = value * 2.0; }
  out[i] = value;
}
