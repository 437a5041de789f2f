// Matrix product of any shape and layout, one output a thread; for sizes that the vec4 kernels cannot take.
//   out[z, i, column + j] = act(scale · Σ_k A[z, i, k] B[z, k, j] + bias[z, j]) + residual[z, i, j],   z < batch, i < m, j < n
//   0 a         [batch, m, k], or [batch, k, m] if TRANSPOSE_A; matrix z starts at z · a_batch
//   1 b         [batch, k, n], or [batch, n, k] if TRANSPOSE_B; matrix z starts at z · b_batch (0: one matrix for all)
//   2 bias      n numbers at z · bias_batch, read if BIAS
//   3 residual  [batch, m, n], read if RESIDUAL
//   4 out       rows of out_row numbers, matrix z at z · out_batch; columns [column, column + n) are written
// Dispatch: ceil(batch · m · n / WORKGROUP) workgroups, folded.
// Limits: none; tiles_m and tiles_n are not used
// a_batch, b_batch, bias_batch, out_batch, out_row and column count numbers, whatever the element type of a binding is.
const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = false;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const ACTIVATION: u32 = 0u; // 0 none, 1 ReLU, 2 GELU in GPT-2's tanh form
const WORKGROUP: u32 = 64u;
struct Params {
  batch: u32, m: u32, n: u32, k: u32,
  a_batch: u32, b_batch: u32, bias_batch: u32, out_batch: u32, out_row: u32, column: u32,
  tiles_m: u32, tiles_n: u32, scale: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
// tanh overflows in some drivers far from zero, where it is ±1 anyway.
fn activate(x: f32) -> f32 {
  if (ACTIVATION == 1u) { return max(x, 0.0); }
  if (ACTIVATION == 2u) { return 0.5 * x * (1.0 + tanh(clamp(0.7978845608028654 * (x + 0.044715 * x * x * x), -15.0, 15.0))); }
  return x;
}
@compute @workgroup_size(WORKGROUP) fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let j = id % params.n;
  let row = id / params.n;
  let i = row % params.m;
  let z = row / params.m;
  if (z >= params.batch) { return; }
  var from_a = z * params.a_batch + select(i * params.k, i, TRANSPOSE_A);
  var from_b = z * params.b_batch + select(j, j * params.k, TRANSPOSE_B);
  let step_a = select(1u, params.m, TRANSPOSE_A);
  let step_b = select(params.n, 1u, TRANSPOSE_B);
  var sum = 0.0;
  for (var k = 0u; k < params.k; k++) {
    sum = fma(a[from_a], b[from_b], sum);
    from_a += step_a;
    from_b += step_b;
  }
  sum *= params.scale;
  if (BIAS) { sum += bias[z * params.bias_batch + j]; }
  sum = activate(sum);
  if (RESIDUAL) { sum += residual[(z * params.m + i) * params.n + j]; }
  out[z * params.out_batch + i * params.out_row + params.column + j] = sum;
}
