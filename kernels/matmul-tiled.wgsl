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
// Dispatch: ROW_THREADS by COLUMN_THREADS threads compute a tile, each ROWS (4 or 8) rows by COLUMNS (4 or 8) columns; eights in two halves
// that lie apart, so that neighbours read neighbouring vec4s. batches * ceil(m / BLOCK_ROWS) * ceil(n / BLOCK_COLUMNS) workgroups, folded,
// columns fastest (or rows: ROWS_FASTEST). ROW_THREADS, COLUMN_THREADS and K_STEP / 4 are powers of two; an operand's tiles are at most
// 2 · WORKGROUP pieces of 4 by 4 together. Workgroup memory: BUFFERS · K_STEP · (BLOCK_ROWS + BLOCK_COLUMNS) numbers.
//
// While one tile is multiplied, the next is on its way from memory to registers; with BUFFERS = 2 it then goes where nobody reads, and one
// barrier a tile is enough. Tiles that are read along k would be written by neighbouring threads to addresses that share a bank: their
// columns are permuted by k / 4 (`swizzle`), which a reader of one k does not notice.
//
// SPLITS > 1 is for one matrix, of few tiles and long k: the parts of k are computed apart, as if they were `batches` = SPLITS results
// [SPLITS, m, n], which matmul-sum.wgsl then adds up in order.
const ROW_THREADS: u32 = 8u;
const COLUMN_THREADS: u32 = 8u;
const ROWS: u32 = 8u;
const COLUMNS: u32 = 8u;
const K_STEP: u32 = 16u;
const BUFFERS: u32 = 2u;
const SPLITS: u32 = 1u;
const WORKGROUP: u32 = ROW_THREADS * COLUMN_THREADS;
const BLOCK_ROWS: u32 = ROW_THREADS * ROWS;
const BLOCK_COLUMNS: u32 = COLUMN_THREADS * COLUMNS;
const A4: u32 = BLOCK_ROWS / 4u; // vec4s across a's tile
const B4: u32 = BLOCK_COLUMNS / 4u;
const K4: u32 = K_STEP / 4u;
const A_PIECES: u32 = A4 * K4; // pieces of 4 by 4
const B_PIECES: u32 = B4 * K4;
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

// Tiles as [buffer, k, row / 4] and [buffer, k, column / 4].
var<workgroup> aTile: array<vec4f, BUFFERS * K_STEP * A4>;
var<workgroup> bTile: array<vec4f, BUFFERS * K_STEP * B4>;

fn readA(at: u32) -> vec4f {
  if (ALIGNED_A) { return a4[at >> 2u]; }
  return vec4f(a[at], a[at + 1u], a[at + 2u], a[at + 3u]);
}

fn swizzle(k4: u32, along: bool, width: u32) -> u32 {
  if (!along) { return 0u; }
  return (k4 * max(1u, 32u / K_STEP)) & min(7u, width - 1u);
}

// A piece of 4 by 4 that a thread brings in from each tile in turn.
struct Piece {
  ofA: bool,
  used: bool,
  at: vec4u, // its four lines in memory
  step: u32, // from tile to tile
  k: u32, // its first k in a tile
  slot: u32, // its place in a tile
}

