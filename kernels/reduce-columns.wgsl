// Sums down columns, slice by slice: y[firstSlice + s, c] = factor · Σ x[r, c] over the rows r of slice s, which are
// s · rowsPerSlice … (s + 1) · rowsPerSlice - 1. Repeated on its own output until one slice is left.
//
// x [rows, width]   y [slices of all windows, width]
// One thread: one column of one slice. Groups: ceil(slices · width / WORKGROUP). The order of the sum is fixed.
const WORKGROUP: u32 = 64u;

struct Params { rows: u32, width: u32, rowsPerSlice: u32, slices: u32, firstSlice: u32, factor: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (i >= params.slices * params.width) { return; }
  let slice = i / params.width;
  let column = i - slice * params.width;
  let start = slice * params.rowsPerSlice;
  let end = min(start + params.rowsPerSlice, params.rows);
  var sum = 0.0;
  var at = start * params.width + column;
  for (var row = start; row < end; row++) {
    sum += x[at];
    at += params.width;
  }
  y[params.firstSlice * params.width + i] = params.factor * sum;
}
