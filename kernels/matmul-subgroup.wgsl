// Matrix product with its sums in registers and a's numbers handed round by subgroup broadcasts: no workgroup memory, no barriers. On a
// CPU driver every load costs each lane a mask, a bounds check and an insert, whoever else reads the same number; so each number
// of a is read by one lane only, and the others get it from that lane's register.
//
//   out[t, r, c] = activation(scale * Σ_k A[t, r, k] * B[t, k, c] + bias[c]) + residual[t, r, c]
//
// binding 0     a         f32   [batches, m, k], or [batches, k, m] if TRANSPOSE_A; rows aStride apart
// binding 1..3  b         f32, or f16 if B_HALF, as words, pairs of words and vec4f: [batches, k, n], or [batches, n, k] if TRANSPOSE_B;
//                         rows bStride apart; matrices bBatch apart, 0 for one matrix for all batches
// binding 4     bias      f32   [n] or [batches, n]
// binding 5     residual  f32   [batches, m, n], rows residualStride apart
// binding 6     out       f32   [batches, m, n], rows outStride apart
// Each starts at its base; bases and strides count numbers. ALIGNED_B: base and stride of b, and n, are multiples of 4, so whole vec4s
// are read; not with TRANSPOSE_B. What is bound in place of something unused is not read.
//
// With ROWS = 1 lanes read not neighbouring rows of a, but neighbouring k of the one row.
//
// Needs: 2·m·n·k operations a matrix; for each k, a tile of ROWS by 4·SUBGROUP reads ROWS + 4·SUBGROUP numbers for 4·ROWS·SUBGROUP multiply-adds.
// Dispatch: one subgroup a workgroup, which must be the device's fixed SUBGROUP threads. Each thread computes ROWS (1 to 32) rows by
// 4 columns; batches * ceil(m / ROWS) * ceil(n / (4 * SUBGROUP)) workgroups, folded, columns fastest (or rows: ROWS_FASTEST).
enable subgroups;

const SUBGROUP: u32 = 8u;
const ROWS: u32 = 32u;
const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = false;
const ALIGNED_B: bool = false;
const B_HALF: bool = false;
const BLOCK_COLUMNS: u32 = SUBGROUP * 4u;

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
@group(0) @binding(1) var<storage, read> b: array<u32>;
@group(0) @binding(2) var<storage, read> b2: array<vec2u>;
@group(0) @binding(3) var<storage, read> b4: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

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

// Where row `row` of matrix `batch` begins in a.
fn place(batch: u32, row: u32) -> u32 {
  let inside = min(row, params.m - 1u);
  if (TRANSPOSE_A) { return params.aBase + batch * params.k * params.aStride + inside; }
  return params.aBase + (batch * params.m + inside) * params.aStride;
}

