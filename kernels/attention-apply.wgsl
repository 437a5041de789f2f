// A stored attention pattern applied to values: z[b,i,h,:] = Σ_j p[b,h,i,firstKey + j] v[b,j,h,:], with `accumulate` added to z.
//
// pattern [batch, heads, queries, total]      columns firstKey … firstKey + keys - 1 are used
// kv      [batch, keyRows, 3, heads, width]   the value rows: of the run itself, or of a prefix
// z       [batch, queries, heads, width]
// One thread: four queries by four columns of a head. Groups: ceil(batch · heads · ceil(queries / 4) · ceil(width / 4) / WORKGROUP).
const WORKGROUP: u32 = 64u;

struct Params { batch: u32, queries: u32, keys: u32, keyRows: u32, heads: u32, width: u32, firstKey: u32, total: u32, accumulate: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> pattern: array<f32>;
@group(0) @binding(1) var<storage, read> kv: array<f32>;
@group(0) @binding(2) var<storage, read_write> z: array<f32>;

fn put(at: u32, column: u32, value: f32) {
  if (column >= params.width) { return; }
  if (params.accumulate == 1u) { z[at + column] += value; } else { z[at + column] = value; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let thread = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let across = (params.width + 3u) / 4u;
  let down = (params.queries + 3u) / 4u;
  let column = thread % across * 4u;
  let query = thread / across % down * 4u;
  let line = thread / (across * down);
  let batch = line / params.heads;
  let head = line % params.heads * params.width;
  if (batch >= params.batch) { return; }
  let model = params.heads * params.width;
  let rows = min(vec4u(query) + vec4u(0u, 1u, 2u, 3u), vec4u(params.queries - 1u));
  let p = (vec4u(line * params.queries) + rows) * params.total + vec4u(params.firstKey);
  let columns = min(vec4u(column) + vec4u(0u, 1u, 2u, 3u), vec4u(params.width - 1u));
  var v = vec4u(batch * params.keyRows * 3u * model + 2u * model + head) + columns;
  var z0 = vec4f(); var z1 = vec4f(); var z2 = vec4f(); var z3 = vec4f(); // the four columns of query N
  for (var j = 0u; j < params.keys; j++) {
    let values = vec4f(kv[v.x], kv[v.y], kv[v.z], kv[v.w]);
    z0 += pattern[p.x + j] * values;
    z1 += pattern[p.y + j] * values;
    z2 += pattern[p.z + j] * values;
    z3 += pattern[p.w + j] * values;
    v += vec4u(3u * model);
  }
  let out = (vec4u(batch * params.queries) + rows) * model + vec4u(head);
  put(out.x, column, z0.x); put(out.x, column + 1u, z0.y); put(out.x, column + 2u, z0.z); put(out.x, column + 3u, z0.w);
  if (query + 1u < params.queries) { put(out.y, column, z1.x); put(out.y, column + 1u, z1.y); put(out.y, column + 2u, z1.z); put(out.y, column + 3u, z1.w); }
  if (query + 2u < params.queries) { put(out.z, column, z2.x); put(out.z, column + 1u, z2.y); put(out.z, column + 2u, z2.z); put(out.z, column + 3u, z2.w); }
  if (query + 3u < params.queries) { put(out.w, column, z3.x); put(out.w, column + 1u, z3.y); put(out.w, column + 2u, z3.z); put(out.w, column + 3u, z3.w); }
}