// Neighbouring threads take neighbouring addresses: along k where the operand's rows run along k, else across the tile.
// `ofA` and `used` follow from `i`; given apart, they are constants where all threads agree.
fn pieceOf(i: u32, ofA: bool, used: bool, aStart: u32, bStart: u32, firstRow: u32, firstColumn: u32) -> Piece {
  var p: Piece;
  p.ofA = ofA;
  p.used = used;
  let lines = vec4u(0u, 1u, 2u, 3u);
  if (p.ofA) {
    var x = i % A4;
    var k4 = i / A4;
    if (!TRANSPOSE_A) { x = i / K4; k4 = i % K4; }
    p.k = 4u * k4;
    p.slot = p.k * A4 + (x ^ swizzle(k4, !TRANSPOSE_A, A4));
    let row = firstRow + 4u * x;
    if (TRANSPOSE_A) {
      p.at = aStart + (p.k + lines) * params.aStride + row;
      p.step = K_STEP * params.aStride;
    } else {
      p.at = aStart + min(row + lines, vec4u(params.m - 1u)) * params.aStride + p.k;
      p.step = K_STEP;
    }
  } else {
    let inB = i - A_PIECES;
    var x = inB % B4;
    var k4 = inB / B4;
    if (TRANSPOSE_B) { x = inB / K4; k4 = inB % K4; }
    p.k = 4u * k4;
    p.slot = p.k * B4 + (x ^ swizzle(k4, TRANSPOSE_B, B4));
    let column = firstColumn + 4u * x;
    if (TRANSPOSE_B) {
      p.at = bStart + min(column + lines, vec4u(params.n - 1u)) * params.bStride + p.k;
      p.step = K_STEP;
    } else {
      p.at = bStart + (p.k + lines) * params.bStride + column;
      p.step = K_STEP * params.bStride;
    }
  }
  return p;
}

// A piece's numbers, a column of the matrix for each k; `left` is the number of k from the tile's first on.
fn fetch(p: Piece, left: u32) -> mat4x4f {
  var v: mat4x4f;
  if (p.ofA) {
    v = mat4x4f(readA(p.at.x), readA(p.at.y), readA(p.at.z), readA(p.at.w));
    if (!TRANSPOSE_A) { v = transpose(v); }
  } else {
    v = mat4x4f(fourB(p.at.x), fourB(p.at.y), fourB(p.at.z), fourB(p.at.w));
    if (TRANSPOSE_B) { v = transpose(v); }
  }
  if (left < K_STEP) {
    // Zeros where k is past the end: what lies there could be anything, NaN too.
    v[0] = select(vec4f(0.0), v[0], p.k < left);
    v[1] = select(vec4f(0.0), v[1], p.k + 1u < left);
    v[2] = select(vec4f(0.0), v[2], p.k + 2u < left);
    v[3] = select(vec4f(0.0), v[3], p.k + 3u < left);
  }
  return v;
}

