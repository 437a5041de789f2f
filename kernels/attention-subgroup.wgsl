// Causal attention in the registers of one subgroup, for CPU drivers with subgroups: no workgroup memory, no barriers, no scores in memory.
//   z[b,i,h,:] = Σ_j p_j v[b,j,h,:],  p = softmax_j(scale · q[b,i,h,:]·k[b,j,h,:])
// Two products of a tile of queries with a block of keys, with an online softmax between them: running maximum `top`, running sum of the
// weights, weighted values so far, rescaled when the maximum grows (Milakov and Gimelshein 2018, arXiv 1805.02867).
//   scores   lane l holds keys 4l … 4l+3 of the block as a vec4, for each of ROWS queries; lane l loads row l of q and all others get it by broadcast
//   values   lane l holds columns 4l … 4l+3 (and the same after every 4·SUBGROUP columns, VECTORS times) of z; a weight is handed round from its lane
// Each number is so loaded by one lane only, which is what counts on a CPU driver: 12 loads of a lane for 16 multiply-adds of scores, 8 for 16 of values.
//
// qkv   [batch, queries, 3, heads, width]    the query rows; as vec4f: width and the bases are multiples of 4
// kv    [batch, keyRows, 3, heads, width]    the key and value rows: qkv itself, or the earlier positions of a prefix
// state [batch, heads, queries, 2]           top and total, handed from a dispatch over the prefix to the one over qkv
// z     [batch, queries, heads, width]
// lengths [batch]                            with OWN_LENGTHS: each prompt's own `keys`; else not read
//
// Keys 0 … keys-1 are seen by every query, or with `causal` keys 0 … i by query i; blocks that no query of a tile sees are skipped. With
// `begin` the softmax starts afresh, else it goes on from state and z; with `end` z is divided by the total, else state is kept.
// Needs: 4 · width operations for each query and key it sees; reads q once, k and v once for each tile of queries.
// Dispatch: one subgroup a workgroup, which must be the device's fixed SUBGROUP (4 or 8) threads; batch · heads · ceil(queries / ROWS) workgroups, folded.
// width ≤ 4 · SUBGROUP · VECTORS, VECTORS ≤ 4, ROWS ≤ 16. Keys of a block past the last one get weight 0 and read the last one: all must be finite.
enable subgroups;

const SUBGROUP: u32 = 8u;
const ROWS: u32 = 16u;
const VECTORS: u32 = 2u;
const OWN_LENGTHS: bool = false;
const BLOCK: u32 = 4u * SUBGROUP; // keys
const MASKED: f32 = -1e30; // finite, because WGSL may assume that infinities do not occur

