// One number a row: y[r] = factor · Σ x[r, :] (OPERATION 0), max x[r, :] (1) or factor · Σ x[r, :]² (2).
//
// x [rows, width]   y [rows]
//
// LANES neighbouring threads share a row (1 on software drivers: no barrier is left then; a power of two up to WORKGROUP).
// Groups: ceil(rows · LANES / WORKGROUP). Sums run in fixed order: 64 terms a block, then the blocks, then a tree over lanes.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 1u;
const OPERATION: u32 = 0u;
const BLOCK: u32 = 64u;

struct Params { rows: u32, width: u32, factor: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

var<workgroup> parts: array<f32, WORKGROUP>;

fn combine(a: f32, b: f32) -> f32 {
  if (OPERATION == 1u) { return max(a, b); }
  return a + b;
}
fn term(value: f32) -> f32 {
  if (OPERATION == 2u) { return value * value; }
  return value;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let block = group.y * groups.x + group.x;
  let mine = block * (WORKGROUP / LANES) + local.x / LANES;
  let row = min(mine, params.rows - 1u); // a thread past the end works along, because of the barriers, and writes nothing
  let lane = local.x % LANES;
  let start = row * params.width;
  let end = start + params.width;

  var none = 0.0; // what changes nothing when it is combined
  if (OPERATION == 1u) { none = x[start]; }
  var all = none;
  for (var base = start; base < end; base += BLOCK * LANES) {
    var part = none;
    for (var i = base + lane; i < min(base + BLOCK * LANES, end); i += LANES) { part = combine(part, term(x[i])); }
    all = combine(all, part);
  }
  if (LANES > 1u) {
    parts[local.x] = all;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
      if (lane < step) { parts[local.x] = combine(parts[local.x], parts[local.x + step]); }
      workgroupBarrier();
    }
    all = parts[local.x - lane];
  }
  if (lane == 0u && mine < params.rows) {
    if (OPERATION == 1u) { y[row] = all; } else { y[row] = params.factor * all; }
  }
}
