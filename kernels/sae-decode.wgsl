// The decoder of many sparse autoencoders at once, from the lists of active features that sae-compact makes:
//
//   out[D, r, k] = decoderBias[D, k] + Σ_s value[D, r, s] * decoder[D, index[D, r, s], k]  (− x[p, r, k] if RESIDUAL, with p = pool[D])
//
// binding 0  index        u32   [dictionaries, rows, features]
// binding 1  value        f32   [dictionaries, rows, features]
// binding 2  counts       u32   [dictionaries, rows]
// binding 3  decoder      vec4f [dictionaries, features, width4]
// binding 4  decoderBias  vec4f [dictionaries, width4]
// binding 5  x            vec4f [pools, rows, width4]; read if RESIDUAL
// binding 6  pool         u32   [dictionaries]; read if RESIDUAL
// binding 7  out          vec4f [dictionaries, rows, width4]
//
// Dispatch: one thread for four numbers of a row; threads of the same row walk the same list.
const WORKGROUP: u32 = 64u;
const RESIDUAL: bool = false;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read> value: array<f32>;
@group(0) @binding(2) var<storage, read> counts: array<u32>;
@group(0) @binding(3) var<storage, read> decoder: array<vec4f>;
@group(0) @binding(4) var<storage, read> decoderBias: array<vec4f>;
@group(0) @binding(5) var<storage, read> x: array<vec4f>;
@group(0) @binding(6) var<storage, read> pool: array<u32>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.dictionaries * params.rows * params.width4) { return; }
  let line = item / params.width4;
  let k = item - line * params.width4;
  let dictionary = line / params.rows;
  let rowsOf = dictionary * params.features;
  let begin = line * params.features;
  let end = begin + counts[line];
  var sum = decoderBias[dictionary * params.width4 + k];
  for (var s = begin; s < end; s++) {
    sum = fma(vec4f(value[s]), decoder[(rowsOf + index[s]) * params.width4 + k], sum);
  }
  if (RESIDUAL) {
    let row = line - dictionary * params.rows;
    sum -= x[(pool[dictionary] * params.rows + row) * params.width4 + k];
  }
  out[item] = sum;
}