struct Params {
  batch: u32, queries: u32, keys: u32, keyRows: u32, heads: u32, width: u32,
  causal: u32, begin: u32, end: u32, scale: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> kv: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> state: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> z: array<vec4f>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;

// The largest of all numbers of all lanes. Broadcasts are single instructions where reductions are loops.
fn largest(v: vec4f) -> f32 {
  let m = max(max(v.x, v.y), max(v.z, v.w));
  let low = max(max(subgroupBroadcast(m, 0u), subgroupBroadcast(m, 1u)), max(subgroupBroadcast(m, 2u), subgroupBroadcast(m, 3u)));
  if (SUBGROUP == 4u) { return low; }
  return max(low, max(max(subgroupBroadcast(m, 4u % SUBGROUP), subgroupBroadcast(m, 5u % SUBGROUP)), max(subgroupBroadcast(m, 6u % SUBGROUP), subgroupBroadcast(m, 7u % SUBGROUP))));
}

// The sum over the lanes, in their order.
fn over(v: f32) -> f32 {
  let low = (subgroupBroadcast(v, 0u) + subgroupBroadcast(v, 1u)) + (subgroupBroadcast(v, 2u) + subgroupBroadcast(v, 3u));
  if (SUBGROUP == 4u) { return low; }
  return low + ((subgroupBroadcast(v, 4u % SUBGROUP) + subgroupBroadcast(v, 5u % SUBGROUP)) + (subgroupBroadcast(v, 6u % SUBGROUP) + subgroupBroadcast(v, 7u % SUBGROUP)));
}

fn sum(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }

// A query's online softmax: its highest score so far, and this lane's share of the sum of its weights.
struct Softmax { top: f32, total: f32 }

// Turns the scores of a block into weights; returns by how much all that came before shrinks.
fn weigh(query: ptr<function, Softmax>, scores: ptr<function, vec4f>, key: vec4u, seen: u32) -> f32 {
  let masked = select(vec4f(MASKED), *scores * params.scale, key < vec4u(seen));
  let next = max((*query).top, largest(masked));
  let keep = exp((*query).top - next);
  let weights = exp(masked - next);
  (*query).top = next;
  (*query).total = (*query).total * keep + sum(weights);
  *scores = weights;
  return keep;
}

// sum + q's four numbers times those of four keys.
fn four(sum: vec4f, q: vec4f, kx: vec4f, ky: vec4f, kz: vec4f, kw: vec4f) -> vec4f {
  return fma(vec4f(q.w), kw, fma(vec4f(q.z), kz, fma(vec4f(q.y), ky, fma(vec4f(q.x), kx, sum))));
}

// What an earlier dispatch left of a query.
fn before(at: u32, query: u32, lane: u32) -> Softmax {
  let kept = state[min(at, at - query + params.queries - 1u)];
  return Softmax(kept.x, select(0.0, kept.y, lane == 0u));
}
fn earlier(at: u32, query: u32, lane: u32, part: u32) -> vec4f {
  if (part >= VECTORS || query >= params.queries || lane + part * SUBGROUP >= params.width / 4u) { return vec4f(); }
  return z[at + part * SUBGROUP];
}

fn store(query: u32, mine: u32, at: u32, lane: u32, top: f32, total: f32, a: vec4f, b: vec4f, c: vec4f, d: vec4f) {
  if (query >= params.queries) { return; }
  var factor = 1.0;
  if (params.end == 1u) { factor = 1.0 / total; } else if (lane == 0u) { state[mine] = vec2f(top, total); }
  let width = params.width / 4u;
  if (lane < width) { z[at] = a * factor; }
  if (VECTORS > 1u && lane + SUBGROUP < width) { z[at + SUBGROUP] = b * factor; }
  if (VECTORS > 2u && lane + 2u * SUBGROUP < width) { z[at + 2u * SUBGROUP] = c * factor; }
  if (VECTORS > 3u && lane + 3u * SUBGROUP < width) { z[at + 3u * SUBGROUP] = d * factor; }
}

@compute @workgroup_size(SUBGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let tiles = (params.queries + ROWS - 1u) / ROWS;
  let tile = group.y * groups.x + group.x;
  let column = tile / tiles;
  if (column >= params.batch * params.heads) { return; }
  // The last queries see most keys: they come first, so that no thread is left alone with them.
  let first = (tiles - 1u - (tile - column * tiles)) * ROWS;
  let batch = column / params.heads;
  // All distances in vec4s.
  let width = params.width / 4u;
  let head = (column - batch * params.heads) * width;
  let model = params.heads * width;
  let lastQuery = params.queries - 1u;
  let q0 = batch * params.queries * 3u * model + head;
  let kBase = batch * params.keyRows * 3u * model + model + head;
  let out = (batch * params.queries + first) * model + head + lane;
  let mine = column * params.queries + first;
  var keys = params.keys;
  if (OWN_LENGTHS) { keys = lengths[batch]; }
  // Keys that query `first` sees, how many more each next query sees, and keys that any of them sees.
  var seen = keys;
  var more = 0u;
  var end = keys;
  if (params.causal == 1u) {
    seen = first + 1u;
    more = 1u;
    end = min(first + ROWS, params.queries);
  }

  // Where the rows of q that this lane loads begin: lane, SUBGROUP + lane, …
  var at: array<u32, 4>;
  at[0] = q0 + min(first + lane, lastQuery) * 3u * model;
  if (ROWS > 1u * SUBGROUP) { at[1] = q0 + min(first + 1u * SUBGROUP + lane, lastQuery) * 3u * model; }
  if (ROWS > 2u * SUBGROUP) { at[2] = q0 + min(first + 2u * SUBGROUP + lane, lastQuery) * 3u * model; }
  if (ROWS > 3u * SUBGROUP) { at[3] = q0 + min(first + 3u * SUBGROUP + lane, lastQuery) * 3u * model; }

  var w0 = Softmax(MASKED, 0.0); var w1 = Softmax(MASKED, 0.0); var w2 = Softmax(MASKED, 0.0); var w3 = Softmax(MASKED, 0.0);
  var w4 = Softmax(MASKED, 0.0); var w5 = Softmax(MASKED, 0.0); var w6 = Softmax(MASKED, 0.0); var w7 = Softmax(MASKED, 0.0);
  var w8 = Softmax(MASKED, 0.0); var w9 = Softmax(MASKED, 0.0); var w10 = Softmax(MASKED, 0.0); var w11 = Softmax(MASKED, 0.0);
  var w12 = Softmax(MASKED, 0.0); var w13 = Softmax(MASKED, 0.0); var w14 = Softmax(MASKED, 0.0); var w15 = Softmax(MASKED, 0.0);
  // z so far: aI, bI, cI and dI are the columns of query I that this lane holds, 4·SUBGROUP apart.
  var a0 = vec4f(); var a1 = vec4f(); var a2 = vec4f(); var a3 = vec4f(); var a4 = vec4f(); var a5 = vec4f(); var a6 = vec4f(); var a7 = vec4f();
  var a8 = vec4f(); var a9 = vec4f(); var a10 = vec4f(); var a11 = vec4f(); var a12 = vec4f(); var a13 = vec4f(); var a14 = vec4f(); var a15 = vec4f();
  var b0 = vec4f(); var b1 = vec4f(); var b2 = vec4f(); var b3 = vec4f(); var b4 = vec4f(); var b5 = vec4f(); var b6 = vec4f(); var b7 = vec4f();
  var b8 = vec4f(); var b9 = vec4f(); var b10 = vec4f(); var b11 = vec4f(); var b12 = vec4f(); var b13 = vec4f(); var b14 = vec4f(); var b15 = vec4f();
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f(); var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
  var c8 = vec4f(); var c9 = vec4f(); var c10 = vec4f(); var c11 = vec4f(); var c12 = vec4f(); var c13 = vec4f(); var c14 = vec4f(); var c15 = vec4f();
  var d0 = vec4f(); var d1 = vec4f(); var d2 = vec4f(); var d3 = vec4f(); var d4 = vec4f(); var d5 = vec4f(); var d6 = vec4f(); var d7 = vec4f();
  var d8 = vec4f(); var d9 = vec4f(); var d10 = vec4f(); var d11 = vec4f(); var d12 = vec4f(); var d13 = vec4f(); var d14 = vec4f(); var d15 = vec4f();
  if (params.begin == 0u) {
    w0 = before(mine + 0u, first + 0u, lane); a0 = earlier(out + 0u * model, first + 0u, lane, 0u); b0 = earlier(out + 0u * model, first + 0u, lane, 1u); c0 = earlier(out + 0u * model, first + 0u, lane, 2u); d0 = earlier(out + 0u * model, first + 0u, lane, 3u);
    if (ROWS > 1u) { w1 = before(mine + 1u, first + 1u, lane); a1 = earlier(out + 1u * model, first + 1u, lane, 0u); b1 = earlier(out + 1u * model, first + 1u, lane, 1u); c1 = earlier(out + 1u * model, first + 1u, lane, 2u); d1 = earlier(out + 1u * model, first + 1u, lane, 3u); }
    if (ROWS > 2u) { w2 = before(mine + 2u, first + 2u, lane); a2 = earlier(out + 2u * model, first + 2u, lane, 0u); b2 = earlier(out + 2u * model, first + 2u, lane, 1u); c2 = earlier(out + 2u * model, first + 2u, lane, 2u); d2 = earlier(out + 2u * model, first + 2u, lane, 3u); }
    if (ROWS > 3u) { w3 = before(mine + 3u, first + 3u, lane); a3 = earlier(out + 3u * model, first + 3u, lane, 0u); b3 = earlier(out + 3u * model, first + 3u, lane, 1u); c3 = earlier(out + 3u * model, first + 3u, lane, 2u); d3 = earlier(out + 3u * model, first + 3u, lane, 3u); }
    if (ROWS > 4u) { w4 = before(mine + 4u, first + 4u, lane); a4 = earlier(out + 4u * model, first + 4u, lane, 0u); b4 = earlier(out + 4u * model, first + 4u, lane, 1u); c4 = earlier(out + 4u * model, first + 4u, lane, 2u); d4 = earlier(out + 4u * model, first + 4u, lane, 3u); }
    if (ROWS > 5u) { w5 = before(mine + 5u, first + 5u, lane); a5 = earlier(out + 5u * model, first + 5u, lane, 0u); b5 = earlier(out + 5u * model, first + 5u, lane, 1u); c5 = earlier(out + 5u * model, first + 5u, lane, 2u); d5 = earlier(out + 5u * model, first + 5u, lane, 3u); }
    if (ROWS > 6u) { w6 = before(mine + 6u, first + 6u, lane); a6 = earlier(out + 6u * model, first + 6u, lane, 0u); b6 = earlier(out + 6u * model, first + 6u, lane, 1u); c6 = earlier(out + 6u * model, first + 6u, lane, 2u); d6 = earlier(out + 6u * model, first + 6u, lane, 3u); }
    if (ROWS > 7u) { w7 = before(mine + 7u, first + 7u, lane); a7 = earlier(out + 7u * model, first + 7u, lane, 0u); b7 = earlier(out + 7u * model, first + 7u, lane, 1u); c7 = earlier(out + 7u * model, first + 7u, lane, 2u); d7 = earlier(out + 7u * model, first + 7u, lane, 3u); }
    if (ROWS > 8u) { w8 = before(mine + 8u, first + 8u, lane); a8 = earlier(out + 8u * model, first + 8u, lane, 0u); b8 = earlier(out + 8u * model, first + 8u, lane, 1u); c8 = earlier(out + 8u * model, first + 8u, lane, 2u); d8 = earlier(out + 8u * model, first + 8u, lane, 3u); }
    if (ROWS > 9u) { w9 = before(mine + 9u, first + 9u, lane); a9 = earlier(out + 9u * model, first + 9u, lane, 0u); b9 = earlier(out + 9u * model, first + 9u, lane, 1u); c9 = earlier(out + 9u * model, first + 9u, lane, 2u); d9 = earlier(out + 9u * model, first + 9u, lane, 3u); }
    if (ROWS > 10u) { w10 = before(mine + 10u, first + 10u, lane); a10 = earlier(out + 10u * model, first + 10u, lane, 0u); b10 = earlier(out + 10u * model, first + 10u, lane, 1u); c10 = earlier(out + 10u * model, first + 10u, lane, 2u); d10 = earlier(out + 10u * model, first + 10u, lane, 3u); }
    if (ROWS > 11u) { w11 = before(mine + 11u, first + 11u, lane); a11 = earlier(out + 11u * model, first + 11u, lane, 0u); b11 = earlier(out + 11u * model, first + 11u, lane, 1u); c11 = earlier(out + 11u * model, first + 11u, lane, 2u); d11 = earlier(out + 11u * model, first + 11u, lane, 3u); }
    if (ROWS > 12u) { w12 = before(mine + 12u, first + 12u, lane); a12 = earlier(out + 12u * model, first + 12u, lane, 0u); b12 = earlier(out + 12u * model, first + 12u, lane, 1u); c12 = earlier(out + 12u * model, first + 12u, lane, 2u); d12 = earlier(out + 12u * model, first + 12u, lane, 3u); }
    if (ROWS > 13u) { w13 = before(mine + 13u, first + 13u, lane); a13 = earlier(out + 13u * model, first + 13u, lane, 0u); b13 = earlier(out + 13u * model, first + 13u, lane, 1u); c13 = earlier(out + 13u * model, first + 13u, lane, 2u); d13 = earlier(out + 13u * model, first + 13u, lane, 3u); }
    if (ROWS > 14u) { w14 = before(mine + 14u, first + 14u, lane); a14 = earlier(out + 14u * model, first + 14u, lane, 0u); b14 = earlier(out + 14u * model, first + 14u, lane, 1u); c14 = earlier(out + 14u * model, first + 14u, lane, 2u); d14 = earlier(out + 14u * model, first + 14u, lane, 3u); }
    if (ROWS > 15u) { w15 = before(mine + 15u, first + 15u, lane); a15 = earlier(out + 15u * model, first + 15u, lane, 0u); b15 = earlier(out + 15u * model, first + 15u, lane, 1u); c15 = earlier(out + 15u * model, first + 15u, lane, 2u); d15 = earlier(out + 15u * model, first + 15u, lane, 3u); }
  }

  for (var j = 0u; j < end; j += BLOCK) {
    let key = vec4u(j + lane * 4u) + vec4u(0u, 1u, 2u, 3u);
    let k = vec4u(kBase) + min(key, vec4u(keys - 1u)) * (3u * model);
    var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f(); var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
    var s8 = vec4f(); var s9 = vec4f(); var s10 = vec4f(); var s11 = vec4f(); var s12 = vec4f(); var s13 = vec4f(); var s14 = vec4f(); var s15 = vec4f();
    for (var c = 0u; c < width; c++) {
      var x: array<vec4f, 4>;
      x[0] = qkv[at[0] + c];
      if (ROWS > 1u * SUBGROUP) { x[1] = qkv[at[1] + c]; }
      if (ROWS > 2u * SUBGROUP) { x[2] = qkv[at[2] + c]; }
      if (ROWS > 3u * SUBGROUP) { x[3] = qkv[at[3] + c]; }
      let k0 = kv[k.x + c];
      let k1 = kv[k.y + c];
      let k2 = kv[k.z + c];
      let k3 = kv[k.w + c];
      let kx = vec4f(k0.x, k1.x, k2.x, k3.x);
      let ky = vec4f(k0.y, k1.y, k2.y, k3.y);
      let kz = vec4f(k0.z, k1.z, k2.z, k3.z);
      let kw = vec4f(k0.w, k1.w, k2.w, k3.w);
      { let q = subgroupBroadcast(x[0u / SUBGROUP], 0u % SUBGROUP); s0 = four(s0, q, kx, ky, kz, kw); }
      if (ROWS > 1u) { let q = subgroupBroadcast(x[1u / SUBGROUP], 1u % SUBGROUP); s1 = four(s1, q, kx, ky, kz, kw); }
      if (ROWS > 2u) { let q = subgroupBroadcast(x[2u / SUBGROUP], 2u % SUBGROUP); s2 = four(s2, q, kx, ky, kz, kw); }
      if (ROWS > 3u) { let q = subgroupBroadcast(x[3u / SUBGROUP], 3u % SUBGROUP); s3 = four(s3, q, kx, ky, kz, kw); }
      if (ROWS > 4u) { let q = subgroupBroadcast(x[4u / SUBGROUP], 4u % SUBGROUP); s4 = four(s4, q, kx, ky, kz, kw); }
      if (ROWS > 5u) { let q = subgroupBroadcast(x[5u / SUBGROUP], 5u % SUBGROUP); s5 = four(s5, q, kx, ky, kz, kw); }
      if (ROWS > 6u) { let q = subgroupBroadcast(x[6u / SUBGROUP], 6u % SUBGROUP); s6 = four(s6, q, kx, ky, kz, kw); }
      if (ROWS > 7u) { let q = subgroupBroadcast(x[7u / SUBGROUP], 7u % SUBGROUP); s7 = four(s7, q, kx, ky, kz, kw); }
      if (ROWS > 8u) { let q = subgroupBroadcast(x[8u / SUBGROUP], 8u % SUBGROUP); s8 = four(s8, q, kx, ky, kz, kw); }
      if (ROWS > 9u) { let q = subgroupBroadcast(x[9u / SUBGROUP], 9u % SUBGROUP); s9 = four(s9, q, kx, ky, kz, kw); }
      if (ROWS > 10u) { let q = subgroupBroadcast(x[10u / SUBGROUP], 10u % SUBGROUP); s10 = four(s10, q, kx, ky, kz, kw); }
      if (ROWS > 11u) { let q = subgroupBroadcast(x[11u / SUBGROUP], 11u % SUBGROUP); s11 = four(s11, q, kx, ky, kz, kw); }
      if (ROWS > 12u) { let q = subgroupBroadcast(x[12u / SUBGROUP], 12u % SUBGROUP); s12 = four(s12, q, kx, ky, kz, kw); }
      if (ROWS > 13u) { let q = subgroupBroadcast(x[13u / SUBGROUP], 13u % SUBGROUP); s13 = four(s13, q, kx, ky, kz, kw); }
      if (ROWS > 14u) { let q = subgroupBroadcast(x[14u / SUBGROUP], 14u % SUBGROUP); s14 = four(s14, q, kx, ky, kz, kw); }
      if (ROWS > 15u) { let q = subgroupBroadcast(x[15u / SUBGROUP], 15u % SUBGROUP); s15 = four(s15, q, kx, ky, kz, kw); }
    }
    { let keep = weigh(&w0, &s0, key, seen + 0u * more); a0 *= keep; b0 *= keep; c0 *= keep; d0 *= keep; }
    if (ROWS > 1u) { let keep = weigh(&w1, &s1, key, seen + 1u * more); a1 *= keep; b1 *= keep; c1 *= keep; d1 *= keep; }
    if (ROWS > 2u) { let keep = weigh(&w2, &s2, key, seen + 2u * more); a2 *= keep; b2 *= keep; c2 *= keep; d2 *= keep; }
    if (ROWS > 3u) { let keep = weigh(&w3, &s3, key, seen + 3u * more); a3 *= keep; b3 *= keep; c3 *= keep; d3 *= keep; }
    if (ROWS > 4u) { let keep = weigh(&w4, &s4, key, seen + 4u * more); a4 *= keep; b4 *= keep; c4 *= keep; d4 *= keep; }
    if (ROWS > 5u) { let keep = weigh(&w5, &s5, key, seen + 5u * more); a5 *= keep; b5 *= keep; c5 *= keep; d5 *= keep; }
    if (ROWS > 6u) { let keep = weigh(&w6, &s6, key, seen + 6u * more); a6 *= keep; b6 *= keep; c6 *= keep; d6 *= keep; }
    if (ROWS > 7u) { let keep = weigh(&w7, &s7, key, seen + 7u * more); a7 *= keep; b7 *= keep; c7 *= keep; d7 *= keep; }
    if (ROWS > 8u) { let keep = weigh(&w8, &s8, key, seen + 8u * more); a8 *= keep; b8 *= keep; c8 *= keep; d8 *= keep; }
    if (ROWS > 9u) { let keep = weigh(&w9, &s9, key, seen + 9u * more); a9 *= keep; b9 *= keep; c9 *= keep; d9 *= keep; }
    if (ROWS > 10u) { let keep = weigh(&w10, &s10, key, seen + 10u * more); a10 *= keep; b10 *= keep; c10 *= keep; d10 *= keep; }
    if (ROWS > 11u) { let keep = weigh(&w11, &s11, key, seen + 11u * more); a11 *= keep; b11 *= keep; c11 *= keep; d11 *= keep; }
    if (ROWS > 12u) { let keep = weigh(&w12, &s12, key, seen + 12u * more); a12 *= keep; b12 *= keep; c12 *= keep; d12 *= keep; }
    if (ROWS > 13u) { let keep = weigh(&w13, &s13, key, seen + 13u * more); a13 *= keep; b13 *= keep; c13 *= keep; d13 *= keep; }
    if (ROWS > 14u) { let keep = weigh(&w14, &s14, key, seen + 14u * more); a14 *= keep; b14 *= keep; c14 *= keep; d14 *= keep; }
    if (ROWS > 15u) { let keep = weigh(&w15, &s15, key, seen + 15u * more); a15 *= keep; b15 *= keep; c15 *= keep; d15 *= keep; }
    for (var source = 0u; source < SUBGROUP; source++) {
      let v = vec4u(kBase + model + lane) + min(vec4u(j + source * 4u) + vec4u(0u, 1u, 2u, 3u), vec4u(keys - 1u)) * (3u * model);
      {
        let va = kv[v.x];
        var vb = vec4f();
        var vc = vec4f();
        var vd = vec4f();
        if (VECTORS > 1u) { vb = kv[v.x + SUBGROUP]; }
        if (VECTORS > 2u) { vc = kv[v.x + 2u * SUBGROUP]; }
        if (VECTORS > 3u) { vd = kv[v.x + 3u * SUBGROUP]; }
        { let p = vec4f(subgroupShuffle(s0.x, source)); a0 = fma(p, va, a0); b0 = fma(p, vb, b0); c0 = fma(p, vc, c0); d0 = fma(p, vd, d0); }
        if (ROWS > 1u) { let p = vec4f(subgroupShuffle(s1.x, source)); a1 = fma(p, va, a1); b1 = fma(p, vb, b1); c1 = fma(p, vc, c1); d1 = fma(p, vd, d1); }
        if (ROWS > 2u) { let p = vec4f(subgroupShuffle(s2.x, source)); a2 = fma(p, va, a2); b2 = fma(p, vb, b2); c2 = fma(p, vc, c2); d2 = fma(p, vd, d2); }
        if (ROWS > 3u) { let p = vec4f(subgroupShuffle(s3.x, source)); a3 = fma(p, va, a3); b3 = fma(p, vb, b3); c3 = fma(p, vc, c3); d3 = fma(p, vd, d3); }
        if (ROWS > 4u) { let p = vec4f(subgroupShuffle(s4.x, source)); a4 = fma(p, va, a4); b4 = fma(p, vb, b4); c4 = fma(p, vc, c4); d4 = fma(p, vd, d4); }
        if (ROWS > 5u) { let p = vec4f(subgroupShuffle(s5.x, source)); a5 = fma(p, va, a5); b5 = fma(p, vb, b5); c5 = fma(p, vc, c5); d5 = fma(p, vd, d5); }
        if (ROWS > 6u) { let p = vec4f(subgroupShuffle(s6.x, source)); a6 = fma(p, va, a6); b6 = fma(p, vb, b6); c6 = fma(p, vc, c6); d6 = fma(p, vd, d6); }
        if (ROWS > 7u) { let p = vec4f(subgroupShuffle(s7.x, source)); a7 = fma(p, va, a7); b7 = fma(p, vb, b7); c7 = fma(p, vc, c7); d7 = fma(p, vd, d7); }
        if (ROWS > 8u) { let p = vec4f(subgroupShuffle(s8.x, source)); a8 = fma(p, va, a8); b8 = fma(p, vb, b8); c8 = fma(p, vc, c8); d8 = fma(p, vd, d8); }
        if (ROWS > 9u) { let p = vec4f(subgroupShuffle(s9.x, source)); a9 = fma(p, va, a9); b9 = fma(p, vb, b9); c9 = fma(p, vc, c9); d9 = fma(p, vd, d9); }
        if (ROWS > 10u) { let p = vec4f(subgroupShuffle(s10.x, source)); a10 = fma(p, va, a10); b10 = fma(p, vb, b10); c10 = fma(p, vc, c10); d10 = fma(p, vd, d10); }
        if (ROWS > 11u) { let p = vec4f(subgroupShuffle(s11.x, source)); a11 = fma(p, va, a11); b11 = fma(p, vb, b11); c11 = fma(p, vc, c11); d11 = fma(p, vd, d11); }
        if (ROWS > 12u) { let p = vec4f(subgroupShuffle(s12.x, source)); a12 = fma(p, va, a12); b12 = fma(p, vb, b12); c12 = fma(p, vc, c12); d12 = fma(p, vd, d12); }
        if (ROWS > 13u) { let p = vec4f(subgroupShuffle(s13.x, source)); a13 = fma(p, va, a13); b13 = fma(p, vb, b13); c13 = fma(p, vc, c13); d13 = fma(p, vd, d13); }
        if (ROWS > 14u) { let p = vec4f(subgroupShuffle(s14.x, source)); a14 = fma(p, va, a14); b14 = fma(p, vb, b14); c14 = fma(p, vc, c14); d14 = fma(p, vd, d14); }
        if (ROWS > 15u) { let p = vec4f(subgroupShuffle(s15.x, source)); a15 = fma(p, va, a15); b15 = fma(p, vb, b15); c15 = fma(p, vc, c15); d15 = fma(p, vd, d15); }
      }
      {
        let va = kv[v.y];
        var vb = vec4f();
        var vc = vec4f();
        var vd = vec4f();
        if (VECTORS > 1u) { vb = kv[v.y + SUBGROUP]; }
        if (VECTORS > 2u) { vc = kv[v.y + 2u * SUBGROUP]; }
        if (VECTORS > 3u) { vd = kv[v.y + 3u * SUBGROUP]; }
        { let p = vec4f(subgroupShuffle(s0.y, source)); a0 = fma(p, va, a0); b0 = fma(p, vb, b0); c0 = fma(p, vc, c0); d0 = fma(p, vd, d0); }
        if (ROWS > 1u) { let p = vec4f(subgroupShuffle(s1.y, source)); a1 = fma(p, va, a1); b1 = fma(p, vb, b1); c1 = fma(p, vc, c1); d1 = fma(p, vd, d1); }
        if (ROWS > 2u) { let p = vec4f(subgroupShuffle(s2.y, source)); a2 = fma(p, va, a2); b2 = fma(p, vb, b2); c2 = fma(p, vc, c2); d2 = fma(p, vd, d2); }
        if (ROWS > 3u) { let p = vec4f(subgroupShuffle(s3.y, source)); a3 = fma(p, va, a3); b3 = fma(p, vb, b3); c3 = fma(p, vc, c3); d3 = fma(p, vd, d3); }
        if (ROWS > 4u) { let p = vec4f(subgroupShuffle(s4.y, source)); a4 = fma(p, va, a4); b4 = fma(p, vb, b4); c4 = fma(p, vc, c4); d4 = fma(p, vd, d4); }
        if (ROWS > 5u) { let p = vec4f(subgroupShuffle(s5.y, source)); a5 = fma(p, va, a5); b5 = fma(p, vb, b5); c5 = fma(p, vc, c5); d5 = fma(p, vd, d5); }
        if (ROWS > 6u) { let p = vec4f(subgroupShuffle(s6.y, source)); a6 = fma(p, va, a6); b6 = fma(p, vb, b6); c6 = fma(p, vc, c6); d6 = fma(p, vd, d6); }
        if (ROWS > 7u) { let p = vec4f(subgroupShuffle(s7.y, source)); a7 = fma(p, va, a7); b7 = fma(p, vb, b7); c7 = fma(p, vc, c7); d7 = fma(p, vd, d7); }
        if (ROWS > 8u) { let p = vec4f(subgroupShuffle(s8.y, source)); a8 = fma(p, va, a8); b8 = fma(p, vb, b8); c8 = fma(p, vc, c8); d8 = fma(p, vd, d8); }
        if (ROWS > 9u) { let p = vec4f(subgroupShuffle(s9.y, source)); a9 = fma(p, va, a9); b9 = fma(p, vb, b9); c9 = fma(p, vc, c9); d9 = fma(p, vd, d9); }
        if (ROWS > 10u) { let p = vec4f(subgroupShuffle(s10.y, source)); a10 = fma(p, va, a10); b10 = fma(p, vb, b10); c10 = fma(p, vc, c10); d10 = fma(p, vd, d10); }
        if (ROWS > 11u) { let p = vec4f(subgroupShuffle(s11.y, source)); a11 = fma(p, va, a11); b11 = fma(p, vb, b11); c11 = fma(p, vc, c11); d11 = fma(p, vd, d11); }
        if (ROWS > 12u) { let p = vec4f(subgroupShuffle(s12.y, source)); a12 = fma(p, va, a12); b12 = fma(p, vb, b12); c12 = fma(p, vc, c12); d12 = fma(p, vd, d12); }
        if (ROWS > 13u) { let p = vec4f(subgroupShuffle(s13.y, source)); a13 = fma(p, va, a13); b13 = fma(p, vb, b13); c13 = fma(p, vc, c13); d13 = fma(p, vd, d13); }
        if (ROWS > 14u) { let p = vec4f(subgroupShuffle(s14.y, source)); a14 = fma(p, va, a14); b14 = fma(p, vb, b14); c14 = fma(p, vc, c14); d14 = fma(p, vd, d14); }
        if (ROWS > 15u) { let p = vec4f(subgroupShuffle(s15.y, source)); a15 = fma(p, va, a15); b15 = fma(p, vb, b15); c15 = fma(p, vc, c15); d15 = fma(p, vd, d15); }
      }
      {
        let va = kv[v.z];
        var vb = vec4f();
        var vc = vec4f();
        var vd = vec4f();
        if (VECTORS > 1u) { vb = kv[v.z + SUBGROUP]; }
        if (VECTORS > 2u) { vc = kv[v.z + 2u * SUBGROUP]; }
        if (VECTORS > 3u) { vd = kv[v.z + 3u * SUBGROUP]; }
        { let p = vec4f(subgroupShuffle(s0.z, source)); a0 = fma(p, va, a0); b0 = fma(p, vb, b0); c0 = fma(p, vc, c0); d0 = fma(p, vd, d0); }
        if (ROWS > 1u) { let p = vec4f(subgroupShuffle(s1.z, source)); a1 = fma(p, va, a1); b1 = fma(p, vb, b1); c1 = fma(p, vc, c1); d1 = fma(p, vd, d1); }
        if (ROWS > 2u) { let p = vec4f(subgroupShuffle(s2.z, source)); a2 = fma(p, va, a2); b2 = fma(p, vb, b2); c2 = fma(p, vc, c2); d2 = fma(p, vd, d2); }
        if (ROWS > 3u) { let p = vec4f(subgroupShuffle(s3.z, source)); a3 = fma(p, va, a3); b3 = fma(p, vb, b3); c3 = fma(p, vc, c3); d3 = fma(p, vd, d3); }
        if (ROWS > 4u) { let p = vec4f(subgroupShuffle(s4.z, source)); a4 = fma(p, va, a4); b4 = fma(p, vb, b4); c4 = fma(p, vc, c4); d4 = fma(p, vd, d4); }
        if (ROWS > 5u) { let p = vec4f(subgroupShuffle(s5.z, source)); a5 = fma(p, va, a5); b5 = fma(p, vb, b5); c5 = fma(p, vc, c5); d5 = fma(p, vd, d5); }
        if (ROWS > 6u) { let p = vec4f(subgroupShuffle(s6.z, source)); a6 = fma(p, va, a6); b6 = fma(p, vb, b6); c6 = fma(p, vc, c6); d6 = fma(p, vd, d6); }
        if (ROWS > 7u) { let p = vec4f(subgroupShuffle(s7.z, source)); a7 = fma(p, va, a7); b7 = fma(p, vb, b7); c7 = fma(p, vc, c7); d7 = fma(p, vd, d7); }
        if (ROWS > 8u) { let p = vec4f(subgroupShuffle(s8.z, source)); a8 = fma(p, va, a8); b8 = fma(p, vb, b8); c8 = fma(p, vc, c8); d8 = fma(p, vd, d8); }
        if (ROWS > 9u) { let p = vec4f(subgroupShuffle(s9.z, source)); a9 = fma(p, va, a9); b9 = fma(p, vb, b9); c9 = fma(p, vc, c9); d9 = fma(p, vd, d9); }
        if (ROWS > 10u) { let p = vec4f(subgroupShuffle(s10.z, source)); a10 = fma(p, va, a10); b10 = fma(p, vb, b10); c10 = fma(p, vc, c10); d10 = fma(p, vd, d10); }
        if (ROWS > 11u) { let p = vec4f(subgroupShuffle(s11.z, source)); a11 = fma(p, va, a11); b11 = fma(p, vb, b11); c11 = fma(p, vc, c11); d11 = fma(p, vd, d11); }
        if (ROWS > 12u) { let p = vec4f(subgroupShuffle(s12.z, source)); a12 = fma(p, va, a12); b12 = fma(p, vb, b12); c12 = fma(p, vc, c12); d12 = fma(p, vd, d12); }
        if (ROWS > 13u) { let p = vec4f(subgroupShuffle(s13.z, source)); a13 = fma(p, va, a13); b13 = fma(p, vb, b13); c13 = fma(p, vc, c13); d13 = fma(p, vd, d13); }
        if (ROWS > 14u) { let p = vec4f(subgroupShuffle(s14.z, source)); a14 = fma(p, va, a14); b14 = fma(p, vb, b14); c14 = fma(p, vc, c14); d14 = fma(p, vd, d14); }
        if (ROWS > 15u) { let p = vec4f(subgroupShuffle(s15.z, source)); a15 = fma(p, va, a15); b15 = fma(p, vb, b15); c15 = fma(p, vc, c15); d15 = fma(p, vd, d15); }
      }
      {
        let va = kv[v.w];
        var vb = vec4f();
        var vc = vec4f();
        var vd = vec4f();
        if (VECTORS > 1u) { vb = kv[v.w + SUBGROUP]; }
        if (VECTORS > 2u) { vc = kv[v.w + 2u * SUBGROUP]; }
        if (VECTORS > 3u) { vd = kv[v.w + 3u * SUBGROUP]; }
        { let p = vec4f(subgroupShuffle(s0.w, source)); a0 = fma(p, va, a0); b0 = fma(p, vb, b0); c0 = fma(p, vc, c0); d0 = fma(p, vd, d0); }
        if (ROWS > 1u) { let p = vec4f(subgroupShuffle(s1.w, source)); a1 = fma(p, va, a1); b1 = fma(p, vb, b1); c1 = fma(p, vc, c1); d1 = fma(p, vd, d1); }
        if (ROWS > 2u) { let p = vec4f(subgroupShuffle(s2.w, source)); a2 = fma(p, va, a2); b2 = fma(p, vb, b2); c2 = fma(p, vc, c2); d2 = fma(p, vd, d2); }
        if (ROWS > 3u) { let p = vec4f(subgroupShuffle(s3.w, source)); a3 = fma(p, va, a3); b3 = fma(p, vb, b3); c3 = fma(p, vc, c3); d3 = fma(p, vd, d3); }
        if (ROWS > 4u) { let p = vec4f(subgroupShuffle(s4.w, source)); a4 = fma(p, va, a4); b4 = fma(p, vb, b4); c4 = fma(p, vc, c4); d4 = fma(p, vd, d4); }
        if (ROWS > 5u) { let p = vec4f(subgroupShuffle(s5.w, source)); a5 = fma(p, va, a5); b5 = fma(p, vb, b5); c5 = fma(p, vc, c5); d5 = fma(p, vd, d5); }
        if (ROWS > 6u) { let p = vec4f(subgroupShuffle(s6.w, source)); a6 = fma(p, va, a6); b6 = fma(p, vb, b6); c6 = fma(p, vc, c6); d6 = fma(p, vd, d6); }
        if (ROWS > 7u) { let p = vec4f(subgroupShuffle(s7.w, source)); a7 = fma(p, va, a7); b7 = fma(p, vb, b7); c7 = fma(p, vc, c7); d7 = fma(p, vd, d7); }
        if (ROWS > 8u) { let p = vec4f(subgroupShuffle(s8.w, source)); a8 = fma(p, va, a8); b8 = fma(p, vb, b8); c8 = fma(p, vc, c8); d8 = fma(p, vd, d8); }
        if (ROWS > 9u) { let p = vec4f(subgroupShuffle(s9.w, source)); a9 = fma(p, va, a9); b9 = fma(p, vb, b9); c9 = fma(p, vc, c9); d9 = fma(p, vd, d9); }
        if (ROWS > 10u) { let p = vec4f(subgroupShuffle(s10.w, source)); a10 = fma(p, va, a10); b10 = fma(p, vb, b10); c10 = fma(p, vc, c10); d10 = fma(p, vd, d10); }
        if (ROWS > 11u) { let p = vec4f(subgroupShuffle(s11.w, source)); a11 = fma(p, va, a11); b11 = fma(p, vb, b11); c11 = fma(p, vc, c11); d11 = fma(p, vd, d11); }
        if (ROWS > 12u) { let p = vec4f(subgroupShuffle(s12.w, source)); a12 = fma(p, va, a12); b12 = fma(p, vb, b12); c12 = fma(p, vc, c12); d12 = fma(p, vd, d12); }
        if (ROWS > 13u) { let p = vec4f(subgroupShuffle(s13.w, source)); a13 = fma(p, va, a13); b13 = fma(p, vb, b13); c13 = fma(p, vc, c13); d13 = fma(p, vd, d13); }
        if (ROWS > 14u) { let p = vec4f(subgroupShuffle(s14.w, source)); a14 = fma(p, va, a14); b14 = fma(p, vb, b14); c14 = fma(p, vc, c14); d14 = fma(p, vd, d14); }
        if (ROWS > 15u) { let p = vec4f(subgroupShuffle(s15.w, source)); a15 = fma(p, va, a15); b15 = fma(p, vb, b15); c15 = fma(p, vc, c15); d15 = fma(p, vd, d15); }
      }
    }
  }

  { let t = over(w0.total); store(first + 0u, mine + 0u, out + 0u * model, lane, w0.top, t, a0, b0, c0, d0); }
  if (ROWS > 1u) { let t = over(w1.total); store(first + 1u, mine + 1u, out + 1u * model, lane, w1.top, t, a1, b1, c1, d1); }
  if (ROWS > 2u) { let t = over(w2.total); store(first + 2u, mine + 2u, out + 2u * model, lane, w2.top, t, a2, b2, c2, d2); }
  if (ROWS > 3u) { let t = over(w3.total); store(first + 3u, mine + 3u, out + 3u * model, lane, w3.top, t, a3, b3, c3, d3); }
  if (ROWS > 4u) { let t = over(w4.total); store(first + 4u, mine + 4u, out + 4u * model, lane, w4.top, t, a4, b4, c4, d4); }
  if (ROWS > 5u) { let t = over(w5.total); store(first + 5u, mine + 5u, out + 5u * model, lane, w5.top, t, a5, b5, c5, d5); }
  if (ROWS > 6u) { let t = over(w6.total); store(first + 6u, mine + 6u, out + 6u * model, lane, w6.top, t, a6, b6, c6, d6); }
  if (ROWS > 7u) { let t = over(w7.total); store(first + 7u, mine + 7u, out + 7u * model, lane, w7.top, t, a7, b7, c7, d7); }
  if (ROWS > 8u) { let t = over(w8.total); store(first + 8u, mine + 8u, out + 8u * model, lane, w8.top, t, a8, b8, c8, d8); }
  if (ROWS > 9u) { let t = over(w9.total); store(first + 9u, mine + 9u, out + 9u * model, lane, w9.top, t, a9, b9, c9, d9); }
  if (ROWS > 10u) { let t = over(w10.total); store(first + 10u, mine + 10u, out + 10u * model, lane, w10.top, t, a10, b10, c10, d10); }
  if (ROWS > 11u) { let t = over(w11.total); store(first + 11u, mine + 11u, out + 11u * model, lane, w11.top, t, a11, b11, c11, d11); }
  if (ROWS > 12u) { let t = over(w12.total); store(first + 12u, mine + 12u, out + 12u * model, lane, w12.top, t, a12, b12, c12, d12); }
  if (ROWS > 13u) { let t = over(w13.total); store(first + 13u, mine + 13u, out + 13u * model, lane, w13.top, t, a13, b13, c13, d13); }
  if (ROWS > 14u) { let t = over(w14.total); store(first + 14u, mine + 14u, out + 14u * model, lane, w14.top, t, a14, b14, c14, d14); }
  if (ROWS > 15u) { let t = over(w15.total); store(first + 15u, mine + 15u, out + 15u * model, lane, w15.top, t, a15, b15, c15, d15); }
}
