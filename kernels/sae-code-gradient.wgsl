// The gradient of the vanilla loss with respect to the active codes (and, as ReLU passes it on unchanged there, to the pre-activations):
//
//   gradient[D, f, s] = 2/n * e[D, r]·decoder[D, f] + λ[D]/n,    r = index[D, f, s],  e = x̂ − x,  n = rows
//
// binding 0  index     u32   [dictionaries, features, rowStride]   rows in which the feature is active
// binding 1  counts    u32   [dictionaries, features]
// binding 2  error     vec4f [dictionaries, rows, width4]
// binding 3  decoder   vec4f [dictionaries, features, width4]
// binding 4  l1        f32   [dictionaries]   λ
// binding 5  gradient  f32   [dictionaries, features, rowStride]
//
// Dispatch: LANES threads a feature, each with every LANES-th entry of its list.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 8u;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, rowStride: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> error: array<vec4f>;
@group(0) @binding(3) var<storage, read> decoder: array<vec4f>;
@group(0) @binding(4) var<storage, read> l1: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let feature = item / LANES;
  if (feature >= params.dictionaries * params.features) { return; }
  let dictionary = feature / params.features;
  let share = 1.0 / f32(params.rows);
  let penalty = l1[dictionary] * share;
  let weights = feature * params.width4;
  let begin = feature * params.rowStride;
  let end = begin + counts[feature];
  for (var s = begin + item % LANES; s < end; s += LANES) {
    let row = (dictionary * params.rows + index[s]) * params.width4;
    var sum = vec4f(0.0);
    for (var k = 0u; k < params.width4; k++) { sum = fma(error[row + k], decoder[weights + k], sum); }
    gradient[s] = fma(2.0 * share, (sum.x + sum.y) + (sum.z + sum.w), penalty);
  }
}
