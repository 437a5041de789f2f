// Where each feature is active: the non-zero values of each column of codes, in the order of their rows.
//
//   list[D, f, 0] = how many rows,  list[D, f, 1 + s] = the s-th of them    if LIST
//   fired[D, f]  += how many rows
//
// binding 0  codes  f32 [dictionaries, rows, features]
// binding 1  list   u32 [dictionaries, features, rows + 1]; entries past the last are left as they were
// binding 2  fired  u32 [dictionaries, features]
//
// NaN counts as active. Needs: one read of codes. Dispatch: one thread for COLUMNS (1 to 4) features that lie 8 apart, as in sae-mask.
const WORKGROUP: u32 = 64u;
const COLUMNS: u32 = 1u;
const LIST: bool = true;

struct Params { dictionaries: u32, rows: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read_write> list: array<u32>;
@group(0) @binding(2) var<storage, read_write> fired: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let threads = (params.features + 8u * COLUMNS - 1u) / (8u * COLUMNS) * 8u;
  let dictionary = item / threads;
  if (dictionary >= params.dictionaries) { return; }
  let within = item - dictionary * threads;
  let feature = within / 8u * (8u * COLUMNS) + within % 8u;
  let line = dictionary * params.features + feature;
  let stride = params.rows + 1u;
  var inside: array<bool, COLUMNS>;
  var counts: array<u32, COLUMNS>;
  for (var j = 0u; j < COLUMNS; j++) { inside[j] = feature + 8u * j < params.features; }
  var at = dictionary * params.rows * params.features + feature;
  for (var row = 0u; row < params.rows; row++) {
    for (var j = 0u; j < COLUMNS; j++) {
      if (inside[j] && codes[at + 8u * j] != 0.0) {
        counts[j]++;
        if (LIST) { list[(line + 8u * j) * stride + counts[j]] = row; }
      }
    }
    at += params.features;
  }
  for (var j = 0u; j < COLUMNS; j++) {
    if (inside[j]) {
      if (LIST) { list[(line + 8u * j) * stride] = counts[j]; }
      fired[line + 8u * j] += counts[j];
    }
  }
}
