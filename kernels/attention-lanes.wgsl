// Causal attention without workgroup memory: for software drivers, and for any head width.
//   z[b,i,h,:] = Σ_j p_j v[b,j,h,:],  p = softmax_j(scale · q[b,i,h,:]·k[b,j,h,:])
// The softmax is online: keys come in blocks of eight with the running maximum `top`, the running sum `total` of the weights and
// the weighted values so far, which are rescaled when the maximum grows (Milakov and Gimelshein 2018, arXiv 1805.02867). No T×T
// matrix is ever stored; the weighted values so far live in z itself, which only this thread touches.
//
// qkv   [batch, queries, 3, heads, width]    the query rows
// kv    [batch, keyRows, 3, heads, width]    the key and value rows: qkv itself, or the earlier positions of a prefix
// state [batch, heads, queries, 2]           top and total, handed from a dispatch over the prefix to the one over qkv
// z     [batch, queries, heads, width]
// lengths [batch]                            with OWN_LENGTHS: each prompt's own `keys`; else not read
//
// Keys 0 … keys-1 are seen by every query, or with `causal` keys 0 … i by query i. With `begin` the softmax starts afresh, else it
// goes on from state and z; with `end` z is divided by the total, else state is kept. begin and end together never touch state.
// One thread: four neighbouring queries of one head of one prompt. Neighbouring threads have the same queries of other heads and
// prompts, so that all lanes see equally many keys. Groups: ceil(threads / WORKGROUP), threads = columns · ceil(queries / 4), columns = batch · heads.
// A thread reads up to seven keys past a query and gives them weight 0, so all keys and values must be finite.
const WORKGROUP: u32 = 8u;
const OWN_LENGTHS: bool = false;
const MASKED: f32 = -1e30; // finite, because WGSL may assume that infinities do not occur

