// Adam's step (see adam.wgsl) where a model's parameters are no multiple of four, or start in the midst of four.
//
// Bound are elements start … start + count − 1 of the whole:
// binding 0  parameter  f32 [models, size]
// binding 1  gradient   f32 [models, size]
// binding 2  first      f32 [models, size]   m
// binding 3  second     f32 [models, size]   v
// binding 4  rate       f32 [models]         each model's learning rate
// binding 5  clip       f32 [models]         what each model's gradient is multiplied by first, if CLIP; else anything
//
// One thread: one parameter. Groups: ceil(count / WORKGROUP).
const WORKGROUP: u32 = 256u;
const CLIP: bool = false;

struct Params {
  start: u32, count: u32, size: u32, factor: f32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, correction1: f32, correction2: f32, epsilon: f32,
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
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.count) { return; }
  let model = (params.start + item) / params.size;
  var g = gradient[item];
  if (CLIP) { g *= clip[model]; }
  let m = params.beta1 * first[item] + params.rest1 * g;
  let v = params.beta2 * second[item] + params.rest2 * (g * g);
  let w = parameter[item];
  first[item] = m;
  second[item] = v;
  parameter[item] = w - params.factor * rate[model] * ((m * params.correction1) / (sqrt(v * params.correction2) + params.epsilon));
}
