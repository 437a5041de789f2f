// Position embedding: y[b, t, :] = x[b, t, :] + table[start + t, :], or without HAS_X just the table's row.
//
// x, y  [rows, width]         rows firstRow … firstRow + rows - 1 of [batch · length, width]
// table [windowRows, width]   the rows windowStart … windowStart + windowRows - 1 of the table
// Only rows whose position lies in the window are written. One thread: STEP neighbouring elements.
// Groups: ceil(rows · width / (WORKGROUP · STEP)).
const WORKGROUP: u32 = 64u;
const STEP: u32 = 4u;
const HAS_X: bool = true;

struct Params { rows: u32, width: u32, firstRow: u32, length: u32, start: u32, windowStart: u32, windowRows: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let first = ((group.y * groups.x + group.x) * WORKGROUP + local.x) * STEP;
  var row = first / params.width;
  var column = first - row * params.width;
  var step = (params.firstRow + row) % params.length;
  for (var i = first; i < first + STEP; i++) {
    if (row >= params.rows) { return; }
    let at = params.start + step - params.windowStart; // wraps to a large number below the window
    if (at < params.windowRows) {
      var value = table[at * params.width + column];
      if (HAS_X) { value += x[i]; }
      y[i] = value;
    }
    column++;
    if (column == params.width) {
      column = 0u;
      row++;
      step++;
      if (step == params.length) { step = 0u; }
    }
  }
}
