// Adds each dictionary's examples, summed in their order, to a total: out[D] += Σ_r values[D, r].
//
// binding 0  values  vec4f [dictionaries, rows]
// binding 1  out     vec4f [dictionaries]
//
// Dispatch: one thread a dictionary.
const WORKGROUP: u32 = 64u;

struct Params { dictionaries: u32, rows: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> values: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let dictionary = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (dictionary >= params.dictionaries) { return; }
  var sum = vec4f(0.0);
  let begin = dictionary * params.rows;
  for (var at = begin; at < begin + params.rows; at++) { sum += values[at]; }
  out[dictionary] += sum;
}
