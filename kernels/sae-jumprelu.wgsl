// JumpReLU:  codes[D, r, f] = pre[D, r, f] > θ[D, f] ? pre[D, r, f] : 0,    θ = exp(logThreshold)
//
// binding 0  pre           f32 [dictionaries, rows, features]
// binding 1  logThreshold  f32 [dictionaries, features]
// binding 2  codes         f32 [dictionaries, rows, features]
//
// Dispatch: one thread for ROWS rows of a column; neighbouring threads at neighbouring columns.
const WORKGROUP: u32 = 64u;
const ROWS: u32 = 8u;

struct Params { dictionaries: u32, rows: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> pre: array<f32>;
@group(0) @binding(1) var<storage, read> logThreshold: array<f32>;
@group(0) @binding(2) var<storage, read_write> codes: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let blocks = (params.rows + ROWS - 1u) / ROWS;
  let block = item / params.features;
  let feature = item - block * params.features;
  let dictionary = block / blocks;
  if (dictionary >= params.dictionaries) { return; }
  let row = (block - dictionary * blocks) * ROWS;
  let end = min(row + ROWS, params.rows);
  let threshold = exp(logThreshold[dictionary * params.features + feature]);
  var at = (dictionary * params.rows + row) * params.features + feature;
  for (var r = row; r < end; r++) {
    let v = pre[at];
    codes[at] = select(0.0, v, v > threshold);
    at += params.features;
  }
}
