// Features that were never active: dead[i] = fired[i] == 0 ? 1 : 0.
//
// binding 0  fired  u32 [size]
// binding 1  dead   u32 [size]
//
// Dispatch: one thread an element.
const WORKGROUP: u32 = 64u;

struct Params { size: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> fired: array<u32>;
@group(0) @binding(1) var<storage, read_write> dead: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item < params.size) { dead[item] = select(0u, 1u, fired[item] == 0u); }
}