fn keep(p: Piece, v: mat4x4f, buffer: u32) {
  if (p.ofA) {
    let slot = buffer * (K_STEP * A4) + p.slot;
    aTile[slot] = v[0];
    aTile[slot + A4] = v[1];
    aTile[slot + 2u * A4] = v[2];
    aTile[slot + 3u * A4] = v[3];
  } else {
    let slot = buffer * (K_STEP * B4) + p.slot;
    bTile[slot] = v[0];
    bTile[slot + B4] = v[1];
    bTile[slot + 2u * B4] = v[2];
    bTile[slot + 3u * B4] = v[3];
  }
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
  let firstRow = rowBlock * BLOCK_ROWS;
  let firstColumn = columnBlock * BLOCK_COLUMNS;
  var aStart = params.aBase;
  var bStart = params.bBase;
  var depth = params.k;
  if (SPLITS > 1u) {
    let part = ((params.k + SPLITS - 1u) / SPLITS + K_STEP - 1u) / K_STEP * K_STEP;
    let skipped = min(params.k, batch * part);
    depth = min(part, params.k - skipped);
    if (TRANSPOSE_A) { aStart += skipped * params.aStride; } else { aStart += skipped; }
    if (TRANSPOSE_B) { bStart += skipped; } else { bStart += skipped * params.bStride; }
  } else {
    if (TRANSPOSE_A) { aStart += batch * params.k * params.aStride; } else { aStart += batch * params.m * params.aStride; }
    bStart += batch * params.bBatch;
  }

  let rowThread = local.x / COLUMN_THREADS;
  let columnThread = local.x % COLUMN_THREADS;
  let second = local.x + WORKGROUP;
  let firstOfA = (A_PIECES >= WORKGROUP) || (local.x < A_PIECES);
  let firstUsed = (A_PIECES + B_PIECES >= WORKGROUP) || (local.x < A_PIECES + B_PIECES);
  let secondOfA = (A_PIECES > WORKGROUP) && (second < A_PIECES);
  let secondUsed = (A_PIECES + B_PIECES > WORKGROUP) && (second < A_PIECES + B_PIECES);
  var p = pieceOf(local.x, firstOfA, firstUsed, aStart, bStart, firstRow, firstColumn);
  var q = pieceOf(second, secondOfA, secondUsed, aStart, bStart, firstRow, firstColumn);
  var comingP: mat4x4f;
  var comingQ: mat4x4f;
  // Sums: eight rows of four columns on the left half and four on the right.
  var l0 = vec4f(); var l1 = vec4f(); var l2 = vec4f(); var l3 = vec4f();
  var l4 = vec4f(); var l5 = vec4f(); var l6 = vec4f(); var l7 = vec4f();
  var r0 = vec4f(); var r1 = vec4f(); var r2 = vec4f(); var r3 = vec4f();
  var r4 = vec4f(); var r5 = vec4f(); var r6 = vec4f(); var r7 = vec4f();
  var buffer = 0u;
  // A tile behind: while tile `t` comes in, the one before it is multiplied.
  let tiles = (depth + K_STEP - 1u) / K_STEP;
  for (var t = 0u; t <= tiles; t++) {
    let more = t < tiles;
    if (more) {
      let left = depth - t * K_STEP;
      if (p.used) { comingP = fetch(p, left); }
      if (q.used) { comingQ = fetch(q, left); }
      p.at += p.step;
      q.at += q.step;
    }
    let ready = select(0u, K4, t > 0u);
    for (var k4 = 0u; k4 < ready; k4++) {
      let across = swizzle(k4, !TRANSPOSE_A, A4);
      let along = swizzle(k4, TRANSPOSE_B, B4);
      let aLine = buffer * (K_STEP * A4) + 4u * k4 * A4;
      let bLine = buffer * (K_STEP * B4) + 4u * k4 * B4;
      let aNear = aLine + (rowThread ^ across);
      let aFar = aLine + ((ROW_THREADS + rowThread) ^ across);
      let bNear = bLine + (columnThread ^ along);
      let bFar = bLine + ((COLUMN_THREADS + columnThread) ^ along);
      for (var k = 0u; k < 4u; k++) {
        let x = aTile[aNear + k * A4];
        let left = bTile[bNear + k * B4];
        var y: vec4f;
        var right: vec4f;
        if (ROWS > 4u) { y = aTile[aFar + k * A4]; }
        if (COLUMNS > 4u) { right = bTile[bFar + k * B4]; }
        l0 = fma(vec4f(x.x), left, l0); l1 = fma(vec4f(x.y), left, l1); l2 = fma(vec4f(x.z), left, l2); l3 = fma(vec4f(x.w), left, l3);
        if (ROWS > 4u) { l4 = fma(vec4f(y.x), left, l4); l5 = fma(vec4f(y.y), left, l5); l6 = fma(vec4f(y.z), left, l6); l7 = fma(vec4f(y.w), left, l7); }
        if (COLUMNS > 4u) {
          r0 = fma(vec4f(x.x), right, r0); r1 = fma(vec4f(x.y), right, r1); r2 = fma(vec4f(x.z), right, r2); r3 = fma(vec4f(x.w), right, r3);
          if (ROWS > 4u) { r4 = fma(vec4f(y.x), right, r4); r5 = fma(vec4f(y.y), right, r5); r6 = fma(vec4f(y.z), right, r6); r7 = fma(vec4f(y.w), right, r7); }
        }
      }
    }
    if (more) {
      if (BUFFERS == 1u) { workgroupBarrier(); } else { buffer = 1u - buffer; }
      if (p.used) { keep(p, comingP, buffer); }
      if (q.used) { keep(q, comingQ, buffer); }
      workgroupBarrier();
    }
  }
  let row = firstRow + 4u * rowThread;
  let low = row + 4u * ROW_THREADS;
  let column = firstColumn + 4u * columnThread;
  let far = column + 4u * COLUMN_THREADS;
  // One body for all stores, and a count that is not known beforehand: sixteen copies would take far longer to compile.
  let stores = select(2u * COLUMNS, 0u, row >= params.m);
  for (var i = 0u; i < stores; i++) {
    if (ROWS == 4u && (i & 4u) != 0u) { continue; }
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
