// The sum of slices: out[D, k] = Σ_i parts[D, i, k], in their order.
//
// binding 0  parts  vec4f [dictionaries, slices, width4]
// binding 1  out    vec4f [dictionaries, width4]
//
// Dispatch: one thread for four numbers.
const WORKGROUP: u32 = 64u;

struct Params { dictionaries: u32, slices: u32, width4: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> parts: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.dictionaries * params.width4) { return; }
  let dictionary = item / params.width4;
  var at = dictionary * params.slices * params.width4 + (item - dictionary * params.width4);
  var sum = vec4f(0.0);
  for (var i = 0u; i < params.slices; i++) {
    sum += parts[at];
    at += params.width4;
  }
  out[item] = sum;
}
