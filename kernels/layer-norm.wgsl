// Layer norm over rows: y = (x - mean) / sqrt(var + epsilon) · gamma + beta, with var = mean((x - mean)²) (Ba et al. 2016).
// With SCALE_ONLY it writes sqrt(var + epsilon) of each row instead. Two passes, so that a large mean costs no precision.
//
// x [rows, width]   gamma [width]   beta [width]   y [rows, width], or [rows] with SCALE_ONLY
// HAS_GAMMA and HAS_BETA say whether gamma and beta are used; what is bound in their place is not read.
//
// LANES neighbouring threads share a row (1 on software drivers: no barrier is left then; a power of two up to WORKGROUP).
// Groups: ceil(rows · LANES / WORKGROUP). Sums run in fixed order: 64 terms a block, then the blocks, then a tree over lanes.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 1u;
const HAS_GAMMA: bool = true;
const HAS_BETA: bool = true;
const SCALE_ONLY: bool = false;
const BLOCK: u32 = 64u;

struct Params { rows: u32, width: u32, epsilon: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gamma: array<f32>;
@group(0) @binding(2) var<storage, read> beta: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> parts: array<f32, WORKGROUP>;

// The sum of `value` over the threads that share a row.
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

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let block = group.y * groups.x + group.x;
  let mine = block * (WORKGROUP / LANES) + local.x / LANES;
  let row = min(mine, params.rows - 1u); // a thread past the end works along, because of the barriers, and writes nothing
  let lane = local.x % LANES;
  let start = row * params.width;
  let end = start + params.width;

  var sum = 0.0;
  for (var base = start; base < end; base += BLOCK * LANES) {
    var part = 0.0;
    for (var i = base + lane; i < min(base + BLOCK * LANES, end); i += LANES) { part += x[i]; }
    sum += part;
  }
  let mean = rowSum(sum, local.x) / f32(params.width);
  sum = 0.0;
  for (var base = start; base < end; base += BLOCK * LANES) {
    var part = 0.0;
    for (var i = base + lane; i < min(base + BLOCK * LANES, end); i += LANES) {
      let difference = x[i] - mean;
      part += difference * difference;
    }
    sum += part;
  }
  let scale = sqrt(rowSum(sum, local.x) / f32(params.width) + params.epsilon);
  if (mine >= params.rows) { return; }
  if (SCALE_ONLY) {
    if (lane == 0u) { y[row] = scale; }
    return;
  }
  let inverse = 1.0 / scale;
  for (var column = lane; column < params.width; column += LANES) {
    var value = (x[start + column] - mean) * inverse;
    if (HAS_GAMMA) { value *= gamma[column]; }
    if (HAS_BETA) { value += beta[column]; }
    y[start + column] = value;
  }
}
