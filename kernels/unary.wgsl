// Element by element: out = scale · x + shift (OPERATION 0), max(x, 0) (1), exp(x) (3) or GELU in its tanh form (2, Hendrycks and Gimpel
// 2016): ½ x (1 + tanh u) with u = √(2/π) (x + 0.044715 x³), written as x / (1 + exp(-2u)), which cannot overflow into NaN.
//
// x, out [size]. One thread: four elements, WORKGROUP apart. Groups: ceil(size / (4 · WORKGROUP)).
const WORKGROUP: u32 = 64u;
const OPERATION: u32 = 0u;

struct Params { size: u32, scale: f32, shift: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

fn value(v: f32) -> f32 {
  if (OPERATION == 1u) { return max(v, 0.0); }
  if (OPERATION == 2u) {
    let u = 0.7978845608 * (v + 0.044715 * v * v * v);
    return v / (1.0 + exp(min(-2.0 * u, 80.0)));
  }
  if (OPERATION == 3u) { return exp(v); }
  return params.scale * v + params.shift;
}
fn element(i: u32) {
  if (i < params.size) { out[i] = value(x[i]); }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * (4u * WORKGROUP) + local.x;
  element(i);
  element(i + WORKGROUP);
  element(i + 2u * WORKGROUP);
  element(i + 3u * WORKGROUP);
}
