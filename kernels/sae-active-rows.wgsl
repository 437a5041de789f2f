// Where each feature is active: the non-zero values of each column of codes, in the order of their rows.
//
//   list[D, f, 0] = how many rows,  list[D, f, 1 + s] = the s-th of them    if LIST
//   fired[D, f]  += how many rows
//
// binding 0  codes  f32 [dictionaries, rows, features]
// binding 1  list   u32 [dictionaries, features, rows + 1]; entries past the last are left as they were
// binding 2  fired  u32 [dictionaries, features]
//
// NaN counts as active. Needs: one read of codes. Dispatch: one thread a feature; neighbouring threads read neighbouring numbers.
const WORKGROUP: u32 = 64u;
const LIST: bool = true;

struct Params { dictionaries: u32, rows: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read_write> list: array<u32>;
@group(0) @binding(2) var<storage, read_write> fired: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.dictionaries * params.features) { return; }
  let dictionary = item / params.features;
  var at = dictionary * params.rows * params.features + (item - dictionary * params.features);
  let base = item * (params.rows + 1u);
  var count = 0u;
  for (var row = 0u; row < params.rows; row++) {
    if (codes[at] != 0.0) {
      count++;
      if (LIST) { list[base + count] = row; }
    }
    at += params.features;
  }
  if (LIST) { list[base] = count; }
  fired[item] += count;
}
