// The first active features of a ranking, one ranking a row:
//
//   out[r, f] = codes[r, f]   for the first `most` features f of ranking[value[r]] with codes[r, f] != 0
//
// Other elements of out stay as they are, so that features of several rankings add up to a set.
//
// binding 0  codes    f32 [rows, features]
// binding 1  ranking  u32 [values, features]   all features of the dictionary, the best first
// binding 2  value    u32 [rows]
// binding 3  out      f32 [rows, features]
//
// Needs: reads of both rows up to the last feature that is taken. Dispatch: one thread a row.
const WORKGROUP: u32 = 64u;

struct Params { rows: u32, features: u32, most: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read> ranking: array<u32>;
@group(0) @binding(2) var<storage, read> value: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (row >= params.rows) { return; }
  let begin = row * params.features;
  let order = value[row] * params.features;
  var taken = 0u;
  for (var i = 0u; i < params.features && taken < params.most; i++) {
    let feature = ranking[order + i];
    let code = codes[begin + feature];
    if (code != 0.0) {
      out[begin + feature] = code;
      taken++;
    }
  }
}
