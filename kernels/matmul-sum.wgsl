// The parts of a matrix product whose k was split, added up in order and finished.
//
//   out[r, c] = activation(scale * Σ_s parts[s, r, c] + bias[c]) + residual[r, c]
//
// binding 0     parts     f32   [splits, m, n]
// binding 1     bias      f32   [n]
// binding 2     residual  f32   [m, n], rows residualStride apart
// binding 3     out       f32   [m, n], rows outStride apart
// The last three start at their bases; bases and strides count numbers. What is bound in place of something unused is not read.
//
// Dispatch: one thread four columns of a row; ceil(m * ceil(n / 4) / WORKGROUP) workgroups, folded.
const WORKGROUP: u32 = 64u;

// Bits of `flags`, as of the other kernels of matrix products.
const BIAS: u32 = 3u;
const GELU: u32 = 4u; // in its tanh form
const RELU: u32 = 8u;
const RESIDUAL: u32 = 16u; // add `residual`
const RESIDUAL_OUT: u32 = 32u; // add what `out` holds

struct Params { splits: u32, m: u32, n: u32, outStride: u32, residualStride: u32, outBase: u32, biasBase: u32, residualBase: u32, flags: u32, scale: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read> residual: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// 0.5 v (1 + tanh(u)) = v / (1 + exp(-2u)), which loses no digits for negative v; u = sqrt(2/π) (v + 0.044715 v³).
fn gelu(v: vec4f) -> vec4f {
  let twice = 1.5957691216057308 * fma(0.044715 * v * v, v, v);
  return v / (1.0 + exp(min(-twice, vec4f(80.0))));
}

fn has(flag: u32) -> bool { return (params.flags & flag) != 0u; }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let thread = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let across = (params.n + 3u) / 4u;
  let row = thread / across;
  let column = 4u * (thread - row * across);
  if (row >= params.m) { return; }
  var sum = vec4f();
  var start = row * params.n + column;
  for (var s = 0u; s < params.splits; s++) {
    sum += vec4f(parts[start], parts[start + 1u], parts[start + 2u], parts[start + 3u]);
    start += params.m * params.n;
  }
  var v = params.scale * sum;
  if (has(BIAS)) {
    let i = params.biasBase + column;
    v += vec4f(bias[i], bias[i + 1u], bias[i + 2u], bias[i + 3u]);
  }
  if (has(GELU)) { v = gelu(v); }
  if (has(RELU)) { v = select(v, vec4f(0.0), v <= vec4f(0.0)); } // NaN stays NaN
  if (has(RESIDUAL)) {
    let i = params.residualBase + row * params.residualStride + column;
    v += vec4f(residual[i], residual[i + 1u], residual[i + 2u], residual[i + 3u]);
  }
  let at = params.outBase + row * params.outStride + column;
  if (has(RESIDUAL_OUT)) { v += vec4f(out[at], out[at + 1u], out[at + 2u], out[at + 3u]); }
  out[at] = v.x;
  if (column + 1u < params.n) { out[at + 1u] = v.y; }
  if (column + 2u < params.n) { out[at + 2u] = v.z; }
  if (column + 3u < params.n) { out[at + 3u] = v.w; }
}
