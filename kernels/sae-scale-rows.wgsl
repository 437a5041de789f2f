// Rows brought to given lengths: out[r] = length[r] * x[r] / ‖x[r]‖, and length 1 if UNIT. A row of zeros stays.
//
// binding 0  x       f32 [rows, width]
// binding 1  length  f32 [rows]; not read if UNIT
// binding 2  out     f32 [rows, width]
//
// Dispatch: one thread a row.
const WORKGROUP: u32 = 64u;
const UNIT: bool = false;

struct Params { rows: u32, width: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> length: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (row >= params.rows) { return; }
  let begin = row * params.width;
  let end = begin + params.width;
  var square = 0.0;
  for (var i = begin; i < end; i++) { square = fma(x[i], x[i], square); }
  var scale = 0.0;
  if (square > 0.0) { scale = 1.0 / sqrt(square); }
  if (!UNIT) { scale *= length[row]; }
  for (var i = begin; i < end; i++) { out[i] = scale * x[i]; }
}
