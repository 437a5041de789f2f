// Running means of thresholds: running[D] += rate (batch[D] − running[D]). One below zero takes the batch's as it is; a batch's of zero or
// below says that there is none.
//
// binding 0  batch    f32 [dictionaries]
// binding 1  running  f32 [dictionaries]
//
// Dispatch: one thread a dictionary.
const WORKGROUP: u32 = 64u;

struct Params { dictionaries: u32, rate: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> batch: array<f32>;
@group(0) @binding(1) var<storage, read_write> running: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let dictionary = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (dictionary >= params.dictionaries || batch[dictionary] <= 0.0) { return; }
  let before = running[dictionary];
  running[dictionary] = select(fma(params.rate, batch[dictionary] - before, before), batch[dictionary], before < 0.0);
}
