// Rows by index, written in place: x[index[i], offset + c] = values[i, c], or += with ADD.
//
// values [rows, width]
// index  [rows]                 rows of the whole table; those outside the window (4294967295 among them) are skipped
// x      [windowRows, stride]   the rows windowStart … windowStart + windowRows - 1 of the table
// Equal indices race with each other: the caller must not give them.
// One thread: STEP neighbouring elements of values. Groups: ceil(rows · width / (WORKGROUP · STEP)).
const WORKGROUP: u32 = 64u;
const STEP: u32 = 4u;
const ADD: bool = false;

struct Params { rows: u32, width: u32, stride: u32, offset: u32, windowStart: u32, windowRows: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let first = ((group.y * groups.x + group.x) * WORKGROUP + local.x) * STEP;
  var row = first / params.width;
  var column = first - row * params.width;
  for (var i = first; i < first + STEP; i++) {
    if (row >= params.rows) { return; }
    let at = index[row] - params.windowStart; // wraps to a large number below the window
    if (at < params.windowRows) {
      let to = at * params.stride + params.offset + column;
      if (ADD) { x[to] += values[i]; } else { x[to] = values[i]; }
    }
    column++;
    if (column == params.width) {
      column = 0u;
      row++;
    }
  }
}
