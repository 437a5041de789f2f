// The vector reciprocal of every row:  out[i,:] = x[i,:] / ‖x[i,:]‖²,  so that x[i]·out[i] = 1.
// A row of zeros has none; all its elements become `undefined`, which the caller sets to NaN.
//
// x, out  [rows, width]
//
// One thread a row. Groups: ceil(rows / WORKGROUP), folded. Meant for rows of a head's width.
const WORKGROUP: u32 = 64u;

struct Params { rows: u32, width: u32, undefined: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (row >= params.rows) { return; }
  let start = row * params.width;
  let end = start + params.width;
  var squares = 0.0;
  for (var i = start; i < end; i++) { squares += x[i] * x[i]; }
  if (squares == 0.0) {
    for (var i = start; i < end; i++) { out[i] = params.undefined; }
    return;
  }
  for (var i = start; i < end; i++) { out[i] = x[i] / squares; }
}
