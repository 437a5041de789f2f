// Matrix product with its sums in registers: no workgroup memory, no barriers. For software drivers and for small shapes.
//
//   out[t, r, c] = activation(scale * Σ_k A[t, r, k] * B[t, k, c] + bias[c]) + residual[t, r, c]
//
// binding 0, 1  a         f32, and the same bytes as vec4f: [batches, m, k], or [batches, k, m] if TRANSPOSE_A; rows aStride apart
// binding 2..4  b         f32, or f16 if B_HALF, as words, pairs of words and vec4f: [batches, k, n], or [batches, n, k] if TRANSPOSE_B;
//                         rows bStride apart; matrices bBatch apart, 0 for one matrix for all batches
// binding 5     bias      f32   [n] or [batches, n]
// binding 6     residual  f32   [batches, m, n], rows residualStride apart
// binding 7     out       f32   [batches, m, n], rows outStride apart
// Each starts at its base; bases and strides count numbers.
// ALIGNED_A, ALIGNED_B: bases and strides are multiples of 4 (and k, where an operand is read along k), so whole vec4s are read.
// What is bound in place of something unused is not read.
//
// Dispatch: a thread computes 8 rows by 4 columns. A workgroup holds COLUMN_THREADS threads along columns and WORKGROUP /
// COLUMN_THREADS along rows; batches * ceil(m / BLOCK_ROWS) * ceil(n / BLOCK_COLUMNS) workgroups, folded, columns fastest (or rows:
// ROWS_FASTEST). With one thread along rows all threads read the same number of a at a time: a software driver makes that a scalar read.
const WORKGROUP: u32 = 8u;
const COLUMN_THREADS: u32 = 8u;
const BLOCK_ROWS: u32 = WORKGROUP / COLUMN_THREADS * 8u;
const BLOCK_COLUMNS: u32 = COLUMN_THREADS * 4u;
const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = false;
const ALIGNED_A: bool = false;
const ALIGNED_B: bool = false;
const B_HALF: bool = false;

// Bits of `flags`. Each is looked at once a thread; as constants they would make dozens of pipelines out of a few.
const BIAS: u32 = 1u; // add a bias of [n]
const BIAS_EACH: u32 = 2u; // add a bias of [batches, n]
const GELU: u32 = 4u; // in its tanh form
const RELU: u32 = 8u;
const RESIDUAL: u32 = 16u; // add `residual`
const RESIDUAL_OUT: u32 = 32u; // add what `out` holds
const ACCUMULATE: u32 = 64u; // `out` holds the sum over earlier k
const ROWS_FASTEST: u32 = 128u; // neighbouring workgroups take neighbouring rows

