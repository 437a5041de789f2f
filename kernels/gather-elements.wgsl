// Elements by column index: y[r, k] = x[r, index[r, k]]; 0 for an index past the row.
//
// x [rows, width]   index, y [rows, picks]
// One thread: one element of y. Groups: ceil(rows · picks / WORKGROUP).
const WORKGROUP: u32 = 64u;

struct Params { rows: u32, width: u32, picks: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (i >= params.rows * params.picks) { return; }
  let column = index[i];
  var value = 0.0;
  if (column < params.width) { value = x[i / params.picks * params.width + column]; }
  y[i] = value;
}
