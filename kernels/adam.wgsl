// One step of Adam (Kingma & Ba 2015, algorithm 1) on the parameters of many models at once:
//
//   m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,   w ← w − factor * rate[D] * (m * correction1) / (√(v * correction2) + ε)
//
// with correction1 = 1 / (1 − β₁ᵗ) and correction2 = 1 / (1 − β₂ᵗ), computed in double precision by the caller.
//
// binding 0  parameter  f32 [models, size]
// binding 1  gradient   f32 [models, size]
// binding 2  first      f32 [models, size]   m
// binding 3  second     f32 [models, size]   v
// binding 4  rate       f32 [models]         each model's learning rate
//
// Dispatch: one thread a parameter.
const WORKGROUP: u32 = 64u;

struct Params {
  models: u32, size: u32, factor: f32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, correction1: f32, correction2: f32, epsilon: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> first: array<f32>;
@group(0) @binding(3) var<storage, read_write> second: array<f32>;
@group(0) @binding(4) var<storage, read> rate: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.models * params.size) { return; }
  let g = gradient[item];
  let m = params.beta1 * first[item] + params.rest1 * g;
  let v = params.beta2 * second[item] + params.rest2 * (g * g);
  first[item] = m;
  second[item] = v;
  let step = (m * params.correction1) / (sqrt(v * params.correction2) + params.epsilon);
  parameter[item] -= params.factor * rate[item / params.size] * step;
}
