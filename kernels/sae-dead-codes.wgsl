// What dead features alone would say: out[D, r, f] = ReLU(pre[D, r, f]) where dead[D, f] is not 0, else 0.
//
// binding 0  pre   f32 [dictionaries, rows, features]
// binding 1  dead  u32 [all dictionaries, features]; those in hand begin at `first`
// binding 2  out   f32 [dictionaries, rows, features]
//
// Dispatch: one thread for ROWS rows of a column; neighbouring threads at neighbouring columns.
const WORKGROUP: u32 = 64u;
const ROWS: u32 = 8u;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> pre: array<f32>;
@group(0) @binding(1) var<storage, read> dead: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

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
  let alive = dead[(params.first + dictionary) * params.features + feature] == 0u;
  var at = (dictionary * params.rows + row) * params.features + feature;
  for (var r = row; r < end; r++) {
    var v = 0.0;
    if (!alive) { v = max(pre[at], 0.0); }
    out[at] = v;
    at += params.features;
  }
}
