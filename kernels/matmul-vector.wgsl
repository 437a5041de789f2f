// Matrix product for few rows (a token's logits, a decoding step): each element of b is read once for four rows.
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
// Dispatch: LANES threads share ROWS rows (1 to 4) of four columns and split k between them; WORKGROUP / LANES such sets a workgroup,
// batches * ceil(m / BLOCK_ROWS) * ceil(n / BLOCK_COLUMNS) workgroups, folded, rows fastest. LANES is a power of two, 1 where barriers
// are dear: none is left then. Partial sums are added in a tree of fixed order.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 1u;
const ROWS: u32 = 4u;
const BLOCK_ROWS: u32 = ROWS;
const BLOCK_COLUMNS: u32 = WORKGROUP / LANES * 4u;
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

var<workgroup> parts: array<vec4f, WORKGROUP>;

// The sum over the lanes of a set; `lane` is apart from the next lane by `apart` threads.
fn overLanes(v: vec4f, thread: u32, lane: u32, apart: u32) -> vec4f {
  if (LANES == 1u) { return v; }
  parts[thread] = v;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { parts[thread] += parts[thread + half * apart]; }
    workgroupBarrier();
  }
  let sum = parts[thread - lane * apart];
  workgroupBarrier();
  return sum;
}

// The four k from `k` on of a row that runs along k, or along rows.
fn readA(start: u32, row: u32, k: u32) -> vec4f {
  if (TRANSPOSE_A) {
    let at = start + k * params.aStride + row;
    return vec4f(a[at], a[at + params.aStride], a[at + 2u * params.aStride], a[at + 3u * params.aStride]);
  }
  let at = start + row * params.aStride + k;
  if (ALIGNED_A) { return a4[at >> 2u]; }
  return vec4f(a[at], a[at + 1u], a[at + 2u], a[at + 3u]);
}

fn oneA(start: u32, row: u32, k: u32) -> vec4f {
  if (TRANSPOSE_A) { return vec4f(a[start + k * params.aStride + row]); }
  return vec4f(a[start + row * params.aStride + k]);
}

// sum + four elements of a row of a times the four k of b that they meet, a vec4 of b a column.
fn four(sum: vec4f, x: vec4f, q0: vec4f, q1: vec4f, q2: vec4f, q3: vec4f) -> vec4f {
  return sum + vec4f(dot(x, q0), dot(x, q1), dot(x, q2), dot(x, q3));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let block = group.y * groups.x + group.x;
  let rowBlocks = (params.m + BLOCK_ROWS - 1u) / BLOCK_ROWS;
  let columnBlocks = (params.n + BLOCK_COLUMNS - 1u) / BLOCK_COLUMNS;
  let blocks = rowBlocks * columnBlocks;
  let batch = block / blocks;
  if (batch >= params.batches) { return; }
  let inBatch = block - batch * blocks;
  let columnBlock = inBatch / rowBlocks;
  let row = (inBatch - columnBlock * rowBlocks) * ROWS;
  // Neighbouring threads read neighbouring addresses of b: along k if it is transposed, else along columns.
  const SETS = WORKGROUP / LANES;
  var lane = local.x / SETS;
  var columnSet = local.x % SETS;
  var apart = SETS;
  if (TRANSPOSE_B) { lane = local.x % LANES; columnSet = local.x / LANES; apart = 1u; }
  let column = (columnBlock * SETS + columnSet) * 4u;

  let last = params.m - 1u;
  let row1 = min(row + 1u, last);
  let row2 = min(row + 2u, last);
  let row3 = min(row + 3u, last);
  var aStart = params.aBase;
  if (TRANSPOSE_A) { aStart += batch * params.k * params.aStride; } else { aStart += batch * params.m * params.aStride; }
  let bStart = params.bBase + batch * params.bBatch;
  let lastColumn = params.n - 1u;
  let w0 = bStart + min(column, lastColumn) * params.bStride;
  let w1 = bStart + min(column + 1u, lastColumn) * params.bStride;
  let w2 = bStart + min(column + 2u, lastColumn) * params.bStride;
  let w3 = bStart + min(column + 3u, lastColumn) * params.bStride;

  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  // Threads past the last column do nothing, but meet the others at the barriers.
  let end = select(0u, params.k, column < params.n);
  if (TRANSPOSE_B && ALIGNED_B) {
    for (var k = 4u * lane; k < end; k += 4u * LANES) {
      let q0 = fourB(w0 + k);
      let q1 = fourB(w1 + k);
      let q2 = fourB(w2 + k);
      let q3 = fourB(w3 + k);
      s0 = four(s0, readA(aStart, row, k), q0, q1, q2, q3);
      if (ROWS > 1u) { s1 = four(s1, readA(aStart, row1, k), q0, q1, q2, q3); }
      if (ROWS > 2u) { s2 = four(s2, readA(aStart, row2, k), q0, q1, q2, q3); }
      if (ROWS > 3u) { s3 = four(s3, readA(aStart, row3, k), q0, q1, q2, q3); }
    }
  } else {
    for (var k = lane; k < end; k += LANES) {
      var v: vec4f;
      let at = bStart + k * params.bStride + column;
      if (TRANSPOSE_B) {
        v = vec4f(oneB(w0 + k), oneB(w1 + k), oneB(w2 + k), oneB(w3 + k));
      } else {
        v = fourB(at);
      }
      s0 = fma(oneA(aStart, row, k), v, s0);
      if (ROWS > 1u) { s1 = fma(oneA(aStart, row1, k), v, s1); }
      if (ROWS > 2u) { s2 = fma(oneA(aStart, row2, k), v, s2); }
      if (ROWS > 3u) { s3 = fma(oneA(aStart, row3, k), v, s3); }
    }
  }
  s0 = overLanes(s0, local.x, lane, apart);
  if (ROWS > 1u) { s1 = overLanes(s1, local.x, lane, apart); }
  if (ROWS > 2u) { s2 = overLanes(s2, local.x, lane, apart); }
  if (ROWS > 3u) { s3 = overLanes(s3, local.x, lane, apart); }
  if (lane != 0u) { return; }
  // One body for all rows, and a count that is not known beforehand: four copies would take far longer to compile.
  let rows = select(0u, min(ROWS, params.m - row), column < params.n);
  for (var i = 0u; i < rows; i++) {
    var sum = s0;
    switch i {
      case 1u: { sum = s1; }
      case 2u: { sum = s2; }
      case 3u: { sum = s3; }
      default: {}
    }
    finish(batch, row + i, column, sum);
  }
}
