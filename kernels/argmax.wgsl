// Index of the largest element of each row; the lowest index wins ties.
//
// x [rows, width]   best [rows]
//
// LANES neighbouring threads share a row (1 on software drivers: no barrier is left then; a power of two up to WORKGROUP).
// Groups: ceil(rows · LANES / WORKGROUP).
const WORKGROUP: u32 = 64u;
const LANES: u32 = 1u;

struct Params { rows: u32, width: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> best: array<u32>;

var<workgroup> tops: array<f32, WORKGROUP>;
var<workgroup> columns: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let block = group.y * groups.x + group.x;
  let mine = block * (WORKGROUP / LANES) + local.x / LANES;
  let row = min(mine, params.rows - 1u); // a thread past the end works along, because of the barriers, and writes nothing
  let lane = local.x % LANES;
  let start = row * params.width;

  var column = min(lane, params.width - 1u);
  var top = x[start + column];
  for (var i = lane + LANES; i < params.width; i += LANES) {
    let value = x[start + i];
    if (value > top) {
      top = value;
      column = i;
    }
  }
  if (LANES > 1u) {
    tops[local.x] = top;
    columns[local.x] = column;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
      if (lane < step) {
        let other = tops[local.x + step];
        let otherColumn = columns[local.x + step];
        if (other > tops[local.x] || (other == tops[local.x] && otherColumn < columns[local.x])) {
          tops[local.x] = other;
          columns[local.x] = otherColumn;
        }
      }
      workgroupBarrier();
    }
    column = columns[local.x - lane];
  }
  if (lane == 0u && mine < params.rows) { best[row] = column; }
}
