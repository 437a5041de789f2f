// 1 where a feature is active and 0 where it is not:  out[i] = codes[i] > 0, or with `signed` codes[i] != 0.
//
// codes, out  [size]
//
// A thread takes every (STEP)-th element of its workgroup's block, so that neighbours read neighbours. Groups: ceil(size / (WORKGROUP * STEP)), folded.
const WORKGROUP: u32 = 64u;
const STEP: u32 = 4u;

struct Params { size: u32, signed: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let first = (group.y * groups.x + group.x) * WORKGROUP * STEP + local.x;
  for (var i = 0u; i < STEP; i++) {
    let at = first + i * WORKGROUP;
    if (at < params.size) { out[at] = select(0.0, 1.0, codes[at] > 0.0 || (params.signed == 1u && codes[at] < 0.0)); }
  }
}
