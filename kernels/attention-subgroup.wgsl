// Causal attention in the registers of one subgroup, for CPU drivers with subgroups: no workgroup memory, no barriers, no scores in memory.
//   z[b,i,h,:] = Σ_j p_j v[b,j,h,:],  p = softmax_j(scale · q[b,i,h,:]·k[b,j,h,:])
// Two products of a tile of queries with a block of keys, with an online softmax between them: running maximum `top`, running sum of the
// weights, weighted values so far, rescaled when the maximum grows (Milakov and Gimelshein 2018, arXiv 1805.02867).
//   scores   lane l holds keys 4l … 4l+3 of the block as a vec4, for each of ROWS queries; lane l loads row l of q and all others get it by broadcast
//   values   lane l holds columns 4l … 4l+3 (and the same after every 4·SUBGROUP columns, VECTORS times) of z; a weight is handed round from its lane
// Each number is so loaded by one lane only, which is what counts on a CPU driver: with 16 queries and 32 keys, 48 loads of a lane for 512
// multiply-adds of scores, 64 for 1,024 of values. Lanes that have no query or key to load are masked: there a masked lane loads nothing.
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
// width ≤ 4 · SUBGROUP · VECTORS, VECTORS ≤ 4, ROWS ≤ 16. Keys of a block past the last one get weight 0; up to three of them read the last one, so all must be finite.
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

// This lane's columns, the part-th time, of what an earlier dispatch left in z.
fn earlier(at: u32, lane: u32, part: u32) -> vec4f {
  if (part >= VECTORS || lane + part * SUBGROUP >= params.width / 4u) { return vec4f(); }
  return z[at + part * SUBGROUP];
}

