enable subgroups;
// Layer norm over rows by whole subgroups (see layer-norm.wgsl): y = (x - mean) / sqrt(var + epsilon) · gamma + beta.
// Mean and squares come from one reading without loss: each thread and column of a vector updates its own mean and its own sum of
// squared distances (Welford 1962), and those are put together exactly (Chan, Golub and LeVeque 1983).
//
// x [rows, width]   gamma [width]   beta [width]   y [rows, width]
// The width is a multiple of four. HAS_GAMMA and HAS_BETA say whether gamma and beta are used; what is bound in their place is not read.
//
// A team is ACROSS subgroups, SUBGROUP threads each; it does ROWS rows side by side, so that gamma and beta are read once for all.
// Groups: ceil(rows / (ROWS · teams)), teams = WORKGROUP / (SUBGROUP · ACROSS). The order of every sum is fixed.
const WORKGROUP: u32 = 64u;
const SUBGROUP: u32 = 8u;
const ACROSS: u32 = 1u;
const ROWS: u32 = 1u;
const HAS_GAMMA: bool = true;
const HAS_BETA: bool = true;

struct Params { rows: u32, width: u32, epsilon: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> gamma: array<vec4f>;
@group(0) @binding(2) var<storage, read> beta: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

var<workgroup> parts: array<f32, WORKGROUP / SUBGROUP>;

// The sum over a team; every thread of the workgroup takes part.
fn teamSum(value: f32, subgroup: u32) -> f32 {
  var sum = value;
  for (var step = SUBGROUP / 2u; step > 0u; step /= 2u) { sum += subgroupShuffleXor(sum, step); }
  if (ACROSS > 1u) {
    parts[subgroup] = sum;
    workgroupBarrier();
    let begin = subgroup - subgroup % ACROSS;
    sum = parts[begin];
    for (var i = 1u; i < ACROSS; i++) { sum += parts[begin + i]; }
    workgroupBarrier();
  }
  return sum;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let subgroup = local.x / SUBGROUP;
  let stride = SUBGROUP * ACROSS;
  let lane = local.x % stride;
  let team = (group.y * groups.x + group.x) * (WORKGROUP / stride) + local.x / stride;
  let vectors = params.width / 4u;
  var start: array<u32, ROWS>;
  var mean: array<vec4f, ROWS>;
  var square: array<vec4f, ROWS>;
  for (var r = 0u; r < ROWS; r++) { start[r] = min(team * ROWS + r, params.rows - 1u) * vectors; }

  // Means are counted from each thread's first vector, so that what is rounded again and again is as small as the spread.
  var origin: array<vec4f, ROWS>;
  for (var r = 0u; r < ROWS; r++) { origin[r] = x[start[r] + min(lane, vectors - 1u)]; }
  var seen = 0.0;
  for (var column = lane; column < vectors; column += stride) {
    seen += 1.0;
    let share = 1.0 / seen;
    for (var r = 0u; r < ROWS; r++) {
      let value = x[start[r] + column] - origin[r];
      let before = value - mean[r];
      mean[r] += before * share;
      square[r] += before * (value - mean[r]);
    }
  }
  // The mean is kept as centre + rest, so that rounding it costs nothing where it is far from zero.
  var centre: array<f32, ROWS>;
  var rest: array<f32, ROWS>;
  var inverse: array<f32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    centre[r] = teamSum(4.0 * seen * dot(origin[r] + mean[r], vec4f(0.25)), subgroup) / f32(params.width);
    let away = (origin[r] - centre[r]) + mean[r];
    let here = dot(away, vec4f(0.25));
    let apart = away - here;
    rest[r] = teamSum(4.0 * seen * here, subgroup) / f32(params.width);
    let between = here - rest[r];
    let squares = teamSum(dot(square[r] + seen * apart * apart, vec4f(1.0)) + 4.0 * seen * between * between, subgroup);
    inverse[r] = 1.0 / sqrt(squares / f32(params.width) + params.epsilon);
  }
  for (var column = lane; column < vectors; column += stride) {
    var scale = vec4f(1.0);
    var shift = vec4f(0.0);
    if (HAS_GAMMA) { scale = gamma[column]; }
    if (HAS_BETA) { shift = beta[column]; }
    for (var r = 0u; r < ROWS; r++) {
      if (team * ROWS + r < params.rows) {
        y[start[r] + column] = ((x[start[r] + column] - centre[r]) - rest[r]) * inverse[r] * scale + shift;
      }
    }
  }
}
