// The non-zero values of each row of a mostly empty matrix, in the order of their columns:
//
//   index[r, s] = the column of row r's s-th non-zero value if INDEX,  value[r, s] = that value if VALUE
//   counts[r]   = how many there are
//
// binding 0  values  f32 [rows, length]
// binding 1  index   u32 [rows, length]; entries from counts[r] on are left as they were
// binding 2  value   f32 [rows, length]
// binding 3  counts  u32 [rows]
//
// NaN counts as non-zero. Needs: one read of the matrix, two where LANES > 1 and a list is wanted.
// Dispatch: LANES threads a row, a power of two up to WORKGROUP; with more than one, each takes a stretch of the row of its own, counts
// it, and writes from where the stretches before it end. One on software drivers: no barrier is left then.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 1u;
const INDEX: bool = true;
const VALUE: bool = false;

struct Params { rows: u32, length: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> value: array<f32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;

var<workgroup> parts: array<u32, WORKGROUP>;

fn put(at: u32, column: u32, v: f32) {
  if (INDEX) { index[at] = column; }
  if (VALUE) { value[at] = v; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let inside = item / LANES < params.rows;
  let row = min(item / LANES, params.rows - 1u); // a thread past the end works along, because of the barriers, and writes nothing
  let lane = local.x % LANES;
  let base = row * params.length;
  let stretch = (params.length + LANES - 1u) / LANES;
  let start = min(lane * stretch, params.length);
  let stop = min(start + stretch, params.length);

  var begin = 0u;
  if (LANES > 1u) {
    var mine = 0u;
    for (var column = start; column < stop; column++) { mine += select(0u, 1u, values[base + column] != 0.0); }
    parts[local.x] = mine;
    workgroupBarrier();
    let leader = local.x - lane;
    for (var other = 0u; other < lane; other++) { begin += parts[leader + other]; }
    if (inside && lane == LANES - 1u) { counts[row] = begin + mine; }
    if (!INDEX && !VALUE) { return; }
  }
  if (!inside) { return; }
  var end = base + begin;
  // Four columns a turn: in most turns none of them is active and nothing else happens.
  let whole = start + ((stop - start) & ~3u);
  for (var column = start; column < whole; column += 4u) {
    let at = base + column;
    let v = vec4f(values[at], values[at + 1u], values[at + 2u], values[at + 3u]);
    if (any(v != vec4f(0.0))) {
      if (v.x != 0.0) { put(end, column, v.x); end++; }
      if (v.y != 0.0) { put(end, column + 1u, v.y); end++; }
      if (v.z != 0.0) { put(end, column + 2u, v.z); end++; }
      if (v.w != 0.0) { put(end, column + 3u, v.w); end++; }
    }
  }
  for (var column = whole; column < stop; column++) {
    let v = values[base + column];
    if (v != 0.0) { put(end, column, v); end++; }
  }
  if (LANES == 1u) { counts[row] = end - base; }
}
