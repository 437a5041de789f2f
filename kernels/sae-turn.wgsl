// Matrices turned over: out[D, k, r] = x[D, r, k].
//
// binding 0  x    f32 [dictionaries, rows, width]
// binding 1  out  f32 [dictionaries, width, rows]
//
// A product whose sum runs along the rows of both its matrices reads too many far places at a time for a CPU's cache; one of them turned
// over, it is a fifth quicker there. Dispatch: one thread for ROWS rows of a column; neighbouring threads at neighbouring columns.
const WORKGROUP: u32 = 64u;
const ROWS: u32 = 8u;

struct Params { dictionaries: u32, rows: u32, width: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let blocks = (params.rows + ROWS - 1u) / ROWS;
  let block = item / params.width;
  let k = item - block * params.width;
  let dictionary = block / blocks;
  if (dictionary >= params.dictionaries) { return; }
  let row = (block - dictionary * blocks) * ROWS;
  let end = min(row + ROWS, params.rows);
  var at = (dictionary * params.rows + row) * params.width + k;
  let to = (dictionary * params.width + k) * params.rows;
  for (var r = row; r < end; r++) {
    out[to + r] = x[at];
    at += params.width;
  }
}
