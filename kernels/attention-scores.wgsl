// Scores of causal attention, stored: s[b,h,i,firstKey + j] = scale · q[b,i,h,:]·k[b,j,h,:], and -1e30 where `causal` and j > i.
//
// qkv    [batch, queries, 3, heads, width]    the query rows
// kv     [batch, keyRows, 3, heads, width]    the key rows: qkv itself, or the earlier positions of a prefix
// scores [batch, heads, queries, total]       columns firstKey … firstKey + keys - 1 are written
// One thread: four queries by four keys of a head. Groups: ceil(batch · heads · ceil(queries / 4) · ceil(keys / 4) / WORKGROUP).
const WORKGROUP: u32 = 64u;
const MASKED: f32 = -1e30;

struct Params { batch: u32, queries: u32, keys: u32, keyRows: u32, heads: u32, width: u32, firstKey: u32, total: u32, causal: u32, scale: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> kv: array<f32>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;

fn put(row: u32, query: u32, key: u32, value: f32) {
  if (query >= params.queries || key >= params.keys) { return; }
  scores[row + query * params.total + key] = select(value * params.scale, MASKED, params.causal == 1u && key > query);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let thread = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let across = (params.keys + 3u) / 4u;
  let down = (params.queries + 3u) / 4u;
  let key = thread % across * 4u;
  let query = thread / across % down * 4u;
  let column = thread / (across * down);
  let batch = column / params.heads;
  let head = column % params.heads * params.width;
  if (batch >= params.batch) { return; }
  let model = params.heads * params.width;
  let four = vec4u(0u, 1u, 2u, 3u);
  let q = (vec4u(batch * params.queries) + min(vec4u(query) + four, vec4u(params.queries - 1u))) * (3u * model) + vec4u(head);
  let k = (vec4u(batch * params.keyRows) + min(vec4u(key) + four, vec4u(params.keys - 1u))) * (3u * model) + vec4u(model + head);
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f(); // scores of query N with the four keys
  for (var d = 0u; d < params.width; d++) {
    let keys = vec4f(kv[k.x + d], kv[k.y + d], kv[k.z + d], kv[k.w + d]);
    s0 += qkv[q.x + d] * keys;
    s1 += qkv[q.y + d] * keys;
    s2 += qkv[q.z + d] * keys;
    s3 += qkv[q.w + d] * keys;
  }
  let row = column * params.queries * params.total + params.firstKey;
  put(row, query, key, s0.x); put(row, query, key + 1u, s0.y); put(row, query, key + 2u, s0.z); put(row, query, key + 3u, s0.w);
  put(row, query + 1u, key, s1.x); put(row, query + 1u, key + 1u, s1.y); put(row, query + 1u, key + 2u, s1.z); put(row, query + 1u, key + 3u, s1.w);
  put(row, query + 2u, key, s2.x); put(row, query + 2u, key + 1u, s2.y); put(row, query + 2u, key + 2u, s2.z); put(row, query + 2u, key + 3u, s2.w);
  put(row, query + 3u, key, s3.x); put(row, query + 3u, key + 1u, s3.y); put(row, query + 3u, key + 2u, s3.z); put(row, query + 3u, key + 3u, s3.w);
}
