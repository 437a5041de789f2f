// out[i] = x[i]: the plainest way to move bytes, for the bandwidth that other kernels are measured against.
//   x    [count] vec4f
//   out  [count] vec4f
// Dispatch: ceil(count / (WORKGROUP * PER_THREAD)) workgroups, folded. A workgroup copies one contiguous block, neighbours by neighbours.
// Limits assumed: count fits u32.
const WORKGROUP: u32 = 256u;
const PER_THREAD: u32 = 4u;
struct Params { count: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let start = (group.y * groups.x + group.x) * WORKGROUP * PER_THREAD + local.x;
  for (var k = 0u; k < PER_THREAD; k++) {
    let i = start + k * WORKGROUP;
    if (i < params.count) { out[i] = x[i]; }
  }
}
