// Matrix product with B stored by output column: a thread makes 4 rows by 4 columns, four products of k at a time; no barriers.
//   out[z, i, column + j] = act(scale · Σ_k A[z, i, k] B[z, k, j] + bias[z, j]) + residual[z, i, j],   z < batch, i < m, j < n
//   0 a         [batch, m, k] in vec4s; matrix z starts at z · a_batch
//   1 b         [batch, n, k] in vec4s; matrix z starts at z · b_batch (0: one matrix for all)
//   2 bias      n numbers at z · bias_batch, read if BIAS
//   3 residual  [batch, m, n], read if RESIDUAL
//   4 out       rows of out_row numbers, matrix z at z · out_batch; columns [column, column + n) are written
// Dispatch: batch · tiles_m · tiles_n workgroups; tiles_m = ceil(m / (4 · HEIGHT)), tiles_n = ceil(n / (4 · WIDTH)), folded.
// Limits: k, a_batch and b_batch are multiples of 4
// a_batch, b_batch, bias_batch, out_batch, out_row and column count numbers, whatever the element type of a binding is.
const BIAS: bool = false;
const RESIDUAL: bool = false;
const ACTIVATION: u32 = 0u; // 0 none, 1 ReLU, 2 GELU in GPT-2's tanh form
const WIDTH: u32 = 4u;
const HEIGHT: u32 = 8u;
struct Params {
  batch: u32, m: u32, n: u32, k: u32,
  a_batch: u32, b_batch: u32, bias_batch: u32, out_batch: u32, out_row: u32, column: u32,
  tiles_m: u32, tiles_n: u32, scale: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
// tanh overflows in some drivers far from zero, where it is ±1 anyway.
fn activate(x: f32) -> f32 {
  if (ACTIVATION == 1u) { return max(x, 0.0); }
  if (ACTIVATION == 2u) { return 0.5 * x * (1.0 + tanh(clamp(0.7978845608028654 * (x + 0.044715 * x * x * x), -15.0, 15.0))); }
  return x;
}
fn store(z: u32, i: u32, j: u32, products: vec4f) {
  if (i >= params.m || j >= params.n) { return; }
  var value = ((products.x + products.y) + (products.z + products.w)) * params.scale;
  if (BIAS) { value += bias[z * params.bias_batch + j]; }
  value = activate(value);
  if (RESIDUAL) { value += residual[(z * params.m + i) * params.n + j]; }
  out[z * params.out_batch + i * params.out_row + params.column + j] = value;
}
@compute @workgroup_size(WIDTH, HEIGHT) fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let id = group.y * groups.x + group.x;
  let tile_n = id % params.tiles_n;
  let tile_m = (id / params.tiles_n) % params.tiles_m;
  let z = id / (params.tiles_n * params.tiles_m);
  if (z >= params.batch) { return; }
  let i = (tile_m * HEIGHT + local.y) * 4u;
  // Columns of a thread lie WIDTH apart, so that neighbours store side by side.
  let j = tile_n * WIDTH * 4u + local.x;
  if (i >= params.m) { return; }
  let k4 = params.k / 4u;
  let last_i = params.m - 1u;
  let last_j = params.n - 1u;
  let a0 = z * (params.a_batch / 4u) + min(i + 0u, last_i) * k4;
  let a1 = z * (params.a_batch / 4u) + min(i + 1u, last_i) * k4;
  let a2 = z * (params.a_batch / 4u) + min(i + 2u, last_i) * k4;
  let a3 = z * (params.a_batch / 4u) + min(i + 3u, last_i) * k4;
  let b0 = z * (params.b_batch / 4u) + min(j + 0u * WIDTH, last_j) * k4;
  let b1 = z * (params.b_batch / 4u) + min(j + 1u * WIDTH, last_j) * k4;
  let b2 = z * (params.b_batch / 4u) + min(j + 2u * WIDTH, last_j) * k4;
  let b3 = z * (params.b_batch / 4u) + min(j + 3u * WIDTH, last_j) * k4;
  var s00 = vec4f(); var s01 = vec4f(); var s02 = vec4f(); var s03 = vec4f();
  var s10 = vec4f(); var s11 = vec4f(); var s12 = vec4f(); var s13 = vec4f();
  var s20 = vec4f(); var s21 = vec4f(); var s22 = vec4f(); var s23 = vec4f();
  var s30 = vec4f(); var s31 = vec4f(); var s32 = vec4f(); var s33 = vec4f();
  for (var k = 0u; k < k4; k++) {
    let y0 = b[b0 + k];
    let y1 = b[b1 + k];
    let y2 = b[b2 + k];
    let y3 = b[b3 + k];
    let x0 = a[a0 + k];
    s00 = fma(x0, y0, s00); s01 = fma(x0, y1, s01); s02 = fma(x0, y2, s02); s03 = fma(x0, y3, s03);
    let x1 = a[a1 + k];
    s10 = fma(x1, y0, s10); s11 = fma(x1, y1, s11); s12 = fma(x1, y2, s12); s13 = fma(x1, y3, s13);
    let x2 = a[a2 + k];
    s20 = fma(x2, y0, s20); s21 = fma(x2, y1, s21); s22 = fma(x2, y2, s22); s23 = fma(x2, y3, s23);
    let x3 = a[a3 + k];
    s30 = fma(x3, y0, s30); s31 = fma(x3, y1, s31); s32 = fma(x3, y2, s32); s33 = fma(x3, y3, s33);
  }
  store(z, i + 0u, j + 0u * WIDTH, s00); store(z, i + 0u, j + 1u * WIDTH, s01); store(z, i + 0u, j + 2u * WIDTH, s02); store(z, i + 0u, j + 3u * WIDTH, s03);
  store(z, i + 1u, j + 0u * WIDTH, s10); store(z, i + 1u, j + 1u * WIDTH, s11); store(z, i + 1u, j + 2u * WIDTH, s12); store(z, i + 1u, j + 3u * WIDTH, s13);
  store(z, i + 2u, j + 0u * WIDTH, s20); store(z, i + 2u, j + 1u * WIDTH, s21); store(z, i + 2u, j + 2u * WIDTH, s22); store(z, i + 2u, j + 3u * WIDTH, s23);
  store(z, i + 3u, j + 0u * WIDTH, s30); store(z, i + 3u, j + 1u * WIDTH, s31); store(z, i + 3u, j + 2u * WIDTH, s32); store(z, i + 3u, j + 3u * WIDTH, s33);
}
