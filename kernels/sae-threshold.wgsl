// Codes that are not above a threshold, or not above zero, set to zero, in place:
//
//   codes[D, r, f] = codes[D, r, f] > max(threshold, 0) ? codes[D, r, f] : 0,    threshold[D, f] if EACH, else threshold[D]
//
// binding 0  codes      f32 [dictionaries, rows, features]
// binding 1  threshold  f32 [all dictionaries, features] or [all dictionaries]; those in hand begin at `first`
//
// Dispatch: one thread for ROWS rows of a column; neighbouring threads at neighbouring columns.
const WORKGROUP: u32 = 64u;
const ROWS: u32 = 8u;
const EACH: bool = true;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> codes: array<f32>;
@group(0) @binding(1) var<storage, read> threshold: array<f32>;

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
  var line = params.first + dictionary;
  if (EACH) { line = line * params.features + feature; }
  let least = max(threshold[line], 0.0);
  var at = (dictionary * params.rows + row) * params.features + feature;
  for (var r = row; r < end; r++) {
    if (!(codes[at] > least)) { codes[at] = 0.0; }
    at += params.features;
  }
}
