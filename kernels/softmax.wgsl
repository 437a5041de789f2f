// Softmax over rows, stable for any finite input: y = exp(x - max) / Σ exp(x - max), or with LOG y = x - max - log Σ exp(x - max).
//
// x, y [rows, width]
//
// LANES neighbouring threads share a row (1 on software drivers: no barrier is left then; a power of two up to WORKGROUP).
// Groups: ceil(rows · LANES / WORKGROUP). The sum runs in fixed order: 64 terms a block, then the blocks, then a tree over lanes.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 1u;
const LOG: bool = false;
const BLOCK: u32 = 64u;

struct Params { rows: u32, width: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

var<workgroup> parts: array<f32, WORKGROUP>;

fn rowSum(value: f32, thread: u32) -> f32 {
  if (LANES == 1u) { return value; }
  parts[thread] = value;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (thread % LANES < step) { parts[thread] += parts[thread + step]; }
    workgroupBarrier();
  }
  let all = parts[thread - thread % LANES];
  workgroupBarrier();
  return all;
}
fn rowMax(value: f32, thread: u32) -> f32 {
  if (LANES == 1u) { return value; }
  parts[thread] = value;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (thread % LANES < step) { parts[thread] = max(parts[thread], parts[thread + step]); }
    workgroupBarrier();
  }
  let all = parts[thread - thread % LANES];
  workgroupBarrier();
  return all;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let block = group.y * groups.x + group.x;
  let mine = block * (WORKGROUP / LANES) + local.x / LANES;
  let row = min(mine, params.rows - 1u); // a thread past the end works along, because of the barriers, and writes nothing
  let lane = local.x % LANES;
  let start = row * params.width;
  let end = start + params.width;

  var top = x[start];
  for (var i = start + lane; i < end; i += LANES) { top = max(top, x[i]); }
  top = rowMax(top, local.x);
  var sum = 0.0;
  for (var base = start; base < end; base += BLOCK * LANES) {
    var part = 0.0;
    for (var i = base + lane; i < min(base + BLOCK * LANES, end); i += LANES) { part += exp(x[i] - top); }
    sum += part;
  }
  sum = rowSum(sum, local.x);
  if (mine >= params.rows) { return; }
  let shift = log(sum);
  let inverse = 1.0 / sum;
  for (var i = start + lane; i < end; i += LANES) {
    if (LOG) { y[i] = (x[i] - top) - shift; } else { y[i] = exp(x[i] - top) * inverse; }
  }
}
