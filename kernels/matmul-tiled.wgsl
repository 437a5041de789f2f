// Matrix product by tiles in workgroup memory. For real GPUs: a workgroup reads each element of its tiles once.
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
// Dispatch: THREADS² threads compute a tile of 8·THREADS rows by 8·THREADS columns, each 8 rows by 8 columns in two halves that lie
// 4·THREADS apart, so that neighbours read neighbouring vec4s; batches * ceil(m / BLOCK_ROWS) * ceil(n / BLOCK_COLUMNS) workgroups,
// folded, columns fastest (or rows: ROWS_FASTEST). Workgroup memory: 2 · K_STEP · 8·THREADS numbers (8 KiB for 8 threads, 16 KiB for 16).
const THREADS: u32 = 8u;
const WORKGROUP: u32 = THREADS * THREADS;
const K_STEP: u32 = 16u;
const TILE4: u32 = THREADS * 2u; // vec4s across a tile
const PIECES: u32 = TILE4 * (K_STEP / 4u); // pieces of 4 by 4 in an operand's tile
const BLOCK_ROWS: u32 = THREADS * 8u;
const BLOCK_COLUMNS: u32 = THREADS * 8u;
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
  if (row >= params.m || column >= params.n) { return; }
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

// Tiles as [k, row / 4] and [k, column / 4].
var<workgroup> aTile: array<vec4f, K_STEP * TILE4>;
var<workgroup> bTile: array<vec4f, K_STEP * TILE4>;

fn readA(at: u32) -> vec4f {
  if (ALIGNED_A) { return a4[at >> 2u]; }
  return vec4f(a[at], a[at + 1u], a[at + 2u], a[at + 3u]);
}

// Zeros where k is past the end: what lies there could be anything, NaN too.
fn within(v: vec4f, k: u32) -> vec4f {
  return select(vec4f(0.0), v, vec4u(k, k + 1u, k + 2u, k + 3u) < vec4u(params.k));
}

// Piece `piece` of a's tile: rows from `row` on and k from `k` on.
fn loadA(start: u32, row: u32, k: u32, slot: u32) {
  let w = params.aStride;
  if (TRANSPOSE_A) {
    var at = start + k * w + row;
    for (var i = 0u; i < 4u; i++) {
      aTile[slot + i * TILE4] = select(vec4f(0.0), readA(at), k + i < params.k);
      at += w;
    }
    return;
  }
  let last = params.m - 1u;
  let v0 = within(readA(start + min(row, last) * w + k), k);
  let v1 = within(readA(start + min(row + 1u, last) * w + k), k);
  let v2 = within(readA(start + min(row + 2u, last) * w + k), k);
  let v3 = within(readA(start + min(row + 3u, last) * w + k), k);
  aTile[slot] = vec4f(v0.x, v1.x, v2.x, v3.x);
  aTile[slot + TILE4] = vec4f(v0.y, v1.y, v2.y, v3.y);
  aTile[slot + 2u * TILE4] = vec4f(v0.z, v1.z, v2.z, v3.z);
  aTile[slot + 3u * TILE4] = vec4f(v0.w, v1.w, v2.w, v3.w);
}

