// One step of Adam (Kingma & Ba 2015, algorithm 1) on the parameters of many models at once:
//
//   m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,   w ← w − factor * rate[D] * (m * correction1) / (√(v * correction2) + ε)
//
// with correction1 = 1 / (1 − β₁ᵗ) and correction2 = 1 / (1 − β₂ᵗ), computed in double precision by the caller.
//
// Bound are elements 4 start … 4 (start + count) − 1 of the whole; each model has 4 size of them, four to a vector:
// binding 0  parameter  f32 [models, 4 size]
// binding 1  gradient   f32 [models, 4 size]
// binding 2  first      f32 [models, 4 size]   m
// binding 3  second     f32 [models, 4 size]   v
// binding 4  rate       f32 [models]           each model's learning rate
// binding 5  clip       f32 [models]           what each model's gradient is multiplied by first, if CLIP; else anything
//
// One thread: PER_THREAD (1 or 2) neighbouring vectors; with 2 the size must be even, so that both are one model's.
// Groups: ceil(count / (WORKGROUP · PER_THREAD)). Every number is read once and written once.
const WORKGROUP: u32 = 64u;
const PER_THREAD: u32 = 1u;
const CLIP: bool = false;

struct Params {
  start: u32, count: u32, size: u32, factor: f32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, correction1: f32, correction2: f32, epsilon: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> parameter: array<vec4f>;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> first: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> second: array<vec4f>;
@group(0) @binding(4) var<storage, read> rate: array<f32>;
@group(0) @binding(5) var<storage, read> clip: array<f32>;

fn step(item: u32, pace: f32, scale: f32) {
  var g = gradient[item];
  if (CLIP) { g *= scale; }
  let m = params.beta1 * first[item] + params.rest1 * g;
  let v = params.beta2 * second[item] + params.rest2 * (g * g);
  let w = parameter[item];
  first[item] = m;
  second[item] = v;
  parameter[item] = w - pace * ((m * params.correction1) / (sqrt(v * params.correction2) + params.epsilon));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = ((group.y * groups.x + group.x) * WORKGROUP + local.x) * PER_THREAD;
  if (item >= params.count) { return; }
  let model = (params.start + item) / params.size;
  let pace = params.factor * rate[model];
  var scale = 1.0;
  if (CLIP) { scale = clip[model]; }
  step(item, pace, scale);
  if (PER_THREAD > 1u) { step(item + 1u, pace, scale); }
}
