// Matrix product through workgroup memory: 16 × 16 threads make a tile of 64 × 64, a thread 4 rows of 4 columns; k in steps of 16. For real GPUs.
//   out[z, i, column + j] = act(scale · Σ_k A[z, i, k] B[z, k, j] + bias[z, j]) + residual[z, i, j],   z < batch, i < m, j < n
//   0 a         [batch, m, k], or [batch, k, m] if TRANSPOSE_A; matrix z starts at z · a_batch
//   1 b         [batch, k, n], or [batch, n, k] if TRANSPOSE_B; matrix z starts at z · b_batch (0: one matrix for all)
//   2 bias      n numbers at z · bias_batch, read if BIAS
//   3 residual  [batch, m, n], read if RESIDUAL
//   4 out       rows of out_row numbers, matrix z at z · out_batch; columns [column, column + n) are written
// Dispatch: batch · tiles_m · tiles_n workgroups; tiles_m = ceil(m / 64), tiles_n = ceil(n / 64), folded.
// Limits: 256 invocations a workgroup, 8 KiB of workgroup memory; any shape
// a_batch, b_batch, bias_batch, out_batch, out_row and column count numbers, whatever the element type of a binding is.
const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = false;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const ACTIVATION: u32 = 0u; // 0 none, 1 ReLU, 2 GELU in GPT-2's tanh form
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
// Both tiles with k first: a step of k reads 4 rows of A and 4 columns of B as one vec4 each.
var<workgroup> tile_a: array<array<vec4f, 16>, 16>;
var<workgroup> tile_b: array<array<vec4f, 16>, 16>;
fn load_a(z: u32, i: u32, k: u32) -> f32 {
  if (i >= params.m || k >= params.k) { return 0.0; }
  return a[z * params.a_batch + select(i * params.k + k, k * params.m + i, TRANSPOSE_A)];
}
fn load_b(z: u32, k: u32, j: u32) -> f32 {
  if (j >= params.n || k >= params.k) { return 0.0; }
  return b[z * params.b_batch + select(k * params.n + j, j * params.k + k, TRANSPOSE_B)];
}
fn store(z: u32, i: u32, j: u32, sum: f32) {
  if (i >= params.m || j >= params.n) { return; }
  var value = sum * params.scale;
  if (BIAS) { value += bias[z * params.bias_batch + j]; }
  value = activate(value);
  if (RESIDUAL) { value += residual[(z * params.m + i) * params.n + j]; }
  out[z * params.out_batch + i * params.out_row + params.column + j] = value;
}
fn store_row(z: u32, i: u32, j: u32, sum: vec4f) {
  store(z, i, j, sum.x);
  store(z, i, j + 1u, sum.y);
  store(z, i, j + 2u, sum.z);
  store(z, i, j + 3u, sum.w);
}
@compute @workgroup_size(16, 16) fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let id = group.y * groups.x + group.x;
  let j0 = (id % params.tiles_n) * 64u;
  let i0 = ((id / params.tiles_n) % params.tiles_m) * 64u;
  // Workgroups of the fold beyond the last compute tile 0 of a matrix that does not exist; nothing of it is stored.
  let z = min(id / (params.tiles_n * params.tiles_m), params.batch);
  let exists = z < params.batch;
  // Which element of each tile a thread loads: neighbours take neighbours in memory.
  let a_i = select(local.y, local.x, TRANSPOSE_A) * 4u;
  let a_k = select(local.x, local.y, TRANSPOSE_A);
  let b_j = select(local.x, local.y, TRANSPOSE_B) * 4u;
  let b_k = select(local.y, local.x, TRANSPOSE_B);
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var k0 = 0u; k0 < params.k; k0 += 16u) {
    if (exists) {
      let ka = k0 + a_k;
      let kb = k0 + b_k;
      let ia = i0 + a_i;
      let jb = j0 + b_j;
      tile_a[a_k][a_i / 4u] = vec4f(load_a(z, ia, ka), load_a(z, ia + 1u, ka), load_a(z, ia + 2u, ka), load_a(z, ia + 3u, ka));
      tile_b[b_k][b_j / 4u] = vec4f(load_b(z, kb, jb), load_b(z, kb, jb + 1u), load_b(z, kb, jb + 2u), load_b(z, kb, jb + 3u));
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      let x = tile_a[k][local.y];
      let y = tile_b[k][local.x];
      s0 = fma(vec4f(x.x), y, s0);
      s1 = fma(vec4f(x.y), y, s1);
      s2 = fma(vec4f(x.z), y, s2);
      s3 = fma(vec4f(x.w), y, s3);
    }
    workgroupBarrier();
  }
  if (!exists) { return; }
  let i = i0 + local.y * 4u;
  let j = j0 + local.x * 4u;
  store_row(z, i, j, s0);
  store_row(z, i + 1u, j, s1);
  store_row(z, i + 2u, j, s2);
  store_row(z, i + 3u, j, s3);
}