fn store(mine: u32, at: u32, lane: u32, top: f32, total: f32, a: vec4f, b: vec4f, c: vec4f, d: vec4f) {
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
  // One body for all queries here and at the end: a copy for each would take far longer to compile.
  let own = min(ROWS, params.queries - first);
  if (params.begin == 0u) {
    for (var i = 0u; i < own; i++) {
      let kept = state[mine + i];
      let w = Softmax(kept.x, select(0.0, kept.y, lane == 0u));
      let place = out + i * model;
      let a = earlier(place, lane, 0u);
      let b = earlier(place, lane, 1u);
      let c = earlier(place, lane, 2u);
      let d = earlier(place, lane, 3u);
      switch i {
        case 0u: { w0 = w; a0 = a; b0 = b; c0 = c; d0 = d; }
        case 1u: { w1 = w; a1 = a; b1 = b; c1 = c; d1 = d; }
        case 2u: { w2 = w; a2 = a; b2 = b; c2 = c; d2 = d; }
        case 3u: { w3 = w; a3 = a; b3 = b; c3 = c; d3 = d; }
        case 4u: { w4 = w; a4 = a; b4 = b; c4 = c; d4 = d; }
        case 5u: { w5 = w; a5 = a; b5 = b; c5 = c; d5 = d; }
        case 6u: { w6 = w; a6 = a; b6 = b; c6 = c; d6 = d; }
        case 7u: { w7 = w; a7 = a; b7 = b; c7 = c; d7 = d; }
        case 8u: { w8 = w; a8 = a; b8 = b; c8 = c; d8 = d; }
        case 9u: { w9 = w; a9 = a; b9 = b; c9 = c; d9 = d; }
        case 10u: { w10 = w; a10 = a; b10 = b; c10 = c; d10 = d; }
        case 11u: { w11 = w; a11 = a; b11 = b; c11 = c; d11 = d; }
        case 12u: { w12 = w; a12 = a; b12 = b; c12 = c; d12 = d; }
        case 13u: { w13 = w; a13 = a; b13 = b; c13 = c; d13 = d; }
        case 14u: { w14 = w; a14 = a; b14 = b; c14 = c; d14 = d; }
        case 15u: { w15 = w; a15 = a; b15 = b; c15 = c; d15 = d; }
        default: {}
      }
    }
  }

  for (var j = 0u; j < end; j += BLOCK) {
    let key = vec4u(j + lane * 4u) + vec4u(0u, 1u, 2u, 3u);
    let k = vec4u(kBase) + min(key, vec4u(keys - 1u)) * (3u * model);
    var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f(); var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
    var s8 = vec4f(); var s9 = vec4f(); var s10 = vec4f(); var s11 = vec4f(); var s12 = vec4f(); var s13 = vec4f(); var s14 = vec4f(); var s15 = vec4f();
    for (var c = 0u; c < width; c++) {
      var x: array<vec4f, 4>;
      if (lane < own) { x[0] = qkv[at[0] + c]; }
      if (ROWS > 1u * SUBGROUP) { if (lane + 1u * SUBGROUP < own) { x[1] = qkv[at[1] + c]; } }
      if (ROWS > 2u * SUBGROUP) { if (lane + 2u * SUBGROUP < own) { x[2] = qkv[at[2] + c]; } }
      if (ROWS > 3u * SUBGROUP) { if (lane + 3u * SUBGROUP < own) { x[3] = qkv[at[3] + c]; } }
      var k0 = vec4f();
      var k1 = vec4f();
      var k2 = vec4f();
      var k3 = vec4f();
      if (key.x < end) {
        k0 = kv[k.x + c];
        k1 = kv[k.y + c];
        k2 = kv[k.z + c];
        k3 = kv[k.w + c];
      }
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
    { let keep = weigh(&w0, &s0, key, seen + 0u * more); a0 *= keep; if (VECTORS > 1u) { b0 *= keep; } if (VECTORS > 2u) { c0 *= keep; } if (VECTORS > 3u) { d0 *= keep; } }
    if (ROWS > 1u) { let keep = weigh(&w1, &s1, key, seen + 1u * more); a1 *= keep; if (VECTORS > 1u) { b1 *= keep; } if (VECTORS > 2u) { c1 *= keep; } if (VECTORS > 3u) { d1 *= keep; } }
    if (ROWS > 2u) { let keep = weigh(&w2, &s2, key, seen + 2u * more); a2 *= keep; if (VECTORS > 1u) { b2 *= keep; } if (VECTORS > 2u) { c2 *= keep; } if (VECTORS > 3u) { d2 *= keep; } }
    if (ROWS > 3u) { let keep = weigh(&w3, &s3, key, seen + 3u * more); a3 *= keep; if (VECTORS > 1u) { b3 *= keep; } if (VECTORS > 2u) { c3 *= keep; } if (VECTORS > 3u) { d3 *= keep; } }
    if (ROWS > 4u) { let keep = weigh(&w4, &s4, key, seen + 4u * more); a4 *= keep; if (VECTORS > 1u) { b4 *= keep; } if (VECTORS > 2u) { c4 *= keep; } if (VECTORS > 3u) { d4 *= keep; } }
    if (ROWS > 5u) { let keep = weigh(&w5, &s5, key, seen + 5u * more); a5 *= keep; if (VECTORS > 1u) { b5 *= keep; } if (VECTORS > 2u) { c5 *= keep; } if (VECTORS > 3u) { d5 *= keep; } }
    if (ROWS > 6u) { let keep = weigh(&w6, &s6, key, seen + 6u * more); a6 *= keep; if (VECTORS > 1u) { b6 *= keep; } if (VECTORS > 2u) { c6 *= keep; } if (VECTORS > 3u) { d6 *= keep; } }
    if (ROWS > 7u) { let keep = weigh(&w7, &s7, key, seen + 7u * more); a7 *= keep; if (VECTORS > 1u) { b7 *= keep; } if (VECTORS > 2u) { c7 *= keep; } if (VECTORS > 3u) { d7 *= keep; } }
    if (ROWS > 8u) { let keep = weigh(&w8, &s8, key, seen + 8u * more); a8 *= keep; if (VECTORS > 1u) { b8 *= keep; } if (VECTORS > 2u) { c8 *= keep; } if (VECTORS > 3u) { d8 *= keep; } }
    if (ROWS > 9u) { let keep = weigh(&w9, &s9, key, seen + 9u * more); a9 *= keep; if (VECTORS > 1u) { b9 *= keep; } if (VECTORS > 2u) { c9 *= keep; } if (VECTORS > 3u) { d9 *= keep; } }
    if (ROWS > 10u) { let keep = weigh(&w10, &s10, key, seen + 10u * more); a10 *= keep; if (VECTORS > 1u) { b10 *= keep; } if (VECTORS > 2u) { c10 *= keep; } if (VECTORS > 3u) { d10 *= keep; } }
    if (ROWS > 11u) { let keep = weigh(&w11, &s11, key, seen + 11u * more); a11 *= keep; if (VECTORS > 1u) { b11 *= keep; } if (VECTORS > 2u) { c11 *= keep; } if (VECTORS > 3u) { d11 *= keep; } }
    if (ROWS > 12u) { let keep = weigh(&w12, &s12, key, seen + 12u * more); a12 *= keep; if (VECTORS > 1u) { b12 *= keep; } if (VECTORS > 2u) { c12 *= keep; } if (VECTORS > 3u) { d12 *= keep; } }
    if (ROWS > 13u) { let keep = weigh(&w13, &s13, key, seen + 13u * more); a13 *= keep; if (VECTORS > 1u) { b13 *= keep; } if (VECTORS > 2u) { c13 *= keep; } if (VECTORS > 3u) { d13 *= keep; } }
    if (ROWS > 14u) { let keep = weigh(&w14, &s14, key, seen + 14u * more); a14 *= keep; if (VECTORS > 1u) { b14 *= keep; } if (VECTORS > 2u) { c14 *= keep; } if (VECTORS > 3u) { d14 *= keep; } }
    if (ROWS > 15u) { let keep = weigh(&w15, &s15, key, seen + 15u * more); a15 *= keep; if (VECTORS > 1u) { b15 *= keep; } if (VECTORS > 2u) { c15 *= keep; } if (VECTORS > 3u) { d15 *= keep; } }
    let sources = min(SUBGROUP, (end - j + 3u) / 4u);
    for (var source = 0u; source < sources; source++) {
      let v = vec4u(kBase + model + lane) + min(vec4u(j + source * 4u) + vec4u(0u, 1u, 2u, 3u), vec4u(keys - 1u)) * (3u * model);
      {
        let va = kv[v.x];
        var vb = vec4f();
        var vc = vec4f();
        var vd = vec4f();
        if (VECTORS > 1u) { vb = kv[v.x + SUBGROUP]; }
        if (VECTORS > 2u) { vc = kv[v.x + 2u * SUBGROUP]; }
        if (VECTORS > 3u) { vd = kv[v.x + 3u * SUBGROUP]; }
        { let p = vec4f(subgroupShuffle(s0.x, source)); a0 = fma(p, va, a0); if (VECTORS > 1u) { b0 = fma(p, vb, b0); } if (VECTORS > 2u) { c0 = fma(p, vc, c0); } if (VECTORS > 3u) { d0 = fma(p, vd, d0); } }
        if (ROWS > 1u) { let p = vec4f(subgroupShuffle(s1.x, source)); a1 = fma(p, va, a1); if (VECTORS > 1u) { b1 = fma(p, vb, b1); } if (VECTORS > 2u) { c1 = fma(p, vc, c1); } if (VECTORS > 3u) { d1 = fma(p, vd, d1); } }
        if (ROWS > 2u) { let p = vec4f(subgroupShuffle(s2.x, source)); a2 = fma(p, va, a2); if (VECTORS > 1u) { b2 = fma(p, vb, b2); } if (VECTORS > 2u) { c2 = fma(p, vc, c2); } if (VECTORS > 3u) { d2 = fma(p, vd, d2); } }
        if (ROWS > 3u) { let p = vec4f(subgroupShuffle(s3.x, source)); a3 = fma(p, va, a3); if (VECTORS > 1u) { b3 = fma(p, vb, b3); } if (VECTORS > 2u) { c3 = fma(p, vc, c3); } if (VECTORS > 3u) { d3 = fma(p, vd, d3); } }
        if (ROWS > 4u) { let p = vec4f(subgroupShuffle(s4.x, source)); a4 = fma(p, va, a4); if (VECTORS > 1u) { b4 = fma(p, vb, b4); } if (VECTORS > 2u) { c4 = fma(p, vc, c4); } if (VECTORS > 3u) { d4 = fma(p, vd, d4); } }
        if (ROWS > 5u) { let p = vec4f(subgroupShuffle(s5.x, source)); a5 = fma(p, va, a5); if (VECTORS > 1u) { b5 = fma(p, vb, b5); } if (VECTORS > 2u) { c5 = fma(p, vc, c5); } if (VECTORS > 3u) { d5 = fma(p, vd, d5); } }
        if (ROWS > 6u) { let p = vec4f(subgroupShuffle(s6.x, source)); a6 = fma(p, va, a6); if (VECTORS > 1u) { b6 = fma(p, vb, b6); } if (VECTORS > 2u) { c6 = fma(p, vc, c6); } if (VECTORS > 3u) { d6 = fma(p, vd, d6); } }
        if (ROWS > 7u) { let p = vec4f(subgroupShuffle(s7.x, source)); a7 = fma(p, va, a7); if (VECTORS > 1u) { b7 = fma(p, vb, b7); } if (VECTORS > 2u) { c7 = fma(p, vc, c7); } if (VECTORS > 3u) { d7 = fma(p, vd, d7); } }
        if (ROWS > 8u) { let p = vec4f(subgroupShuffle(s8.x, source)); a8 = fma(p, va, a8); if (VECTORS > 1u) { b8 = fma(p, vb, b8); } if (VECTORS > 2u) { c8 = fma(p, vc, c8); } if (VECTORS > 3u) { d8 = fma(p, vd, d8); } }
        if (ROWS > 9u) { let p = vec4f(subgroupShuffle(s9.x, source)); a9 = fma(p, va, a9); if (VECTORS > 1u) { b9 = fma(p, vb, b9); } if (VECTORS > 2u) { c9 = fma(p, vc, c9); } if (VECTORS > 3u) { d9 = fma(p, vd, d9); } }
        if (ROWS > 10u) { let p = vec4f(subgroupShuffle(s10.x, source)); a10 = fma(p, va, a10); if (VECTORS > 1u) { b10 = fma(p, vb, b10); } if (VECTORS > 2u) { c10 = fma(p, vc, c10); } if (VECTORS > 3u) { d10 = fma(p, vd, d10); } }
        if (ROWS > 11u) { let p = vec4f(subgroupShuffle(s11.x, source)); a11 = fma(p, va, a11); if (VECTORS > 1u) { b11 = fma(p, vb, b11); } if (VECTORS > 2u) { c11 = fma(p, vc, c11); } if (VECTORS > 3u) { d11 = fma(p, vd, d11); } }
        if (ROWS > 12u) { let p = vec4f(subgroupShuffle(s12.x, source)); a12 = fma(p, va, a12); if (VECTORS > 1u) { b12 = fma(p, vb, b12); } if (VECTORS > 2u) { c12 = fma(p, vc, c12); } if (VECTORS > 3u) { d12 = fma(p, vd, d12); } }
        if (ROWS > 13u) { let p = vec4f(subgroupShuffle(s13.x, source)); a13 = fma(p, va, a13); if (VECTORS > 1u) { b13 = fma(p, vb, b13); } if (VECTORS > 2u) { c13 = fma(p, vc, c13); } if (VECTORS > 3u) { d13 = fma(p, vd, d13); } }
        if (ROWS > 14u) { let p = vec4f(subgroupShuffle(s14.x, source)); a14 = fma(p, va, a14); if (VECTORS > 1u) { b14 = fma(p, vb, b14); } if (VECTORS > 2u) { c14 = fma(p, vc, c14); } if (VECTORS > 3u) { d14 = fma(p, vd, d14); } }
        if (ROWS > 15u) { let p = vec4f(subgroupShuffle(s15.x, source)); a15 = fma(p, va, a15); if (VECTORS > 1u) { b15 = fma(p, vb, b15); } if (VECTORS > 2u) { c15 = fma(p, vc, c15); } if (VECTORS > 3u) { d15 = fma(p, vd, d15); } }
      }
      {
        let va = kv[v.y];
        var vb = vec4f();
        var vc = vec4f();
        var vd = vec4f();
        if (VECTORS > 1u) { vb = kv[v.y + SUBGROUP]; }
        if (VECTORS > 2u) { vc = kv[v.y + 2u * SUBGROUP]; }
        if (VECTORS > 3u) { vd = kv[v.y + 3u * SUBGROUP]; }
        { let p = vec4f(subgroupShuffle(s0.y, source)); a0 = fma(p, va, a0); if (VECTORS > 1u) { b0 = fma(p, vb, b0); } if (VECTORS > 2u) { c0 = fma(p, vc, c0); } if (VECTORS > 3u) { d0 = fma(p, vd, d0); } }
        if (ROWS > 1u) { let p = vec4f(subgroupShuffle(s1.y, source)); a1 = fma(p, va, a1); if (VECTORS > 1u) { b1 = fma(p, vb, b1); } if (VECTORS > 2u) { c1 = fma(p, vc, c1); } if (VECTORS > 3u) { d1 = fma(p, vd, d1); } }
        if (ROWS > 2u) { let p = vec4f(subgroupShuffle(s2.y, source)); a2 = fma(p, va, a2); if (VECTORS > 1u) { b2 = fma(p, vb, b2); } if (VECTORS > 2u) { c2 = fma(p, vc, c2); } if (VECTORS > 3u) { d2 = fma(p, vd, d2); } }
        if (ROWS > 3u) { let p = vec4f(subgroupShuffle(s3.y, source)); a3 = fma(p, va, a3); if (VECTORS > 1u) { b3 = fma(p, vb, b3); } if (VECTORS > 2u) { c3 = fma(p, vc, c3); } if (VECTORS > 3u) { d3 = fma(p, vd, d3); } }
        if (ROWS > 4u) { let p = vec4f(subgroupShuffle(s4.y, source)); a4 = fma(p, va, a4); if (VECTORS > 1u) { b4 = fma(p, vb, b4); } if (VECTORS > 2u) { c4 = fma(p, vc, c4); } if (VECTORS > 3u) { d4 = fma(p, vd, d4); } }
        if (ROWS > 5u) { let p = vec4f(subgroupShuffle(s5.y, source)); a5 = fma(p, va, a5); if (VECTORS > 1u) { b5 = fma(p, vb, b5); } if (VECTORS > 2u) { c5 = fma(p, vc, c5); } if (VECTORS > 3u) { d5 = fma(p, vd, d5); } }
        if (ROWS > 6u) { let p = vec4f(subgroupShuffle(s6.y, source)); a6 = fma(p, va, a6); if (VECTORS > 1u) { b6 = fma(p, vb, b6); } if (VECTORS > 2u) { c6 = fma(p, vc, c6); } if (VECTORS > 3u) { d6 = fma(p, vd, d6); } }
        if (ROWS > 7u) { let p = vec4f(subgroupShuffle(s7.y, source)); a7 = fma(p, va, a7); if (VECTORS > 1u) { b7 = fma(p, vb, b7); } if (VECTORS > 2u) { c7 = fma(p, vc, c7); } if (VECTORS > 3u) { d7 = fma(p, vd, d7); } }
        if (ROWS > 8u) { let p = vec4f(subgroupShuffle(s8.y, source)); a8 = fma(p, va, a8); if (VECTORS > 1u) { b8 = fma(p, vb, b8); } if (VECTORS > 2u) { c8 = fma(p, vc, c8); } if (VECTORS > 3u) { d8 = fma(p, vd, d8); } }
        if (ROWS > 9u) { let p = vec4f(subgroupShuffle(s9.y, source)); a9 = fma(p, va, a9); if (VECTORS > 1u) { b9 = fma(p, vb, b9); } if (VECTORS > 2u) { c9 = fma(p, vc, c9); } if (VECTORS > 3u) { d9 = fma(p, vd, d9); } }
        if (ROWS > 10u) { let p = vec4f(subgroupShuffle(s10.y, source)); a10 = fma(p, va, a10); if (VECTORS > 1u) { b10 = fma(p, vb, b10); } if (VECTORS > 2u) { c10 = fma(p, vc, c10); } if (VECTORS > 3u) { d10 = fma(p, vd, d10); } }
        if (ROWS > 11u) { let p = vec4f(subgroupShuffle(s11.y, source)); a11 = fma(p, va, a11); if (VECTORS > 1u) { b11 = fma(p, vb, b11); } if (VECTORS > 2u) { c11 = fma(p, vc, c11); } if (VECTORS > 3u) { d11 = fma(p, vd, d11); } }
        if (ROWS > 12u) { let p = vec4f(subgroupShuffle(s12.y, source)); a12 = fma(p, va, a12); if (VECTORS > 1u) { b12 = fma(p, vb, b12); } if (VECTORS > 2u) { c12 = fma(p, vc, c12); } if (VECTORS > 3u) { d12 = fma(p, vd, d12); } }
        if (ROWS > 13u) { let p = vec4f(subgroupShuffle(s13.y, source)); a13 = fma(p, va, a13); if (VECTORS > 1u) { b13 = fma(p, vb, b13); } if (VECTORS > 2u) { c13 = fma(p, vc, c13); } if (VECTORS > 3u) { d13 = fma(p, vd, d13); } }
        if (ROWS > 14u) { let p = vec4f(subgroupShuffle(s14.y, source)); a14 = fma(p, va, a14); if (VECTORS > 1u) { b14 = fma(p, vb, b14); } if (VECTORS > 2u) { c14 = fma(p, vc, c14); } if (VECTORS > 3u) { d14 = fma(p, vd, d14); } }
        if (ROWS > 15u) { let p = vec4f(subgroupShuffle(s15.y, source)); a15 = fma(p, va, a15); if (VECTORS > 1u) { b15 = fma(p, vb, b15); } if (VECTORS > 2u) { c15 = fma(p, vc, c15); } if (VECTORS > 3u) { d15 = fma(p, vd, d15); } }
      }
      {
        let va = kv[v.z];
        var vb = vec4f();
        var vc = vec4f();
        var vd = vec4f();
        if (VECTORS > 1u) { vb = kv[v.z + SUBGROUP]; }
        if (VECTORS > 2u) { vc = kv[v.z + 2u * SUBGROUP]; }
        if (VECTORS > 3u) { vd = kv[v.z + 3u * SUBGROUP]; }
        { let p = vec4f(subgroupShuffle(s0.z, source)); a0 = fma(p, va, a0); if (VECTORS > 1u) { b0 = fma(p, vb, b0); } if (VECTORS > 2u) { c0 = fma(p, vc, c0); } if (VECTORS > 3u) { d0 = fma(p, vd, d0); } }
        if (ROWS > 1u) { let p = vec4f(subgroupShuffle(s1.z, source)); a1 = fma(p, va, a1); if (VECTORS > 1u) { b1 = fma(p, vb, b1); } if (VECTORS > 2u) { c1 = fma(p, vc, c1); } if (VECTORS > 3u) { d1 = fma(p, vd, d1); } }
        if (ROWS > 2u) { let p = vec4f(subgroupShuffle(s2.z, source)); a2 = fma(p, va, a2); if (VECTORS > 1u) { b2 = fma(p, vb, b2); } if (VECTORS > 2u) { c2 = fma(p, vc, c2); } if (VECTORS > 3u) { d2 = fma(p, vd, d2); } }
        if (ROWS > 3u) { let p = vec4f(subgroupShuffle(s3.z, source)); a3 = fma(p, va, a3); if (VECTORS > 1u) { b3 = fma(p, vb, b3); } if (VECTORS > 2u) { c3 = fma(p, vc, c3); } if (VECTORS > 3u) { d3 = fma(p, vd, d3); } }
        if (ROWS > 4u) { let p = vec4f(subgroupShuffle(s4.z, source)); a4 = fma(p, va, a4); if (VECTORS > 1u) { b4 = fma(p, vb, b4); } if (VECTORS > 2u) { c4 = fma(p, vc, c4); } if (VECTORS > 3u) { d4 = fma(p, vd, d4); } }
        if (ROWS > 5u) { let p = vec4f(subgroupShuffle(s5.z, source)); a5 = fma(p, va, a5); if (VECTORS > 1u) { b5 = fma(p, vb, b5); } if (VECTORS > 2u) { c5 = fma(p, vc, c5); } if (VECTORS > 3u) { d5 = fma(p, vd, d5); } }
        if (ROWS > 6u) { let p = vec4f(subgroupShuffle(s6.z, source)); a6 = fma(p, va, a6); if (VECTORS > 1u) { b6 = fma(p, vb, b6); } if (VECTORS > 2u) { c6 = fma(p, vc, c6); } if (VECTORS > 3u) { d6 = fma(p, vd, d6); } }
        if (ROWS > 7u) { let p = vec4f(subgroupShuffle(s7.z, source)); a7 = fma(p, va, a7); if (VECTORS > 1u) { b7 = fma(p, vb, b7); } if (VECTORS > 2u) { c7 = fma(p, vc, c7); } if (VECTORS > 3u) { d7 = fma(p, vd, d7); } }
        if (ROWS > 8u) { let p = vec4f(subgroupShuffle(s8.z, source)); a8 = fma(p, va, a8); if (VECTORS > 1u) { b8 = fma(p, vb, b8); } if (VECTORS > 2u) { c8 = fma(p, vc, c8); } if (VECTORS > 3u) { d8 = fma(p, vd, d8); } }
        if (ROWS > 9u) { let p = vec4f(subgroupShuffle(s9.z, source)); a9 = fma(p, va, a9); if (VECTORS > 1u) { b9 = fma(p, vb, b9); } if (VECTORS > 2u) { c9 = fma(p, vc, c9); } if (VECTORS > 3u) { d9 = fma(p, vd, d9); } }
        if (ROWS > 10u) { let p = vec4f(subgroupShuffle(s10.z, source)); a10 = fma(p, va, a10); if (VECTORS > 1u) { b10 = fma(p, vb, b10); } if (VECTORS > 2u) { c10 = fma(p, vc, c10); } if (VECTORS > 3u) { d10 = fma(p, vd, d10); } }
        if (ROWS > 11u) { let p = vec4f(subgroupShuffle(s11.z, source)); a11 = fma(p, va, a11); if (VECTORS > 1u) { b11 = fma(p, vb, b11); } if (VECTORS > 2u) { c11 = fma(p, vc, c11); } if (VECTORS > 3u) { d11 = fma(p, vd, d11); } }
        if (ROWS > 12u) { let p = vec4f(subgroupShuffle(s12.z, source)); a12 = fma(p, va, a12); if (VECTORS > 1u) { b12 = fma(p, vb, b12); } if (VECTORS > 2u) { c12 = fma(p, vc, c12); } if (VECTORS > 3u) { d12 = fma(p, vd, d12); } }
        if (ROWS > 13u) { let p = vec4f(subgroupShuffle(s13.z, source)); a13 = fma(p, va, a13); if (VECTORS > 1u) { b13 = fma(p, vb, b13); } if (VECTORS > 2u) { c13 = fma(p, vc, c13); } if (VECTORS > 3u) { d13 = fma(p, vd, d13); } }
        if (ROWS > 14u) { let p = vec4f(subgroupShuffle(s14.z, source)); a14 = fma(p, va, a14); if (VECTORS > 1u) { b14 = fma(p, vb, b14); } if (VECTORS > 2u) { c14 = fma(p, vc, c14); } if (VECTORS > 3u) { d14 = fma(p, vd, d14); } }
        if (ROWS > 15u) { let p = vec4f(subgroupShuffle(s15.z, source)); a15 = fma(p, va, a15); if (VECTORS > 1u) { b15 = fma(p, vb, b15); } if (VECTORS > 2u) { c15 = fma(p, vc, c15); } if (VECTORS > 3u) { d15 = fma(p, vd, d15); } }
      }
      {
        let va = kv[v.w];
        var vb = vec4f();
        var vc = vec4f();
        var vd = vec4f();
        if (VECTORS > 1u) { vb = kv[v.w + SUBGROUP]; }
        if (VECTORS > 2u) { vc = kv[v.w + 2u * SUBGROUP]; }
        if (VECTORS > 3u) { vd = kv[v.w + 3u * SUBGROUP]; }
        { let p = vec4f(subgroupShuffle(s0.w, source)); a0 = fma(p, va, a0); if (VECTORS > 1u) { b0 = fma(p, vb, b0); } if (VECTORS > 2u) { c0 = fma(p, vc, c0); } if (VECTORS > 3u) { d0 = fma(p, vd, d0); } }
        if (ROWS > 1u) { let p = vec4f(subgroupShuffle(s1.w, source)); a1 = fma(p, va, a1); if (VECTORS > 1u) { b1 = fma(p, vb, b1); } if (VECTORS > 2u) { c1 = fma(p, vc, c1); } if (VECTORS > 3u) { d1 = fma(p, vd, d1); } }
        if (ROWS > 2u) { let p = vec4f(subgroupShuffle(s2.w, source)); a2 = fma(p, va, a2); if (VECTORS > 1u) { b2 = fma(p, vb, b2); } if (VECTORS > 2u) { c2 = fma(p, vc, c2); } if (VECTORS > 3u) { d2 = fma(p, vd, d2); } }
        if (ROWS > 3u) { let p = vec4f(subgroupShuffle(s3.w, source)); a3 = fma(p, va, a3); if (VECTORS > 1u) { b3 = fma(p, vb, b3); } if (VECTORS > 2u) { c3 = fma(p, vc, c3); } if (VECTORS > 3u) { d3 = fma(p, vd, d3); } }
        if (ROWS > 4u) { let p = vec4f(subgroupShuffle(s4.w, source)); a4 = fma(p, va, a4); if (VECTORS > 1u) { b4 = fma(p, vb, b4); } if (VECTORS > 2u) { c4 = fma(p, vc, c4); } if (VECTORS > 3u) { d4 = fma(p, vd, d4); } }
        if (ROWS > 5u) { let p = vec4f(subgroupShuffle(s5.w, source)); a5 = fma(p, va, a5); if (VECTORS > 1u) { b5 = fma(p, vb, b5); } if (VECTORS > 2u) { c5 = fma(p, vc, c5); } if (VECTORS > 3u) { d5 = fma(p, vd, d5); } }
        if (ROWS > 6u) { let p = vec4f(subgroupShuffle(s6.w, source)); a6 = fma(p, va, a6); if (VECTORS > 1u) { b6 = fma(p, vb, b6); } if (VECTORS > 2u) { c6 = fma(p, vc, c6); } if (VECTORS > 3u) { d6 = fma(p, vd, d6); } }
        if (ROWS > 7u) { let p = vec4f(subgroupShuffle(s7.w, source)); a7 = fma(p, va, a7); if (VECTORS > 1u) { b7 = fma(p, vb, b7); } if (VECTORS > 2u) { c7 = fma(p, vc, c7); } if (VECTORS > 3u) { d7 = fma(p, vd, d7); } }
        if (ROWS > 8u) { let p = vec4f(subgroupShuffle(s8.w, source)); a8 = fma(p, va, a8); if (VECTORS > 1u) { b8 = fma(p, vb, b8); } if (VECTORS > 2u) { c8 = fma(p, vc, c8); } if (VECTORS > 3u) { d8 = fma(p, vd, d8); } }
        if (ROWS > 9u) { let p = vec4f(subgroupShuffle(s9.w, source)); a9 = fma(p, va, a9); if (VECTORS > 1u) { b9 = fma(p, vb, b9); } if (VECTORS > 2u) { c9 = fma(p, vc, c9); } if (VECTORS > 3u) { d9 = fma(p, vd, d9); } }
        if (ROWS > 10u) { let p = vec4f(subgroupShuffle(s10.w, source)); a10 = fma(p, va, a10); if (VECTORS > 1u) { b10 = fma(p, vb, b10); } if (VECTORS > 2u) { c10 = fma(p, vc, c10); } if (VECTORS > 3u) { d10 = fma(p, vd, d10); } }
        if (ROWS > 11u) { let p = vec4f(subgroupShuffle(s11.w, source)); a11 = fma(p, va, a11); if (VECTORS > 1u) { b11 = fma(p, vb, b11); } if (VECTORS > 2u) { c11 = fma(p, vc, c11); } if (VECTORS > 3u) { d11 = fma(p, vd, d11); } }
        if (ROWS > 12u) { let p = vec4f(subgroupShuffle(s12.w, source)); a12 = fma(p, va, a12); if (VECTORS > 1u) { b12 = fma(p, vb, b12); } if (VECTORS > 2u) { c12 = fma(p, vc, c12); } if (VECTORS > 3u) { d12 = fma(p, vd, d12); } }
        if (ROWS > 13u) { let p = vec4f(subgroupShuffle(s13.w, source)); a13 = fma(p, va, a13); if (VECTORS > 1u) { b13 = fma(p, vb, b13); } if (VECTORS > 2u) { c13 = fma(p, vc, c13); } if (VECTORS > 3u) { d13 = fma(p, vd, d13); } }
        if (ROWS > 14u) { let p = vec4f(subgroupShuffle(s14.w, source)); a14 = fma(p, va, a14); if (VECTORS > 1u) { b14 = fma(p, vb, b14); } if (VECTORS > 2u) { c14 = fma(p, vc, c14); } if (VECTORS > 3u) { d14 = fma(p, vd, d14); } }
        if (ROWS > 15u) { let p = vec4f(subgroupShuffle(s15.w, source)); a15 = fma(p, va, a15); if (VECTORS > 1u) { b15 = fma(p, vb, b15); } if (VECTORS > 2u) { c15 = fma(p, vc, c15); } if (VECTORS > 3u) { d15 = fma(p, vd, d15); } }
      }
    }
  }

  for (var i = 0u; i < own; i++) {
    var w = w0;
    var a = a0;
    var b = b0;
    var c = c0;
    var d = d0;
    switch i {
      case 1u: { w = w1; a = a1; b = b1; c = c1; d = d1; }
      case 2u: { w = w2; a = a2; b = b2; c = c2; d = d2; }
      case 3u: { w = w3; a = a3; b = b3; c = c3; d = d3; }
      case 4u: { w = w4; a = a4; b = b4; c = c4; d = d4; }
      case 5u: { w = w5; a = a5; b = b5; c = c5; d = d5; }
      case 6u: { w = w6; a = a6; b = b6; c = c6; d = d6; }
      case 7u: { w = w7; a = a7; b = b7; c = c7; d = d7; }
      case 8u: { w = w8; a = a8; b = b8; c = c8; d = d8; }
      case 9u: { w = w9; a = a9; b = b9; c = c9; d = d9; }
      case 10u: { w = w10; a = a10; b = b10; c = c10; d = d10; }
      case 11u: { w = w11; a = a11; b = b11; c = c11; d = d11; }
      case 12u: { w = w12; a = a12; b = b12; c = c12; d = d12; }
      case 13u: { w = w13; a = a13; b = b13; c = c13; d = d13; }
      case 14u: { w = w14; a = a14; b = b14; c = c14; d = d14; }
      case 15u: { w = w15; a = a15; b = b15; c = c15; d = d15; }
      default: {}
    }
    let total = over(w.total);
    store(mine + i, out + i * model, lane, w.top, total, a, b, c, d);
  }
}