@compute @workgroup_size(SUBGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let block = group.y * groups.x + group.x;
  let rowBlocks = (params.m + ROWS - 1u) / ROWS;
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
  let row = rowBlock * ROWS;
  let column = columnBlock * BLOCK_COLUMNS + lane * 4u;

  // Where the rows that this lane reads begin in a: row + lane, row + SUBGROUP + lane, … Past the end it reads the last one.
  var at: array<u32, 8>;
  var step = 1u;
  if (TRANSPOSE_A) { step = params.aStride; }
  at[0] = place(batch, row + 0u * SUBGROUP + lane);
  if (ROWS > 1u * SUBGROUP) { at[1] = place(batch, row + 1u * SUBGROUP + lane); }
  if (ROWS > 2u * SUBGROUP) { at[2] = place(batch, row + 2u * SUBGROUP + lane); }
  if (ROWS > 3u * SUBGROUP) { at[3] = place(batch, row + 3u * SUBGROUP + lane); }
  if (ROWS > 4u * SUBGROUP) { at[4] = place(batch, row + 4u * SUBGROUP + lane); }
  if (ROWS > 5u * SUBGROUP) { at[5] = place(batch, row + 5u * SUBGROUP + lane); }
  if (ROWS > 6u * SUBGROUP) { at[6] = place(batch, row + 6u * SUBGROUP + lane); }
  if (ROWS > 7u * SUBGROUP) { at[7] = place(batch, row + 7u * SUBGROUP + lane); }
  let bStart = params.bBase + batch * params.bBatch;
  var bAt = bStart + column;
  // Columns of a transposed b; past the end the last one.
  let lastColumn = params.n - 1u;
  var w0 = bStart + min(column, lastColumn) * params.bStride;
  var w1 = bStart + min(column + 1u, lastColumn) * params.bStride;
  var w2 = bStart + min(column + 2u, lastColumn) * params.bStride;
  var w3 = bStart + min(column + 3u, lastColumn) * params.bStride;

  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f(); var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
  var s8 = vec4f(); var s9 = vec4f(); var s10 = vec4f(); var s11 = vec4f(); var s12 = vec4f(); var s13 = vec4f(); var s14 = vec4f(); var s15 = vec4f();
  var s16 = vec4f(); var s17 = vec4f(); var s18 = vec4f(); var s19 = vec4f(); var s20 = vec4f(); var s21 = vec4f(); var s22 = vec4f(); var s23 = vec4f();
  var s24 = vec4f(); var s25 = vec4f(); var s26 = vec4f(); var s27 = vec4f(); var s28 = vec4f(); var s29 = vec4f(); var s30 = vec4f(); var s31 = vec4f();
  if (ROWS == 1u) {
    // Lanes read a's next numbers along k, one each.
    let start = place(batch, row);
    for (var first = 0u; first < params.k; first += SUBGROUP) {
      let mine = a[start + min(first + lane, params.k - 1u) * step];
      let count = min(SUBGROUP, params.k - first);
      for (var i = 0u; i < count; i++) {
        let k = first + i;
        var v: vec4f;
        if (TRANSPOSE_B) { v = vec4f(oneB(w0 + k), oneB(w1 + k), oneB(w2 + k), oneB(w3 + k)); } else { v = fourB(bAt); bAt += params.bStride; }
        s0 = fma(vec4f(subgroupShuffle(mine, i)), v, s0);
      }
    }
  }
  // One k at a time: a longer body leaves the instruction cache.
  let end = select(params.k, 0u, ROWS == 1u);
  for (var k = 0u; k < end; k++) {
    var x: array<f32, 8>;
    x[0] = a[at[0]]; at[0] += step;
    if (ROWS > 1u * SUBGROUP) { x[1] = a[at[1]]; at[1] += step; }
    if (ROWS > 2u * SUBGROUP) { x[2] = a[at[2]]; at[2] += step; }
    if (ROWS > 3u * SUBGROUP) { x[3] = a[at[3]]; at[3] += step; }
    if (ROWS > 4u * SUBGROUP) { x[4] = a[at[4]]; at[4] += step; }
    if (ROWS > 5u * SUBGROUP) { x[5] = a[at[5]]; at[5] += step; }
    if (ROWS > 6u * SUBGROUP) { x[6] = a[at[6]]; at[6] += step; }
    if (ROWS > 7u * SUBGROUP) { x[7] = a[at[7]]; at[7] += step; }
    var v: vec4f;
    if (TRANSPOSE_B) {
      v = vec4f(oneB(w0 + k), oneB(w1 + k), oneB(w2 + k), oneB(w3 + k));
    } else {
      v = fourB(bAt);
      bAt += params.bStride;
    }
    s0 = fma(vec4f(subgroupBroadcast(x[0u / SUBGROUP], 0u % SUBGROUP)), v, s0);
    if (ROWS > 1u) { s1 = fma(vec4f(subgroupBroadcast(x[1u / SUBGROUP], 1u % SUBGROUP)), v, s1); }
    if (ROWS > 2u) { s2 = fma(vec4f(subgroupBroadcast(x[2u / SUBGROUP], 2u % SUBGROUP)), v, s2); }
    if (ROWS > 3u) { s3 = fma(vec4f(subgroupBroadcast(x[3u / SUBGROUP], 3u % SUBGROUP)), v, s3); }
    if (ROWS > 4u) { s4 = fma(vec4f(subgroupBroadcast(x[4u / SUBGROUP], 4u % SUBGROUP)), v, s4); }
    if (ROWS > 5u) { s5 = fma(vec4f(subgroupBroadcast(x[5u / SUBGROUP], 5u % SUBGROUP)), v, s5); }
    if (ROWS > 6u) { s6 = fma(vec4f(subgroupBroadcast(x[6u / SUBGROUP], 6u % SUBGROUP)), v, s6); }
    if (ROWS > 7u) { s7 = fma(vec4f(subgroupBroadcast(x[7u / SUBGROUP], 7u % SUBGROUP)), v, s7); }
    if (ROWS > 8u) { s8 = fma(vec4f(subgroupBroadcast(x[8u / SUBGROUP], 8u % SUBGROUP)), v, s8); }
    if (ROWS > 9u) { s9 = fma(vec4f(subgroupBroadcast(x[9u / SUBGROUP], 9u % SUBGROUP)), v, s9); }
    if (ROWS > 10u) { s10 = fma(vec4f(subgroupBroadcast(x[10u / SUBGROUP], 10u % SUBGROUP)), v, s10); }
    if (ROWS > 11u) { s11 = fma(vec4f(subgroupBroadcast(x[11u / SUBGROUP], 11u % SUBGROUP)), v, s11); }
    if (ROWS > 12u) { s12 = fma(vec4f(subgroupBroadcast(x[12u / SUBGROUP], 12u % SUBGROUP)), v, s12); }
    if (ROWS > 13u) { s13 = fma(vec4f(subgroupBroadcast(x[13u / SUBGROUP], 13u % SUBGROUP)), v, s13); }
    if (ROWS > 14u) { s14 = fma(vec4f(subgroupBroadcast(x[14u / SUBGROUP], 14u % SUBGROUP)), v, s14); }
    if (ROWS > 15u) { s15 = fma(vec4f(subgroupBroadcast(x[15u / SUBGROUP], 15u % SUBGROUP)), v, s15); }
    if (ROWS > 16u) { s16 = fma(vec4f(subgroupBroadcast(x[16u / SUBGROUP], 16u % SUBGROUP)), v, s16); }
    if (ROWS > 17u) { s17 = fma(vec4f(subgroupBroadcast(x[17u / SUBGROUP], 17u % SUBGROUP)), v, s17); }
    if (ROWS > 18u) { s18 = fma(vec4f(subgroupBroadcast(x[18u / SUBGROUP], 18u % SUBGROUP)), v, s18); }
    if (ROWS > 19u) { s19 = fma(vec4f(subgroupBroadcast(x[19u / SUBGROUP], 19u % SUBGROUP)), v, s19); }
    if (ROWS > 20u) { s20 = fma(vec4f(subgroupBroadcast(x[20u / SUBGROUP], 20u % SUBGROUP)), v, s20); }
    if (ROWS > 21u) { s21 = fma(vec4f(subgroupBroadcast(x[21u / SUBGROUP], 21u % SUBGROUP)), v, s21); }
    if (ROWS > 22u) { s22 = fma(vec4f(subgroupBroadcast(x[22u / SUBGROUP], 22u % SUBGROUP)), v, s22); }
    if (ROWS > 23u) { s23 = fma(vec4f(subgroupBroadcast(x[23u / SUBGROUP], 23u % SUBGROUP)), v, s23); }
    if (ROWS > 24u) { s24 = fma(vec4f(subgroupBroadcast(x[24u / SUBGROUP], 24u % SUBGROUP)), v, s24); }
    if (ROWS > 25u) { s25 = fma(vec4f(subgroupBroadcast(x[25u / SUBGROUP], 25u % SUBGROUP)), v, s25); }
    if (ROWS > 26u) { s26 = fma(vec4f(subgroupBroadcast(x[26u / SUBGROUP], 26u % SUBGROUP)), v, s26); }
    if (ROWS > 27u) { s27 = fma(vec4f(subgroupBroadcast(x[27u / SUBGROUP], 27u % SUBGROUP)), v, s27); }
    if (ROWS > 28u) { s28 = fma(vec4f(subgroupBroadcast(x[28u / SUBGROUP], 28u % SUBGROUP)), v, s28); }
    if (ROWS > 29u) { s29 = fma(vec4f(subgroupBroadcast(x[29u / SUBGROUP], 29u % SUBGROUP)), v, s29); }
    if (ROWS > 30u) { s30 = fma(vec4f(subgroupBroadcast(x[30u / SUBGROUP], 30u % SUBGROUP)), v, s30); }
    if (ROWS > 31u) { s31 = fma(vec4f(subgroupBroadcast(x[31u / SUBGROUP], 31u % SUBGROUP)), v, s31); }
  }
  if (column >= params.n) { return; }
  // One body for all rows, and a count that is not known beforehand: a copy for each would take far longer to compile.
  let rows = min(ROWS, params.m - row);
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
      case 8u: { sum = s8; }
      case 9u: { sum = s9; }
      case 10u: { sum = s10; }
      case 11u: { sum = s11; }
      case 12u: { sum = s12; }
      case 13u: { sum = s13; }
      case 14u: { sum = s14; }
      case 15u: { sum = s15; }
      case 16u: { sum = s16; }
      case 17u: { sum = s17; }
      case 18u: { sum = s18; }
      case 19u: { sum = s19; }
      case 20u: { sum = s20; }
      case 21u: { sum = s21; }
      case 22u: { sum = s22; }
      case 23u: { sum = s23; }
      case 24u: { sum = s24; }
      case 25u: { sum = s25; }
      case 26u: { sum = s26; }
      case 27u: { sum = s27; }
      case 28u: { sum = s28; }
      case 29u: { sum = s29; }
      case 30u: { sum = s30; }
      case 31u: { sum = s31; }
      default: {}
    }
    finish(batch, row + i, column, sum);
  }
}
