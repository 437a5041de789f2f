enable subgroups;
// One step of Adam on matrices whose rows have unit length, by whole subgroups (see adam-rows.wgsl): what would only change a row's length is
// taken off the gradient if PROJECT, Adam's step is done, and the row is brought back to unit length if NORMALISE.
//
// binding 0  parameter  f32 [models, rows, 4 width]   four numbers to a vector
// binding 1  gradient   f32 [models, rows, 4 width]
// binding 2  first      f32 [models, rows, 4 width]   m
// binding 3  second     f32 [models, rows, 4 width]   v
// binding 4  rate       f32 [models]                  each model's learning rate
// binding 5  clip       f32 [models]                  what each model's gradient is multiplied by first, if CLIP; else anything
// Bound are rows firstRow … firstRow + count − 1 of all models' rows; width counts vectors.
//
// A subgroup does one row. With HELD > 0 each thread keeps its HELD vectors of the row (SUBGROUP · HELD ≥ width), so that every number is
// read once and written once; with 0 parameter and gradient are read twice, and the parameter written twice.
// Groups: ceil(count · SUBGROUP / WORKGROUP). The order of every sum is fixed.
const WORKGROUP: u32 = 64u;
const SUBGROUP: u32 = 8u;
const HELD: u32 = 0u;
const PROJECT: bool = true;
const NORMALISE: bool = true;
const CLIP: bool = false;

struct Params {
  firstRow: u32, count: u32, rows: u32, width: u32,
  factor: f32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, correction1: f32, correction2: f32, epsilon: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> parameter: array<vec4f>;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> first: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> second: array<vec4f>;
@group(0) @binding(4) var<storage, read> rate: array<f32>;
@group(0) @binding(5) var<storage, read> clip: array<f32>;

fn rowSum(value: vec4f) -> f32 {
  var sum = dot(value, vec4f(1.0));
  for (var step = SUBGROUP / 2u; step > 0u; step /= 2u) { sum += subgroupShuffleXor(sum, step); }
  return sum;
}

// The parameter after the step; the moments are written.
fn stepped(item: u32, w: vec4f, whole: vec4f, pace: f32, shrink: f32) -> vec4f {
  var g = whole;
  if (CLIP) { g *= shrink; }
  let m = params.beta1 * first[item] + params.rest1 * g;
  let v = params.beta2 * second[item] + params.rest2 * (g * g);
  first[item] = m;
  second[item] = v;
  return w - pace * ((m * params.correction1) / (sqrt(v * params.correction2) + params.epsilon));
}

fn scaleFor(square: f32) -> f32 {
  return select(1.0, 1.0 / sqrt(square), square > 0.0);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let mine = (group.y * groups.x + group.x) * (WORKGROUP / SUBGROUP) + local.x / SUBGROUP;
  let lane = local.x % SUBGROUP;
  let inside = mine < params.count; // a thread past the end works along and writes nothing
  let row = min(mine, params.count - 1u);
  let model = (params.firstRow + row) / params.rows;
  let pace = params.factor * rate[model];
  var shrink = 1.0;
  if (CLIP) { shrink = clip[model]; }
  let start = row * params.width;
  let end = start + params.width;

  if (HELD > 0u) {
    var w: array<vec4f, max(HELD, 1u)>;
    var g: array<vec4f, max(HELD, 1u)>;
    var dots = vec4f(0.0);
    var squares = vec4f(0.0);
    for (var i = 0u; i < HELD; i++) {
      let at = start + i * SUBGROUP + lane;
      let known = select(0.0, 1.0, at < end);
      w[i] = known * parameter[min(at, end - 1u)];
      g[i] = known * gradient[min(at, end - 1u)];
      dots += w[i] * g[i];
      squares += w[i] * w[i];
    }
    if (PROJECT) {
      let square = rowSum(squares);
      let along = select(0.0, rowSum(dots) / square, square > 0.0);
      for (var i = 0u; i < HELD; i++) { g[i] -= along * w[i]; }
    }
    squares = vec4f(0.0);
    for (var i = 0u; i < HELD; i++) {
      let at = start + i * SUBGROUP + lane;
      if (inside && at < end) {
        w[i] = stepped(at, w[i], g[i], pace, shrink);
        squares += w[i] * w[i];
      }
    }
    var scale = 1.0;
    if (NORMALISE) { scale = scaleFor(rowSum(squares)); }
    for (var i = 0u; i < HELD; i++) {
      let at = start + i * SUBGROUP + lane;
      if (inside && at < end) { parameter[at] = w[i] * scale; }
    }
    return;
  }

  var along = 0.0;
  if (PROJECT) {
    var dots = vec4f(0.0);
    var squares = vec4f(0.0);
    for (var at = start + lane; at < end; at += SUBGROUP) {
      let w = parameter[at];
      dots += w * gradient[at];
      squares += w * w;
    }
    let square = rowSum(squares);
    along = select(0.0, rowSum(dots) / square, square > 0.0);
  }
  var squares = vec4f(0.0);
  if (inside) {
    for (var at = start + lane; at < end; at += SUBGROUP) {
      let w = parameter[at];
      let next = stepped(at, w, gradient[at] - along * w, pace, shrink);
      parameter[at] = next;
      squares += next * next;
    }
  }
  if (NORMALISE) {
    let scale = scaleFor(rowSum(squares));
    if (inside) {
      for (var at = start + lane; at < end; at += SUBGROUP) { parameter[at] *= scale; }
    }
  }
}
