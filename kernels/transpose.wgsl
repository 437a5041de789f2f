// The last two axes exchanged: y[b, c, r] = x[b, r, c].
//
// x [batch, rows, columns], of which elements xStart … xStart + xSize - 1 are bound
// y [batch, columns, rows], of which elements yStart … yStart + ySize - 1 are bound; what is not bound is skipped
// One thread: a block of 4 × 4 elements. Groups: ceil(batch · ceil(rows / 4) · ceil(columns / 4) / WORKGROUP).
const WORKGROUP: u32 = 64u;

struct Params { batch: u32, rows: u32, columns: u32, xStart: u32, xSize: u32, yStart: u32, ySize: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let thread = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let across = (params.columns + 3u) / 4u;
  let down = (params.rows + 3u) / 4u;
  let line = thread / across;
  let firstColumn = (thread - line * across) * 4u;
  let batch = line / down;
  let firstRow = (line - batch * down) * 4u;
  if (batch >= params.batch) { return; }
  let base = batch * params.rows * params.columns;
  for (var column = firstColumn; column < min(firstColumn + 4u, params.columns); column++) {
    for (var row = firstRow; row < min(firstRow + 4u, params.rows); row++) {
      let at = base + row * params.columns + column - params.xStart; // wraps to a large number before the window
      let to = base + column * params.rows + row - params.yStart;
      if (at < params.xSize && to < params.ySize) { y[to] = x[at]; }
    }
  }
}