fn loadB(start: u32, column: u32, k: u32, slot: u32) {
  let w = params.bStride;
  if (!TRANSPOSE_B) {
    var at = start + k * w + column;
    for (var i = 0u; i < 4u; i++) {
      bTile[slot + i * TILE4] = select(vec4f(0.0), fourB(at), k + i < params.k);
      at += w;
    }
    return;
  }
  let last = params.n - 1u;
  let v0 = within(fourB(start + min(column, last) * w + k), k);
  let v1 = within(fourB(start + min(column + 1u, last) * w + k), k);
  let v2 = within(fourB(start + min(column + 2u, last) * w + k), k);
  let v3 = within(fourB(start + min(column + 3u, last) * w + k), k);
  bTile[slot] = vec4f(v0.x, v1.x, v2.x, v3.x);
  bTile[slot + TILE4] = vec4f(v0.y, v1.y, v2.y, v3.y);
  bTile[slot + 2u * TILE4] = vec4f(v0.z, v1.z, v2.z, v3.z);
  bTile[slot + 3u * TILE4] = vec4f(v0.w, v1.w, v2.w, v3.w);
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
  var rowBlock = inBatch / columnBlocks;
  var columnBlock = inBatch - rowBlock * columnBlocks;
  if (has(ROWS_FASTEST)) {
    columnBlock = inBatch / rowBlocks;
    rowBlock = inBatch - columnBlock * rowBlocks;
  }
  let firstRow = rowBlock * THREADS * 8u;
  let firstColumn = columnBlock * THREADS * 8u;
  var aStart = params.aBase;
  if (TRANSPOSE_A) { aStart += batch * params.k * params.aStride; } else { aStart += batch * params.m * params.aStride; }
  let bStart = params.bBase + batch * params.bBatch;

  let rowThread = local.x / THREADS;
  let columnThread = local.x % THREADS;
  // Sums: eight rows of four columns on the left half and four on the right.
  var l0 = vec4f(); var l1 = vec4f(); var l2 = vec4f(); var l3 = vec4f();
  var l4 = vec4f(); var l5 = vec4f(); var l6 = vec4f(); var l7 = vec4f();
  var r0 = vec4f(); var r1 = vec4f(); var r2 = vec4f(); var r3 = vec4f();
  var r4 = vec4f(); var r5 = vec4f(); var r6 = vec4f(); var r7 = vec4f();
  for (var begin = 0u; begin < params.k; begin += K_STEP) {
    // Neighbouring threads take neighbouring addresses: along k where the operand's rows run along k, else across the tile.
    for (var i = local.x; i < 2u * PIECES; i += WORKGROUP) {
      let piece = i % PIECES;
      if (i < PIECES) {
        var k = piece / TILE4;
        var x = piece % TILE4;
        if (!TRANSPOSE_A) { x = piece / (K_STEP / 4u); k = piece % (K_STEP / 4u); }
        loadA(aStart, firstRow + 4u * x, begin + 4u * k, 4u * k * TILE4 + x);
      } else {
        var k = piece / TILE4;
        var x = piece % TILE4;
        if (TRANSPOSE_B) { x = piece / (K_STEP / 4u); k = piece % (K_STEP / 4u); }
        loadB(bStart, firstColumn + 4u * x, begin + 4u * k, 4u * k * TILE4 + x);
      }
    }
    workgroupBarrier();
    for (var k = 0u; k < K_STEP * TILE4; k += TILE4) {
      let x = aTile[k + rowThread];
      let y = aTile[k + THREADS + rowThread];
      let left = bTile[k + columnThread];
      let right = bTile[k + THREADS + columnThread];
      l0 = fma(vec4f(x.x), left, l0); r0 = fma(vec4f(x.x), right, r0);
      l1 = fma(vec4f(x.y), left, l1); r1 = fma(vec4f(x.y), right, r1);
      l2 = fma(vec4f(x.z), left, l2); r2 = fma(vec4f(x.z), right, r2);
      l3 = fma(vec4f(x.w), left, l3); r3 = fma(vec4f(x.w), right, r3);
      l4 = fma(vec4f(y.x), left, l4); r4 = fma(vec4f(y.x), right, r4);
      l5 = fma(vec4f(y.y), left, l5); r5 = fma(vec4f(y.y), right, r5);
      l6 = fma(vec4f(y.z), left, l6); r6 = fma(vec4f(y.z), right, r6);
      l7 = fma(vec4f(y.w), left, l7); r7 = fma(vec4f(y.w), right, r7);
    }
    workgroupBarrier();
  }
  let row = firstRow + 4u * rowThread;
  let low = row + 4u * THREADS;
  let column = firstColumn + 4u * columnThread;
  let far = column + 4u * THREADS;
  // One body for all stores, and a count that is not known beforehand: sixteen copies would take far longer to compile.
  let stores = select(16u, 0u, row >= params.m);
  for (var i = 0u; i < stores; i++) {
    var sum = l0;
    switch i {
      case 1u: { sum = l1; }
      case 2u: { sum = l2; }
      case 3u: { sum = l3; }
      case 4u: { sum = l4; }
      case 5u: { sum = l5; }
      case 6u: { sum = l6; }
      case 7u: { sum = l7; }
      case 8u: { sum = r0; }
      case 9u: { sum = r1; }
      case 10u: { sum = r2; }
      case 11u: { sum = r3; }
      case 12u: { sum = r4; }
      case 13u: { sum = r5; }
      case 14u: { sum = r6; }
      case 15u: { sum = r7; }
      default: {}
    }
    finish(batch, select(row, low, (i & 4u) != 0u) + (i & 3u), select(column, far, i > 7u), sum);
  }
}
