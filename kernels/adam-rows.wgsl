// One step of Adam on matrices whose rows have unit length, for many models at once:
//
//   g ← g − (g·w / w·w) w   for each row w, if PROJECT: what would only change the row's length is removed before the step
//   m, v, w ← Adam's step with g (see adam.wgsl)
//   w ← w / ‖w‖             for each row, if NORMALISE; a row of zeros stays
//
// binding 0  parameter  f32 [models, rows, width]
// binding 1  gradient   f32 [models, rows, width]
// binding 2  first      f32 [models, rows, width]   m
// binding 3  second     f32 [models, rows, width]   v
// binding 4  rate       f32 [models]                each model's learning rate
// binding 5  clip       f32 [models]                what each model's gradient is multiplied by first, if CLIP; else anything
//
// Bound are rows firstRow … firstRow + count − 1 of all models' rows.
//
// Dispatch: one thread a row.
const WORKGROUP: u32 = 64u;
const PROJECT: bool = true;
const NORMALISE: bool = true;
const CLIP: bool = false;

struct Params {
  firstRow: u32, count: u32, rows: u32, width: u32, factor: f32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, correction1: f32, correction2: f32, epsilon: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> first: array<f32>;
@group(0) @binding(3) var<storage, read_write> second: array<f32>;
@group(0) @binding(4) var<storage, read> rate: array<f32>;
@group(0) @binding(5) var<storage, read> clip: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (row >= params.count) { return; }
  let begin = row * params.width;
  let end = begin + params.width;
  var along = 0.0;
  if (PROJECT) {
    var dot = 0.0;
    var square = 0.0;
    for (var i = begin; i < end; i++) {
      let w = parameter[i];
      dot = fma(w, gradient[i], dot);
      square = fma(w, w, square);
    }
    if (square > 0.0) { along = dot / square; }
  }
  let model = (params.firstRow + row) / params.rows;
  let pace = params.factor * rate[model];
  var scale = 1.0;
  if (CLIP) { scale = clip[model]; }
  var square = 0.0;
  for (var i = begin; i < end; i++) {
    let w = parameter[i];
    var g = gradient[i] - along * w;
    if (CLIP) { g *= scale; }
    let m = params.beta1 * first[i] + params.rest1 * g;
    let v = params.beta2 * second[i] + params.rest2 * (g * g);
    first[i] = m;
    second[i] = v;
    let next = w - pace * (m * params.correction1) / (sqrt(v * params.correction2) + params.epsilon);
    parameter[i] = next;
    square = fma(next, next, square);
  }
  if (NORMALISE && square > 0.0) {
    let unit = 1.0 / sqrt(square);
    for (var i = begin; i < end; i++) { parameter[i] *= unit; }
  }
}
