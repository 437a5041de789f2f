// How many rows are the first to be met by each member of a growing union, one union for each feature:
//
//   out[s, r, f] = number of rows p of slice s with codes[p, f] != 0 and min over c of ranks[holds[p, c], f] = r,   r < most
//
// holds[p, c] past the last value counts as none. Sums over r up to m count the rows of the union of the members of ranks 0 … m.
//
// binding 0  codes  f32 [rows, features]
// binding 1  holds  u32 [rows, columns]      values that hold for each row
// binding 2  ranks  u32 [values, features]   each value's place in the feature's union; `most` or more for values outside it
// binding 3  out    f32 [slices, most, features]; slices from firstSlice on are written
//
// A slice is SLICE rows. One thread: one feature and one slice, so that no two threads write to one place. Groups: ceil(slices · features / WORKGROUP).
const WORKGROUP: u32 = 64u;
const SLICE: u32 = 256u;

struct Params { rows: u32, features: u32, columns: u32, values: u32, most: u32, slices: u32, firstSlice: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read> holds: array<u32>;
@group(0) @binding(2) var<storage, read> ranks: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (i >= params.slices * params.features) { return; }
  let slice = i / params.features;
  let feature = i - slice * params.features;
  let own = (params.firstSlice + slice) * params.most * params.features + feature;
  for (var r = 0u; r < params.most; r++) { out[own + r * params.features] = 0.0; }
  let end = min((slice + 1u) * SLICE, params.rows);
  for (var row = slice * SLICE; row < end; row++) {
    if (codes[row * params.features + feature] == 0.0) { continue; }
    var first = params.most;
    for (var c = 0u; c < params.columns; c++) {
      let value = holds[row * params.columns + c];
      if (value < params.values) { first = min(first, ranks[value * params.features + feature]); }
    }
    if (first < params.most) { out[own + first * params.features] += 1.0; }
  }
}