struct Params {
  queries: u32, keys: u32, keyRows: u32, heads: u32, width: u32, columns: u32,
  causal: u32, begin: u32, end: u32, scale: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> kv: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> z: array<f32>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;

fn largest(a: vec4f, b: vec4f) -> f32 {
  let m = max(a, b);
  return max(max(m.x, m.y), max(m.z, m.w));
}
fn sum(a: vec4f, b: vec4f) -> f32 { return ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w)); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let thread = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let first = thread / params.columns * 4u;
  if (first >= params.queries) { return; }
  let column = thread % params.columns;
  let head = column % params.heads * params.width;
  let batch = column / params.heads;
  let model = params.heads * params.width;
  var keys = params.keys;
  if (OWN_LENGTHS) { keys = lengths[batch]; }
  let query = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.queries - 1u));
  let q = (vec4u(batch * params.queries) + query) * (3u * model) + vec4u(head);
  let out = (vec4u(batch * params.queries) + query) * model + vec4u(head);
  let base = batch * params.keyRows * 3u * model + model + head;
  let mine = vec4u(column * params.queries) + query;

  var top = vec4f(MASKED);
  var total = vec4f();
  if (params.begin == 0u) {
    top = vec4f(state[mine.x].x, state[mine.y].x, state[mine.z].x, state[mine.w].x);
    total = vec4f(state[mine.x].y, state[mine.y].y, state[mine.z].y, state[mine.w].y);
  }
  let seen = select(vec4u(keys), query + vec4u(1u), params.causal == 1u); // keys each query sees
  for (var j = 0u; j < seen.w; j += 8u) {
    let keyA = vec4u(j) + vec4u(0u, 1u, 2u, 3u);
    let keyB = keyA + vec4u(4u);
    let rowA = vec4u(base) + min(keyA, vec4u(keys - 1u)) * (3u * model);
    let rowB = vec4u(base) + min(keyB, vec4u(keys - 1u)) * (3u * model);
    // sNA, sNB: scores of query N with the first and last four keys
    var s0A = vec4f(); var s1A = vec4f(); var s2A = vec4f(); var s3A = vec4f();
    var s0B = vec4f(); var s1B = vec4f(); var s2B = vec4f(); var s3B = vec4f();
    for (var d = 0u; d < params.width; d++) {
      let kA = vec4f(kv[rowA.x + d], kv[rowA.y + d], kv[rowA.z + d], kv[rowA.w + d]);
      let kB = vec4f(kv[rowB.x + d], kv[rowB.y + d], kv[rowB.z + d], kv[rowB.w + d]);
      let q0 = qkv[q.x + d]; let q1 = qkv[q.y + d]; let q2 = qkv[q.z + d]; let q3 = qkv[q.w + d];
      s0A += q0 * kA; s1A += q1 * kA; s2A += q2 * kA; s3A += q3 * kA;
      s0B += q0 * kB; s1B += q1 * kB; s2B += q2 * kB; s3B += q3 * kB;
    }
    s0A = select(vec4f(MASKED), s0A * params.scale, keyA < vec4u(seen.x));
    s1A = select(vec4f(MASKED), s1A * params.scale, keyA < vec4u(seen.y));
    s2A = select(vec4f(MASKED), s2A * params.scale, keyA < vec4u(seen.z));
    s3A = select(vec4f(MASKED), s3A * params.scale, keyA < vec4u(seen.w));
    s0B = select(vec4f(MASKED), s0B * params.scale, keyB < vec4u(seen.x));
    s1B = select(vec4f(MASKED), s1B * params.scale, keyB < vec4u(seen.y));
    s2B = select(vec4f(MASKED), s2B * params.scale, keyB < vec4u(seen.z));
    s3B = select(vec4f(MASKED), s3B * params.scale, keyB < vec4u(seen.w));
    let next = max(top, vec4f(largest(s0A, s0B), largest(s1A, s1B), largest(s2A, s2B), largest(s3A, s3B)));
    let keep = exp(top - next);
    top = next;
    s0A = exp(s0A - next.x); s1A = exp(s1A - next.y); s2A = exp(s2A - next.z); s3A = exp(s3A - next.w);
    s0B = exp(s0B - next.x); s1B = exp(s1B - next.y); s2B = exp(s2B - next.z); s3B = exp(s3B - next.w);
    total = total * keep + vec4f(sum(s0A, s0B), sum(s1A, s1B), sum(s2A, s2B), sum(s3A, s3B));
    let fresh = j == 0u && params.begin == 1u; // z holds nothing yet
    for (var d = 0u; d < params.width; d++) {
      let at = model + d;
      let vA = vec4f(kv[rowA.x + at], kv[rowA.y + at], kv[rowA.z + at], kv[rowA.w + at]);
      let vB = vec4f(kv[rowB.x + at], kv[rowB.y + at], kv[rowB.z + at], kv[rowB.w + at]);
      var old = vec4f();
      if (!fresh) { old = vec4f(z[out.x + d], z[out.y + d], z[out.z + d], z[out.w + d]) * keep; }
      z[out.x + d] = old.x + dot(s0A, vA) + dot(s0B, vB);
      if (first + 1u < params.queries) { z[out.y + d] = old.y + dot(s1A, vA) + dot(s1B, vB); }
      if (first + 2u < params.queries) { z[out.z + d] = old.z + dot(s2A, vA) + dot(s2B, vB); }
      if (first + 3u < params.queries) { z[out.w + d] = old.w + dot(s3A, vA) + dot(s3B, vB); }
    }
  }
  if (OWN_LENGTHS && keys == 0u) { // nothing was written, and the next dispatch adds to what is there
    for (var d = 0u; d < params.width; d++) {
      z[out.x + d] = 0.0; z[out.y + d] = 0.0; z[out.z + d] = 0.0; z[out.w + d] = 0.0;
    }
  }
  if (params.end == 1u) {
    let part = vec4f(1.0) / total;
    for (var d = 0u; d < params.width; d++) {
      z[out.x + d] *= part.x;
      if (first + 1u < params.queries) { z[out.y + d] *= part.y; }
      if (first + 2u < params.queries) { z[out.z + d] *= part.z; }
      if (first + 3u < params.queries) { z[out.w + d] *= part.w; }
    }
  } else {
    // A clamped query writes the last one's own numbers again.
    state[mine.x] = vec2f(top.x, total.x);
    state[mine.y] = vec2f(top.y, total.y);
    state[mine.z] = vec2f(top.z, total.z);
    state[mine.w] = vec2f(top.w, total.w);
  }
}
