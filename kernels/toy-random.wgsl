// The random dictionaries of the over-splitting toy (arXiv 2405.08366, section 6.2 and A.15), all values of β at once.
//
// Feature i has the encoder row β v_i, the bias −bias and the decoder row d_i = v_i / ‖v_i‖. With p_i = v_i·x its code is
// f_i = ReLU(β p_i − bias), and with d_i·x = p_i / ‖v_i‖
//   ‖x‖² − ‖x − Σ f_i d_i‖² = Σ_i 2 f_i p_i / ‖v_i‖ − Σ_ij f_i f_j d_i·d_j.
// What is active for a β is active for every larger one, so that one list, that of the largest, serves them all. Sums over the samples of one
// slice:
//
//   out[slice, β] = (Σ of the above,  Σ_i f_i,  number of active features)
//
// binding 0  index    u32 [samples, features]  features active for the largest β, from sae-compact
// binding 1  value    f32 [samples, features]  their p_i − threshold
// binding 2  counts   u32 [samples]
// binding 3  gram     f32 [features, features] d_i·d_j
// binding 4  inverse  f32 [features]           1 / ‖v_i‖
// binding 5  betas    f32 [betas]
// binding 6  out      f32 [slices, betas, 3]
//
// Dispatch: one thread a slice and β.
const WORKGROUP: u32 = 64u;

struct Params { samples: u32, features: u32, slice: u32, slices: u32, betas: u32, bias: f32, threshold: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read> value: array<f32>;
@group(0) @binding(2) var<storage, read> counts: array<u32>;
@group(0) @binding(3) var<storage, read> gram: array<f32>;
@group(0) @binding(4) var<storage, read> inverse: array<f32>;
@group(0) @binding(5) var<storage, read> betas: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.slices * params.betas) { return; }
  let slice = item / params.betas;
  let beta = betas[item - slice * params.betas];
  var saved = 0.0;
  var codes = 0.0;
  var firing = 0u;
  for (var sample = slice * params.slice; sample < min((slice + 1u) * params.slice, params.samples); sample++) {
    let begin = sample * params.features;
    let end = begin + counts[sample];
    var own = 0.0;
    for (var a = begin; a < end; a++) {
      let along = value[a] + params.threshold;
      let code = beta * along - params.bias;
      if (code <= 0.0) { continue; }
      let i = index[a];
      // d_i · (2x − f_i d_i − 2 Σ_{j < i} f_j d_j)
      var rest = 2.0 * along * inverse[i] - code;
      for (var b = begin; b < a; b++) {
        let other = max(beta * (value[b] + params.threshold) - params.bias, 0.0);
        rest -= 2.0 * other * gram[i * params.features + index[b]];
      }
      own += code * rest;
      codes += code;
      firing++;
    }
    saved += own;
  }
  out[item * 3u] = saved;
  out[item * 3u + 1u] = codes;
  out[item * 3u + 2u] = f32(firing);
}