struct Params {
  batches: u32, m: u32, n: u32, k: u32, aStride: u32, bStride: u32, bBatch: u32, outStride: u32, residualStride: u32,
  aBase: u32, bBase: u32, outBase: u32, biasBase: u32, residualBase: u32, flags: u32, scale: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> a4: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read> b2: array<vec2u>;
@group(0) @binding(4) var<storage, read> b4: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

// 0.5 v (1 + tanh(u)) = v / (1 + exp(-2u)), which loses no digits for negative v; u = sqrt(2/π) (v + 0.044715 v³).
fn gelu(v: vec4f) -> vec4f {
  let twice = 1.5957691216057308 * fma(0.044715 * v * v, v, v);
  return v / (1.0 + exp(min(-twice, vec4f(80.0))));
}

fn has(flag: u32) -> bool { return (params.flags & flag) != 0u; }

// Number `i` of b.
fn oneB(i: u32) -> f32 {
  if (B_HALF) { return unpack2x16float(b[i >> 1u] >> ((i & 1u) * 16u)).x; }
  return bitcast<f32>(b[i]);
}

// Four numbers of b from `i` on.
fn fourB(i: u32) -> vec4f {
  if (!ALIGNED_B) { return vec4f(oneB(i), oneB(i + 1u), oneB(i + 2u), oneB(i + 3u)); }
  if (B_HALF) {
    let pairs = b2[i >> 2u];
    return vec4f(unpack2x16float(pairs.x), unpack2x16float(pairs.y));
  }
  return b4[i >> 2u];
}

// Four columns of a row, finished and stored. What is read beyond column n is not stored.
fn finish(batch: u32, row: u32, column: u32, sum: vec4f) {
  let line = batch * params.m + row;
  let at = params.outBase + line * params.outStride + column;
  var v = params.scale * sum;
  var before = vec4f();
  if (has(ACCUMULATE | RESIDUAL_OUT)) { before = vec4f(out[at], out[at + 1u], out[at + 2u], out[at + 3u]); }
  if (has(ACCUMULATE)) { v += before; }
  if (has(BIAS | BIAS_EACH)) {
    let i = params.biasBase + column + select(0u, batch * params.n, has(BIAS_EACH));
    v += vec4f(bias[i], bias[i + 1u], bias[i + 2u], bias[i + 3u]);
  }
  if (has(GELU)) { v = gelu(v); }
  if (has(RELU)) { v = select(v, vec4f(0.0), v <= vec4f(0.0)); } // NaN stays NaN
  if (has(RESIDUAL)) {
    let i = params.residualBase + line * params.residualStride + column;
    v += vec4f(residual[i], residual[i + 1u], residual[i + 2u], residual[i + 3u]);
  }
  if (has(RESIDUAL_OUT)) { v += before; }
  out[at] = v.x;
  if (column + 1u < params.n) { out[at + 1u] = v.y; }
  if (column + 2u < params.n) { out[at + 2u] = v.z; }
  if (column + 3u < params.n) { out[at + 3u] = v.w; }
}

// sum + a row's four elements times the four rows of b that they meet.
fn four(sum: vec4f, x: vec4f, b0: vec4f, b1: vec4f, b2: vec4f, b3: vec4f) -> vec4f {
  return fma(vec4f(x.w), b3, fma(vec4f(x.z), b2, fma(vec4f(x.y), b1, fma(vec4f(x.x), b0, sum))));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let block = group.y * groups.x + group.x;
  let rowBlocks = (params.m + BLOCK_ROWS - 1u) / BLOCK_ROWS;
  let columnBlocks = (params.n + BLOCK_COLUMNS - 1u) / BLOCK_COLUMNS;
  let blocks = rowBlocks * columnBlocks;
  let batch = block / blocks;
  if (batch >= params.batches) { return; }
  let within = block - batch * blocks;
  var rowBlock = within / columnBlocks;
  var columnBlock = within - rowBlock * columnBlocks;
  if (has(ROWS_FASTEST)) {
    columnBlock = within / rowBlocks;
    rowBlock = within - columnBlock * rowBlocks;
  }
  var row = rowBlock;
  var columnThread = local.x;
  if (COLUMN_THREADS < WORKGROUP) {
    row = rowBlock * (WORKGROUP / COLUMN_THREADS) + local.x / COLUMN_THREADS;
    columnThread = local.x % COLUMN_THREADS;
  }
  row *= 8u;
  let column = (columnBlock * COLUMN_THREADS + columnThread) * 4u;
  if (row >= params.m || column >= params.n) { return; }

  let last = params.m - 1u;
  var aStart = params.aBase;
  if (TRANSPOSE_A) { aStart += batch * params.k * params.aStride + row; } else { aStart += batch * params.m * params.aStride; }
  let bStart = params.bBase + batch * params.bBatch;

  // Where rows of a, and columns of a transposed b, begin; rows and columns past the end read the last one.
  let a0 = aStart + row * params.aStride;
  let a1 = aStart + min(row + 1u, last) * params.aStride;
  let a2 = aStart + min(row + 2u, last) * params.aStride;
  let a3 = aStart + min(row + 3u, last) * params.aStride;
  let a4th = aStart + min(row + 4u, last) * params.aStride;
  let a5 = aStart + min(row + 5u, last) * params.aStride;
  let a6 = aStart + min(row + 6u, last) * params.aStride;
  let a7 = aStart + min(row + 7u, last) * params.aStride;
  let lastColumn = params.n - 1u;
  let w0 = bStart + column * params.bStride;
  let w1 = bStart + min(column + 1u, lastColumn) * params.bStride;
  let w2 = bStart + min(column + 2u, lastColumn) * params.bStride;
  let w3 = bStart + min(column + 3u, lastColumn) * params.bStride;

  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
  if (TRANSPOSE_B && ALIGNED_B && !TRANSPOSE_A && ALIGNED_A) {
    // Both operands run along k: four k at a time.
    for (var k = 0u; k < params.k; k += 4u) {
      let q0 = fourB(w0 + k);
      let q1 = fourB(w1 + k);
      let q2 = fourB(w2 + k);
      let q3 = fourB(w3 + k);
      let b0 = vec4f(q0.x, q1.x, q2.x, q3.x);
      let b1 = vec4f(q0.y, q1.y, q2.y, q3.y);
      let b2 = vec4f(q0.z, q1.z, q2.z, q3.z);
      let b3 = vec4f(q0.w, q1.w, q2.w, q3.w);
      s0 = four(s0, a4[(a0 + k) >> 2u], b0, b1, b2, b3);
      s1 = four(s1, a4[(a1 + k) >> 2u], b0, b1, b2, b3);
      s2 = four(s2, a4[(a2 + k) >> 2u], b0, b1, b2, b3);
      s3 = four(s3, a4[(a3 + k) >> 2u], b0, b1, b2, b3);
      s4 = four(s4, a4[(a4th + k) >> 2u], b0, b1, b2, b3);
      s5 = four(s5, a4[(a5 + k) >> 2u], b0, b1, b2, b3);
      s6 = four(s6, a4[(a6 + k) >> 2u], b0, b1, b2, b3);
      s7 = four(s7, a4[(a7 + k) >> 2u], b0, b1, b2, b3);
    }
  } else {
    // One k at a time: longer bodies make software drivers spill registers.
    var aAt = aStart;
    var bAt = bStart + column;
    for (var k = 0u; k < params.k; k++) {
      var v: vec4f;
      if (TRANSPOSE_B) {
        v = vec4f(oneB(w0 + k), oneB(w1 + k), oneB(w2 + k), oneB(w3 + k));
      } else {
        v = fourB(bAt);
        bAt += params.bStride;
      }
      if (TRANSPOSE_A && ALIGNED_A) {
        let x = a4[aAt >> 2u];
        let y = a4[(aAt >> 2u) + 1u];
        aAt += params.aStride;
        s0 = fma(vec4f(x.x), v, s0); s1 = fma(vec4f(x.y), v, s1); s2 = fma(vec4f(x.z), v, s2); s3 = fma(vec4f(x.w), v, s3);
        s4 = fma(vec4f(y.x), v, s4); s5 = fma(vec4f(y.y), v, s5); s6 = fma(vec4f(y.z), v, s6); s7 = fma(vec4f(y.w), v, s7);
      } else if (TRANSPOSE_A) {
        s0 = fma(vec4f(a[aAt]), v, s0); s1 = fma(vec4f(a[aAt + 1u]), v, s1);
        s2 = fma(vec4f(a[aAt + 2u]), v, s2); s3 = fma(vec4f(a[aAt + 3u]), v, s3);
        s4 = fma(vec4f(a[aAt + 4u]), v, s4); s5 = fma(vec4f(a[aAt + 5u]), v, s5);
        s6 = fma(vec4f(a[aAt + 6u]), v, s6); s7 = fma(vec4f(a[aAt + 7u]), v, s7);
        aAt += params.aStride;
      } else {
        s0 = fma(vec4f(a[a0 + k]), v, s0); s1 = fma(vec4f(a[a1 + k]), v, s1);
        s2 = fma(vec4f(a[a2 + k]), v, s2); s3 = fma(vec4f(a[a3 + k]), v, s3);
        s4 = fma(vec4f(a[a4th + k]), v, s4); s5 = fma(vec4f(a[a5 + k]), v, s5);
        s6 = fma(vec4f(a[a6 + k]), v, s6); s7 = fma(vec4f(a[a7 + k]), v, s7);
      }
    }
  }
  // One body for all rows, and a count that is not known beforehand: eight copies would take far longer to compile.
  let rows = min(8u, params.m - row);
  for (var i = 0u; i < rows; i++) {
    var sum = s0;
    switch i {
      case 1u: { sum = s1; }
      case 2u: { sum = s2; }
      case 3u: { sum = s3; }
      case 4u: { sum = s4; }
      case 5u: { sum = s5; }
      case 6u: { sum = s6; }
      case 7u: { sum = s7; }
      default: {}
    }
    finish(batch, row + i, column, sum);
  }
}
