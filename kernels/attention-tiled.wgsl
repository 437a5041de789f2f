// Causal attention with tiles of keys and values in workgroup memory: for real GPUs, many queries and heads up to 64 wide.
//   z[b,i,h,:] = Σ_j p_j v[b,j,h,:],  p = softmax_j(scale · q[b,i,h,:]·k[b,j,h,:]),  keys j = 0 … length + i
// The softmax is online (Milakov and Gimelshein 2018; Dao and others 2022): after each tile of TILE keys, what was summed so far is
// rescaled to the new maximum. No T×T matrix is ever stored.
//
// qkv    [batch, queries, 3, heads, HEAD_WIDTH]    new positions: query, key and value rows
// prefix [batch, capacity, 3, heads, HEAD_WIDTH]   earlier positions; the first `length` are seen by every query
// z      [batch, queries, heads, HEAD_WIDTH]
// lengths [batch]                                  with OWN_LENGTHS: each prompt's own `length`; else not read
//
// One workgroup: WORKGROUP neighbouring queries of one head of one prompt; a thread owns one query, its row and its output in
// named vec4. Groups: batch · heads · ceil(queries / WORKGROUP). HEAD_WIDTH is 1 to 64.
// Workgroup memory: 2 · TILE · VECTORS · 16 + TILE · WORKGROUP · 4 bytes, 12 KiB as it stands.
const WORKGROUP: u32 = 64u;
const HEAD_WIDTH: u32 = 64u;
const TILE: u32 = 16u;
const VECTORS: u32 = (HEAD_WIDTH + 3u) / 4u; // vec4 a row
const HALF: u32 = TILE * VECTORS;
const OWN_LENGTHS: bool = false;
const MASKED: f32 = -1e30; // finite, because WGSL may assume that infinities do not occur

