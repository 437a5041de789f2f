enable subgroups;
// Layer norm over rows by whole subgroups (see layer-norm.wgsl): y = (x - mean) / sqrt(var + epsilon) · gamma + beta.
// Mean and squares come from one reading: each thread counts every column of its vectors from the first number that it sees there, so
// that the sum of squares loses nothing to a large mean, and the parts are put together exactly (Chan, Golub and LeVeque 1983).
//
// x [rows, width]   gamma [width]   beta [width]   y [rows, width]
// The width is a multiple of four. HAS_GAMMA and HAS_BETA say whether gamma and beta are used; what is bound in their place is not read.
//
// A team is ACROSS subgroups, SUBGROUP threads each; it does ROWS rows, at most SUBGROUP: first the sums of one after another, then CHUNK
// vectors a thread of all of them, so that gamma and beta are read once for all.
// Groups: ceil(rows / (ROWS · teams)), teams = WORKGROUP / (SUBGROUP · ACROSS). The order of every sum is fixed.
const WORKGROUP: u32 = 64u;
const SUBGROUP: u32 = 8u;
const ACROSS: u32 = 1u;
const ROWS: u32 = 1u;
const CHUNK: u32 = 1u;
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
  let firstTeam = (group.y * groups.x + group.x) * (WORKGROUP / stride);
  let team = firstTeam + local.x / stride;
  // A bound that is no constant keeps compilers from unrolling the loops over rows, which are long.
  let most = min(ROWS, params.rows - firstTeam * ROWS);
  let vectors = params.width / 4u;
  let own = f32((vectors + stride - 1u - lane) / stride); // vectors of this thread in a row
  let part = 1.0 / max(own, 1.0);

  // Thread r of each subgroup keeps what is found of row r. The mean is kept as centre + rest, so that rounding it costs nothing
  // where it is far from zero.
  var centres = 0.0;
  var rests = 0.0;
  var inverses = 0.0;
  for (var r = 0u; r < most; r++) {
    let start = min(team * ROWS + r, params.rows - 1u) * vectors;
    let origin = x[start + min(lane, vectors - 1u)];
    var sum = vec4f(0.0);
    var square = vec4f(0.0);
    var at = start + lane;
    for (; at + 3u * stride < start + vectors; at += 4u * stride) {
      let a = x[at] - origin;
      let b = x[at + stride] - origin;
      let c = x[at + 2u * stride] - origin;
      let d = x[at + 3u * stride] - origin;
      sum += (a + b) + (c + d);
      square += (a * a + b * b) + (c * c + d * d);
    }
    for (; at < start + vectors; at += stride) {
      let a = x[at] - origin;
      sum += a;
      square += a * a;
    }
    let mean = sum * part;
    let centre = teamSum(4.0 * own * dot(origin + mean, vec4f(0.25)), subgroup) / f32(params.width);
    let away = (origin - centre) + mean;
    let rest = teamSum(own * dot(away, vec4f(1.0)), subgroup) / f32(params.width);
    let between = away - rest;
    let squares = teamSum(dot(square - sum * mean + own * between * between, vec4f(1.0)), subgroup);
    if (ROWS == 1u || lane % SUBGROUP == r) {
      centres = centre;
      rests = rest;
      inverses = 1.0 / sqrt(squares / f32(params.width) + params.epsilon);
    }
  }

  for (var base = 0u; base < vectors; base += CHUNK * stride) {
    var scale: array<vec4f, CHUNK>;
    var shift: array<vec4f, CHUNK>;
    for (var c = 0u; c < CHUNK; c++) {
      scale[c] = vec4f(1.0);
      shift[c] = vec4f(0.0);
      let column = min(base + c * stride + lane, vectors - 1u);
      if (HAS_GAMMA) { scale[c] = gamma[column]; }
      if (HAS_BETA) { shift[c] = beta[column]; }
    }
    let full = base + CHUNK * stride <= vectors;
    for (var r = 0u; r < most; r++) {
      var centre = centres;
      var rest = rests;
      var inverse = inverses;
      if (ROWS > 1u) {
        centre = subgroupShuffle(centres, r);
        rest = subgroupShuffle(rests, r);
        inverse = subgroupShuffle(inverses, r);
      }
      if (team * ROWS + r < params.rows) {
        let at = (team * ROWS + r) * vectors + base + lane;
        if (full) {
          for (var c = 0u; c < CHUNK; c++) { y[at + c * stride] = ((x[at + c * stride] - centre) - rest) * inverse * scale[c] + shift[c]; }
        } else {
          for (var c = 0u; c < CHUNK; c++) {
            if (base + c * stride + lane < vectors) { y[at + c * stride] = ((x[at + c * stride] - centre) - rest) * inverse * scale[c] + shift[c]; }
          }
        }
      }
    }
  }
}
