// Causal attention, one workgroup a query: for real GPUs when there are few queries (generating a token at a time) or a head is wide.
//   z[b,i,h,:] = Σ_j p_j v[b,j,h,:],  p = softmax_j(scale · q[b,i,h,:]·k[b,j,h,:]),  keys j = 0 … length + i
// The threads share the keys for the scores and the columns for the output. Keys come in blocks of KEYS; the softmax is online
// (Milakov and Gimelshein 2018), and the weighted values so far live in z, each element of which one thread owns.
//
// qkv    [batch, queries, 3, heads, width]    new positions: query, key and value rows
// prefix [batch, capacity, 3, heads, width]   earlier positions; the first `length` are seen by every query
// z      [batch, queries, heads, width]
// lengths [batch]                             with OWN_LENGTHS: each prompt's own `length`; else not read
//
// With SPLIT a query's keys are shared out among `parts` workgroups, in runs of equal length, so that a few queries with a long prefix fill
// a GPU; `z` is then [batch, queries, heads, parts, width + 2]: of each run the weighted values, their maximum and their sum, which
// attention-join makes one of in a fixed order. A run may be empty: maximum MASKED and nothing else.
//
// Needs: 4 · width operations for each query and key it sees; reads their k and v once for every query, 8 · width bytes a key, which is what
// it waits for. Groups: batch · heads · queries · parts. Workgroup memory: (KEYS + WORKGROUP) · 4 bytes.
const WORKGROUP: u32 = 64u;
const KEYS: u32 = 512u;
const OWN_LENGTHS: bool = false;
const SPLIT: bool = false;
const MASKED: f32 = -1e30; // finite, because WGSL may assume that infinities do not occur

struct Params { queries: u32, heads: u32, width: u32, length: u32, capacity: u32, groups: u32, parts: u32, scale: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> prefix: array<f32>;
@group(0) @binding(2) var<storage, read_write> z: array<f32>;
@group(0) @binding(3) var<storage, read> lengths: array<u32>;

var<workgroup> weights: array<f32, KEYS>;
var<workgroup> parts: array<f32, WORKGROUP>;

fn maximum(value: f32, thread: u32) -> f32 {
  parts[thread] = value;
  workgroupBarrier();
  for (var step = WORKGROUP / 2u; step > 0u; step /= 2u) {
    if (thread < step) { parts[thread] = max(parts[thread], parts[thread + step]); }
    workgroupBarrier();
  }
  let all = parts[0];
  workgroupBarrier();
  return all;
}
fn sum(value: f32, thread: u32) -> f32 {
  parts[thread] = value;
  workgroupBarrier();
  for (var step = WORKGROUP / 2u; step > 0u; step /= 2u) {
    if (thread < step) { parts[thread] += parts[thread + step]; }
    workgroupBarrier();
  }
  let all = parts[0];
  workgroupBarrier();
  return all;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let index = group.y * groups.x + group.x;
  if (index >= params.groups) { return; }
  let part = index % params.parts;
  let row = index / params.parts;
  let query = row % params.queries;
  let headIndex = (row / params.queries) % params.heads;
  let head = headIndex * params.width;
  let batch = row / (params.queries * params.heads);
  let model = params.heads * params.width;
  var length = params.length;
  if (OWN_LENGTHS) { length = lengths[batch]; }
  let stride = 3u * model;
  let ownStart = batch * params.queries * stride + head;
  let earlierStart = batch * params.capacity * stride + head;
  let q = ownStart + query * stride;
  var out = (batch * params.queries + query) * model + head;
  // The keys that this workgroup does: first … seen - 1.
  var seen = length + query + 1u;
  var first = 0u;
  if (SPLIT) {
    let run = (seen + params.parts - 1u) / params.parts;
    first = min(part * run, seen);
    seen = min(first + run, seen);
    out = (((batch * params.queries + query) * params.heads + headIndex) * params.parts + part) * (params.width + 2u);
  }

  var top = MASKED;
  var total = 0.0;
  for (var start = first; start < seen; start += KEYS) {
    let count = min(KEYS, seen - start);
    var mine = MASKED;
    for (var j = local.x; j < count; j += WORKGROUP) {
      let key = start + j;
      var s = 0.0;
      if (key < length) {
        let at = earlierStart + key * stride + model;
        for (var d = 0u; d < params.width; d++) { s += qkv[q + d] * prefix[at + d]; }
      } else {
        let at = ownStart + (key - length) * stride + model;
        for (var d = 0u; d < params.width; d++) { s += qkv[q + d] * qkv[at + d]; }
      }
      weights[j] = s * params.scale;
      mine = max(mine, s * params.scale);
    }
    let next = max(top, maximum(mine, local.x));
    let keep = exp(top - next);
    top = next;
    mine = 0.0;
    for (var j = local.x; j < count; j += WORKGROUP) {
      let p = exp(weights[j] - top);
      weights[j] = p;
      mine += p;
    }
    total = total * keep + sum(mine, local.x); // its barriers also make every weight visible
    let early = min(max(length, start) - start, count); // keys of this block that lie in the prefix
    for (var column = local.x; column < params.width; column += WORKGROUP) {
      var value = 0.0;
      if (start > first) { value = z[out + column] * keep; }
      var at = earlierStart + start * stride + 2u * model + column;
      for (var j = 0u; j < early; j++) {
        value += weights[j] * prefix[at];
        at += stride;
      }
      at = ownStart + (max(start, length) - length) * stride + 2u * model + column;
      for (var j = early; j < count; j++) {
        value += weights[j] * qkv[at];
        at += stride;
      }
      if (!SPLIT && start + count == seen) { value /= total; }
      z[out + column] = value;
    }
    workgroupBarrier(); // the next block overwrites the weights
  }
  if (SPLIT) {
    if (first == seen) {
      for (var column = local.x; column < params.width; column += WORKGROUP) { z[out + column] = 0.0; }
    }
    if (local.x == 0u) {
      z[out + params.width] = top;
      z[out + params.width + 1u] = total;
    }
  }
}
