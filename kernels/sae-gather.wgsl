// Rows picked by index out of pools of examples, scaled, and padded or cut to another row length:
//
//   out[p, r, k] = scale[p] * data[p, index[first + r], k]    for k < width, 0 for width <= k < stride
//
// binding 0  data   f32 [pools, examples, source]; the first `width` numbers of a row count
// binding 1  index  u32 [at least first + rows]; not read if GATHER is false, where row r is taken as it stands
// binding 2  scale  f32 [pools]
// binding 3  out    f32 [pools, rows, stride]
//
// Dispatch: one thread for an element of out. An index beyond the examples reads the last one.
const WORKGROUP: u32 = 64u;
const GATHER: bool = true;

struct Params { pools: u32, rows: u32, examples: u32, first: u32, source: u32, width: u32, stride: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> data: array<f32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.pools * params.rows * params.stride) { return; }
  let line = item / params.stride;
  let column = item - line * params.stride;
  let pool = line / params.rows;
  var row = line - pool * params.rows;
  if (GATHER) { row = index[params.first + row]; }
  row = min(row, params.examples - 1u);
  var value = 0.0;
  if (column < params.width) { value = scale[pool] * data[(pool * params.examples + row) * params.source + column]; }
  out[item] = value;
}
