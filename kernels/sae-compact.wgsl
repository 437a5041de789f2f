// The non-zero values of each row of a mostly empty matrix, in the order of their columns:
//
//   index[r, s] = the column of row r's s-th non-zero value,  value[r, s] = that value,  counts[r] = how many there are
//   totals[r]  += counts[r]    if TOTAL
//
// binding 0  values  f32 [rows, stride], columns 0 to length − 1 are looked at
// binding 1  index   u32 [rows, stride]; entries from counts[r] on are left as they were
// binding 2  value   f32 [rows, stride]
// binding 3  counts  u32 [rows]
// binding 4  totals  u32 [rows]
//
// Dispatch: one thread a row. NaN counts as non-zero.
const WORKGROUP: u32 = 64u;
const TOTAL: bool = false;

struct Params { rows: u32, length: u32, stride: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> value: array<f32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> totals: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (row >= params.rows) { return; }
  let base = row * params.stride;
  let whole = params.length & ~3u;
  var end = base;
  // Four columns a turn: in most turns none of them is active and nothing else happens.
  for (var column = 0u; column < whole; column += 4u) {
    let at = base + column;
    let v = vec4f(values[at], values[at + 1u], values[at + 2u], values[at + 3u]);
    if (any(v != vec4f(0.0))) {
      if (v.x != 0.0) { index[end] = column; value[end] = v.x; end++; }
      if (v.y != 0.0) { index[end] = column + 1u; value[end] = v.y; end++; }
      if (v.z != 0.0) { index[end] = column + 2u; value[end] = v.z; end++; }
      if (v.w != 0.0) { index[end] = column + 3u; value[end] = v.w; end++; }
    }
  }
  for (var column = whole; column < params.length; column++) {
    let v = values[base + column];
    if (v != 0.0) { index[end] = column; value[end] = v; end++; }
  }
  counts[row] = end - base;
  if (TOTAL) { totals[row] += end - base; }
}
