// Matrix product in registers: a thread makes 8 rows of 4 columns in named accumulators; no barriers. For software drivers.
//   out[z, i, column + j] = act(scale · Σ_k A[z, i, k] B[z, k, j] + bias[z, j]) + residual[z, i, j],   z < batch, i < m, j < n
//   0 a         [batch, m, k], or [batch, k, m] if TRANSPOSE_A; matrix z starts at z · a_batch
//   1 b         [batch, k, n] in vec4s; matrix z starts at z · b_batch (0: one matrix for all)
//   2 bias      n numbers at z · bias_batch, read if BIAS
//   3 residual  [batch, m, n], read if RESIDUAL
//   4 out       rows of out_row numbers, matrix z at z · out_batch; columns [column, column + n) are written
// Dispatch: batch · tiles_m · tiles_n workgroups; tiles_m = ceil(m / (8 · HEIGHT)), tiles_n = ceil(n / (4 · WIDTH)), folded.
// Limits: n, b_batch, bias_batch, out_batch, out_row and column are multiples of 4
// a_batch, b_batch, bias_batch, out_batch, out_row and column count numbers, whatever the element type of a binding is.
const TRANSPOSE_A: bool = false;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const ACTIVATION: u32 = 0u; // 0 none, 1 ReLU, 2 GELU in GPT-2's tanh form
const WIDTH: u32 = 8u;
const HEIGHT: u32 = 8u;
struct Params {
  batch: u32, m: u32, n: u32, k: u32,
  a_batch: u32, b_batch: u32, bias_batch: u32, out_batch: u32, out_row: u32, column: u32,
  tiles_m: u32, tiles_n: u32, scale: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
// tanh overflows in some drivers far from zero, where it is ±1 anyway.
fn activate(x: vec4f) -> vec4f {
  if (ACTIVATION == 1u) { return max(x, vec4f()); }
  if (ACTIVATION == 2u) { return 0.5 * x * (1.0 + tanh(clamp(0.7978845608028654 * (x + 0.044715 * x * x * x), vec4f(-15.0), vec4f(15.0)))); }
  return x;
}
fn store(z: u32, i: u32, j4: u32, sum: vec4f) {
  if (i >= params.m) { return; }
  let n4 = params.n / 4u;
  var value = sum * params.scale;
  if (BIAS) { value += bias[z * (params.bias_batch / 4u) + j4]; }
  value = activate(value);
  if (RESIDUAL) { value += residual[(z * params.m + i) * n4 + j4]; }
  out[z * (params.out_batch / 4u) + i * (params.out_row / 4u) + params.column / 4u + j4] = value;
}
@compute @workgroup_size(WIDTH, HEIGHT) fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let id = group.y * groups.x + group.x;
  let tile_n = id % params.tiles_n;
  let tile_m = (id / params.tiles_n) % params.tiles_m;
  let z = id / (params.tiles_n * params.tiles_m);
  if (z >= params.batch) { return; }
  let i = (tile_m * HEIGHT + local.y) * 8u;
  let n4 = params.n / 4u;
  let j4 = tile_n * WIDTH + local.x;
  if (i >= params.m || j4 >= n4) { return; }
  // Rows beyond the last read the last row again; they are not stored.
  let last = params.m - 1u;
  let row = select(params.k, 1u, TRANSPOSE_A);
  let step = select(1u, params.m, TRANSPOSE_A);
  let a0 = z * params.a_batch;
  var at0 = a0 + min(i + 0u, last) * row;
  var at1 = a0 + min(i + 1u, last) * row;
  var at2 = a0 + min(i + 2u, last) * row;
  var at3 = a0 + min(i + 3u, last) * row;
  var at4 = a0 + min(i + 4u, last) * row;
  var at5 = a0 + min(i + 5u, last) * row;
  var at6 = a0 + min(i + 6u, last) * row;
  var at7 = a0 + min(i + 7u, last) * row;
  var at = z * (params.b_batch / 4u) + j4;
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var k = 0u; k < params.k; k++) {
    let y = b[at];
    at += n4;
    s0 = fma(vec4f(a[at0]), y, s0); at0 += step;
    s1 = fma(vec4f(a[at1]), y, s1); at1 += step;
    s2 = fma(vec4f(a[at2]), y, s2); at2 += step;
    s3 = fma(vec4f(a[at3]), y, s3); at3 += step;
    s4 = fma(vec4f(a[at4]), y, s4); at4 += step;
    s5 = fma(vec4f(a[at5]), y, s5); at5 += step;
    s6 = fma(vec4f(a[at6]), y, s6); at6 += step;
    s7 = fma(vec4f(a[at7]), y, s7); at7 += step;
  }
  store(z, i + 0u, j4, s0);
  store(z, i + 1u, j4, s1);
  store(z, i + 2u, j4, s2);
  store(z, i + 3u, j4, s3);
  store(z, i + 4u, j4, s4);
  store(z, i + 5u, j4, s5);
  store(z, i + 6u, j4, s6);
  store(z, i + 7u, j4, s7);
}