struct Params { queries: u32, heads: u32, length: u32, capacity: u32, groups: u32, scale: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> prefix: array<f32>;
@group(0) @binding(2) var<storage, read_write> z: array<f32>;
@group(0) @binding(3) var<storage, read> lengths: array<u32>;

var<workgroup> tile: array<vec4f, 2u * HALF>; // keys [TILE, VECTORS], then values
var<workgroup> scores: array<f32, TILE * WORKGROUP>; // each thread its own column

// Four columns from `column` of the row at `row`. Past the head they repeat its last one: in keys they meet zeros of the query, in
// values they go to columns that are not written.
fn columnsFrom(row: u32, column: u32) -> vec4u {
  return vec4u(row) + min(vec4u(column) + vec4u(0u, 1u, 2u, 3u), vec4u(HEAD_WIDTH - 1u));
}
fn own4(row: u32, column: u32) -> vec4f {
  let at = columnsFrom(row, column);
  return vec4f(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]);
}
fn earlier4(row: u32, column: u32) -> vec4f {
  let at = columnsFrom(row, column);
  return vec4f(prefix[at.x], prefix[at.y], prefix[at.z], prefix[at.w]);
}
fn query4(row: u32, column: u32) -> vec4f {
  let inside = vec4u(column) + vec4u(0u, 1u, 2u, 3u) < vec4u(HEAD_WIDTH);
  return select(vec4f(), own4(row, column), inside);
}
fn put(row: u32, column: u32, four: vec4f) {
  z[row + column] = four.x;
  if (column + 1u < HEAD_WIDTH) { z[row + column + 1u] = four.y; }
  if (column + 2u < HEAD_WIDTH) { z[row + column + 2u] = four.z; }
  if (column + 3u < HEAD_WIDTH) { z[row + column + 3u] = four.w; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let index = group.y * groups.x + group.x;
  if (index >= params.groups) { return; }
  let blocks = (params.queries + WORKGROUP - 1u) / WORKGROUP;
  let first = (index % blocks) * WORKGROUP;
  let head = (index / blocks) % params.heads * HEAD_WIDTH;
  let batch = index / (blocks * params.heads);
  let model = params.heads * HEAD_WIDTH;
  var length = params.length;
  if (OWN_LENGTHS) { length = lengths[batch]; }
  let stride = 3u * model;
  let query = min(first + local.x, params.queries - 1u);
  let ownStart = batch * params.queries * stride + head;
  let earlierStart = batch * params.capacity * stride + head;
  let row = ownStart + query * stride;

  var q0 = vec4f(); var q1 = vec4f(); var q2 = vec4f(); var q3 = vec4f(); var q4 = vec4f(); var q5 = vec4f(); var q6 = vec4f(); var q7 = vec4f();
  var q8 = vec4f(); var q9 = vec4f(); var q10 = vec4f(); var q11 = vec4f(); var q12 = vec4f(); var q13 = vec4f(); var q14 = vec4f(); var q15 = vec4f();
  var a0 = vec4f(); var a1 = vec4f(); var a2 = vec4f(); var a3 = vec4f(); var a4 = vec4f(); var a5 = vec4f(); var a6 = vec4f(); var a7 = vec4f();
  var a8 = vec4f(); var a9 = vec4f(); var a10 = vec4f(); var a11 = vec4f(); var a12 = vec4f(); var a13 = vec4f(); var a14 = vec4f(); var a15 = vec4f();
  q0 = query4(row, 0u);
  if (HEAD_WIDTH > 4u) { q1 = query4(row, 4u); }
  if (HEAD_WIDTH > 8u) { q2 = query4(row, 8u); }
  if (HEAD_WIDTH > 12u) { q3 = query4(row, 12u); }
  if (HEAD_WIDTH > 16u) { q4 = query4(row, 16u); }
  if (HEAD_WIDTH > 20u) { q5 = query4(row, 20u); }
  if (HEAD_WIDTH > 24u) { q6 = query4(row, 24u); }
  if (HEAD_WIDTH > 28u) { q7 = query4(row, 28u); }
  if (HEAD_WIDTH > 32u) { q8 = query4(row, 32u); }
  if (HEAD_WIDTH > 36u) { q9 = query4(row, 36u); }
  if (HEAD_WIDTH > 40u) { q10 = query4(row, 40u); }
  if (HEAD_WIDTH > 44u) { q11 = query4(row, 44u); }
  if (HEAD_WIDTH > 48u) { q12 = query4(row, 48u); }
  if (HEAD_WIDTH > 52u) { q13 = query4(row, 52u); }
  if (HEAD_WIDTH > 56u) { q14 = query4(row, 56u); }
  if (HEAD_WIDTH > 60u) { q15 = query4(row, 60u); }
  var top = MASKED;
  var total = 0.0;
  let seen = length + query + 1u; // keys that this query sees
  let end = length + min(first + WORKGROUP, params.queries); // keys that any query of the workgroup sees
  for (var start = 0u; start < end; start += TILE) {
    workgroupBarrier();
    for (var e = local.x; e < 2u * HALF; e += WORKGROUP) {
      let part = select(2u, 1u, e < HALF) * model; // keys, then values
      let key = start + e % HALF / VECTORS;
      let column = e % VECTORS * 4u;
      if (key < length) {
        tile[e] = earlier4(earlierStart + key * stride + part, column);
      } else if (key < end) {
        tile[e] = own4(ownStart + (key - length) * stride + part, column);
      }
    }
    workgroupBarrier();
    let count = min(TILE, end - start); // not a constant, so that drivers do not unroll these loops
    var next = top;
    for (var j = 0u; j < count; j++) {
      let at = j * VECTORS;
      var s = dot(q0, tile[at]);
      if (HEAD_WIDTH > 4u) { s += dot(q1, tile[at + 1u]); }
      if (HEAD_WIDTH > 8u) { s += dot(q2, tile[at + 2u]); }
      if (HEAD_WIDTH > 12u) { s += dot(q3, tile[at + 3u]); }
      if (HEAD_WIDTH > 16u) { s += dot(q4, tile[at + 4u]); }
      if (HEAD_WIDTH > 20u) { s += dot(q5, tile[at + 5u]); }
      if (HEAD_WIDTH > 24u) { s += dot(q6, tile[at + 6u]); }
      if (HEAD_WIDTH > 28u) { s += dot(q7, tile[at + 7u]); }
      if (HEAD_WIDTH > 32u) { s += dot(q8, tile[at + 8u]); }
      if (HEAD_WIDTH > 36u) { s += dot(q9, tile[at + 9u]); }
      if (HEAD_WIDTH > 40u) { s += dot(q10, tile[at + 10u]); }
      if (HEAD_WIDTH > 44u) { s += dot(q11, tile[at + 11u]); }
      if (HEAD_WIDTH > 48u) { s += dot(q12, tile[at + 12u]); }
      if (HEAD_WIDTH > 52u) { s += dot(q13, tile[at + 13u]); }
      if (HEAD_WIDTH > 56u) { s += dot(q14, tile[at + 14u]); }
      if (HEAD_WIDTH > 60u) { s += dot(q15, tile[at + 15u]); }
      s = select(MASKED, s * params.scale, start + j < seen);
      scores[j * WORKGROUP + local.x] = s;
      next = max(next, s);
    }
    let keep = exp(top - next);
    top = next;
    total *= keep;
    a0 *= keep;
    if (HEAD_WIDTH > 4u) { a1 *= keep; }
    if (HEAD_WIDTH > 8u) { a2 *= keep; }
    if (HEAD_WIDTH > 12u) { a3 *= keep; }
    if (HEAD_WIDTH > 16u) { a4 *= keep; }
    if (HEAD_WIDTH > 20u) { a5 *= keep; }
    if (HEAD_WIDTH > 24u) { a6 *= keep; }
    if (HEAD_WIDTH > 28u) { a7 *= keep; }
    if (HEAD_WIDTH > 32u) { a8 *= keep; }
    if (HEAD_WIDTH > 36u) { a9 *= keep; }
    if (HEAD_WIDTH > 40u) { a10 *= keep; }
    if (HEAD_WIDTH > 44u) { a11 *= keep; }
    if (HEAD_WIDTH > 48u) { a12 *= keep; }
    if (HEAD_WIDTH > 52u) { a13 *= keep; }
    if (HEAD_WIDTH > 56u) { a14 *= keep; }
    if (HEAD_WIDTH > 60u) { a15 *= keep; }
    for (var j = 0u; j < count; j++) {
      let p = exp(scores[j * WORKGROUP + local.x] - top);
      total += p;
      let at = j * VECTORS;
      a0 += p * tile[HALF + at];
      if (HEAD_WIDTH > 4u) { a1 += p * tile[HALF + at + 1u]; }
      if (HEAD_WIDTH > 8u) { a2 += p * tile[HALF + at + 2u]; }
      if (HEAD_WIDTH > 12u) { a3 += p * tile[HALF + at + 3u]; }
      if (HEAD_WIDTH > 16u) { a4 += p * tile[HALF + at + 4u]; }
      if (HEAD_WIDTH > 20u) { a5 += p * tile[HALF + at + 5u]; }
      if (HEAD_WIDTH > 24u) { a6 += p * tile[HALF + at + 6u]; }
      if (HEAD_WIDTH > 28u) { a7 += p * tile[HALF + at + 7u]; }
      if (HEAD_WIDTH > 32u) { a8 += p * tile[HALF + at + 8u]; }
      if (HEAD_WIDTH > 36u) { a9 += p * tile[HALF + at + 9u]; }
      if (HEAD_WIDTH > 40u) { a10 += p * tile[HALF + at + 10u]; }
      if (HEAD_WIDTH > 44u) { a11 += p * tile[HALF + at + 11u]; }
      if (HEAD_WIDTH > 48u) { a12 += p * tile[HALF + at + 12u]; }
      if (HEAD_WIDTH > 52u) { a13 += p * tile[HALF + at + 13u]; }
      if (HEAD_WIDTH > 56u) { a14 += p * tile[HALF + at + 14u]; }
      if (HEAD_WIDTH > 60u) { a15 += p * tile[HALF + at + 15u]; }
    }
  }
  if (first + local.x >= params.queries) { return; }
  let out = (batch * params.queries + query) * model + head;
  let part = 1.0 / total;
  put(out, 0u, a0 * part);
  if (HEAD_WIDTH > 4u) { put(out, 4u, a1 * part); }
  if (HEAD_WIDTH > 8u) { put(out, 8u, a2 * part); }
  if (HEAD_WIDTH > 12u) { put(out, 12u, a3 * part); }
  if (HEAD_WIDTH > 16u) { put(out, 16u, a4 * part); }
  if (HEAD_WIDTH > 20u) { put(out, 20u, a5 * part); }
  if (HEAD_WIDTH > 24u) { put(out, 24u, a6 * part); }
  if (HEAD_WIDTH > 28u) { put(out, 28u, a7 * part); }
  if (HEAD_WIDTH > 32u) { put(out, 32u, a8 * part); }
  if (HEAD_WIDTH > 36u) { put(out, 36u, a9 * part); }
  if (HEAD_WIDTH > 40u) { put(out, 40u, a10 * part); }
  if (HEAD_WIDTH > 44u) { put(out, 44u, a11 * part); }
  if (HEAD_WIDTH > 48u) { put(out, 48u, a12 * part); }
  if (HEAD_WIDTH > 52u) { put(out, 52u, a13 * part); }
  if (HEAD_WIDTH > 56u) { put(out, 56u, a14 * part); }
  if (HEAD_WIDTH > 60u) { put(out, 60u, a15 * part); }
}
