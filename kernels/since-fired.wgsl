// How many examples ago each feature was last active, step by step:
//
//   since[i] = 0 if fired[i] has changed since the last step, else since[i] + rows;   dead[i] = since[i] >= deadAfter, if MARK
//
// binding 0  fired  u32 [size]   how often each feature was active so far; what is counted only ever grows, or begins anew with `seen` at zero
// binding 1  seen   u32 [size]   the same as it was at the last step
// binding 2  since  u32 [size]   stays at the largest number once it is there
// binding 3  dead   u32 [size]   anything where MARK is false
//
// Dispatch: one thread an element.
const WORKGROUP: u32 = 64u;
const MARK: bool = false;

struct Params { size: u32, rows: u32, deadAfter: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> fired: array<u32>;
@group(0) @binding(1) var<storage, read_write> seen: array<u32>;
@group(0) @binding(2) var<storage, read_write> since: array<u32>;
@group(0) @binding(3) var<storage, read_write> dead: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.size) { return; }
  let now = fired[item];
  let longer = since[item] + min(params.rows, 0xffffffffu - since[item]);
  let ago = select(0u, longer, now == seen[item]);
  seen[item] = now;
  since[item] = ago;
  if (MARK) { dead[item] = select(0u, 1u, ago >= params.deadAfter); }
}
