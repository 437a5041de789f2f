// Matrix product for few rows: a workgroup makes one row of 4 · WIDTH columns, its SLICES slices of k in parallel, summed in order. For real GPUs.
//   out[z, i, column + j] = act(scale · Σ_k A[z, i, k] B[z, k, j] + bias[z, j]) + residual[z, i, j],   z < batch, i < m, j < n
//   0 a         [batch, m, k], or [batch, k, m] if TRANSPOSE_A; matrix z starts at z · a_batch
//   1 b         [batch, k, n] in vec4s; matrix z starts at z · b_batch (0: one matrix for all)
//   2 bias      n numbers at z · bias_batch, read if BIAS
//   3 residual  [batch, m, n], read if RESIDUAL
//   4 out       rows of out_row numbers, matrix z at z · out_batch; columns [column, column + n) are written
// Dispatch: batch · m · tiles_n workgroups; tiles_m = m, tiles_n = ceil(n / (4 · WIDTH)), folded.
// Limits: n, b_batch, bias_batch, out_batch, out_row and column are multiples of 4; WIDTH · SLICES · 16 bytes of workgroup memory
// a_batch, b_batch, bias_batch, out_batch, out_row and column count numbers, whatever the element type of a binding is.
const TRANSPOSE_A: bool = false;
const BIAS: bool = false;
const RESIDUAL: bool = false;
const ACTIVATION: u32 = 0u; // 0 none, 1 ReLU, 2 GELU in GPT-2's tanh form
const WIDTH: u32 = 16u;
const SLICES: u32 = 16u;
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
var<workgroup> partial: array<vec4f, WIDTH * SLICES>;
@compute @workgroup_size(WIDTH, SLICES) fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let id = group.y * groups.x + group.x;
  let tile_n = id % params.tiles_n;
  let tile_m = (id / params.tiles_n) % params.tiles_m;
  let z = id / (params.tiles_n * params.tiles_m);
  let inside = z < params.batch;
  let n4 = params.n / 4u;
  let j4 = tile_n * WIDTH + local.x;
  let active_column = inside && j4 < n4;
  var sum = vec4f();
  if (active_column) {
    let row = select(params.k, 1u, TRANSPOSE_A);
    let step = select(1u, params.m, TRANSPOSE_A);
    let a0 = z * params.a_batch + tile_m * row;
    let b0 = z * (params.b_batch / 4u) + j4;
    for (var k = local.y; k < params.k; k += SLICES) { sum = fma(vec4f(a[a0 + k * step]), b[b0 + k * n4], sum); }
  }
  partial[local.y * WIDTH + local.x] = sum;
  workgroupBarrier();
  if (!active_column || local.y != 0u) { return; }
  for (var slice = 1u; slice < SLICES; slice++) { sum += partial[slice * WIDTH + local.x]; }
  var value = sum * params.scale;
  if (BIAS) { value += bias[z * (params.bias_batch / 4u) + j4]; }
  value = activate(value);
  if (RESIDUAL) { value += residual[(z * params.m + tile_m) * n4 + j4]; }
  out[z * (params.out_batch / 4u) + tile_m * (params.out_row / 4u) + params.column / 4u + j4] = value;
}
