// Rows by index: y[i, c] = x[index[i], offset + c]. Also the token embedding.
//
// x     [windowRows, stride]   f32, or f16 two a word if HALF: the rows windowStart … windowStart + windowRows - 1 of a table of `tableRows` rows
// index [rows]                 rows of the whole table
// y     [rows, width]          only rows whose index lies in the window are written; the first window also writes zeros for
//                              indices past the table
// One thread: STEP neighbouring elements of y. Groups: ceil(rows · width / (WORKGROUP · STEP)).
const WORKGROUP: u32 = 64u;
const STEP: u32 = 4u;
const HALF: bool = false;

struct Params { rows: u32, width: u32, stride: u32, offset: u32, windowStart: u32, windowRows: u32, tableRows: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn at(i: u32) -> f32 {
  if (HALF) { return unpack2x16float(x[i >> 1u] >> ((i & 1u) * 16u)).x; }
  return bitcast<f32>(x[i]);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let first = ((group.y * groups.x + group.x) * WORKGROUP + local.x) * STEP;
  var row = first / params.width;
  var column = first - row * params.width;
  for (var i = first; i < first + STEP; i++) {
    if (row >= params.rows) { return; }
    let wanted = index[row];
    let inside = wanted - params.windowStart; // wraps to a large number below the window
    if (inside < params.windowRows) {
      y[i] = at(inside * params.stride + params.offset + column);
    } else if (wanted >= params.tableRows && params.windowStart == 0u) {
      y[i] = 0.0;
    }
    column++;
    if (column == params.width) {
      column = 0u;
      row++;
    }
  }
}
