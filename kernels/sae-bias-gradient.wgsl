// The gradient with respect to the decoder's bias, which stands in the decoder and, subtracted from the input, in the encoder:
//
//   gradient[D, k] = 2/n * Σ_r e[D, r, k] − Σ_f encoderBiasGradient[D, f] * encoder[D, f, k],    e = x̂ − x,  n = rows
//
// (the second sum is Σ_r Σ_f of the pre-activations' gradients times ∂pre/∂decoderBias = −encoder; the sum over r is encoderBias' gradient)
//
// The terms of both sums, first those of rows and then those of features, are cut into slices of `slice` terms: out[D, i] is the sum of slice i,
// to be added up by sae-sum-slices. With one slice out is the gradient. Without ERRORS there are the terms of features alone,
// for windows of features of which another has those of rows.
//
// binding 0  error                vec4f [dictionaries, rows, width4]
// binding 1  encoderBiasGradient  f32   [dictionaries, features]
// binding 2  encoder              vec4f [dictionaries, features, width4]
// binding 3  out                  vec4f [dictionaries, slices, width4]
//
// Needs: one read of error and encoder. Dispatch: one thread for four numbers of a slice; each sums in order.
const WORKGROUP: u32 = 64u;
const ERRORS: bool = true;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, slices: u32, slice: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> error: array<vec4f>;
@group(0) @binding(1) var<storage, read> encoderBiasGradient: array<f32>;
@group(0) @binding(2) var<storage, read> encoder: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let line = item / params.width4;
  let k = item - line * params.width4;
  let dictionary = line / params.slices;
  if (dictionary >= params.dictionaries) { return; }
  let begin = (line - dictionary * params.slices) * params.slice;
  let end = begin + params.slice;
  let rows = select(0u, params.rows, ERRORS);
  var errors = vec4f(0.0);
  var at = (dictionary * params.rows + begin) * params.width4 + k;
  for (var row = begin; row < min(end, rows); row++) {
    errors += error[at];
    at += params.width4;
  }
  var through = vec4f(0.0);
  let first = dictionary * params.features;
  let last = first + min(max(end, rows) - rows, params.features);
  var feature = first + max(begin, rows) - rows;
  at = feature * params.width4 + k;
  for (; feature < last; feature++) {
    through = fma(vec4f(encoderBiasGradient[feature]), encoder[at], through);
    at += params.width4;
  }
  out[item] = (2.0 / f32(params.rows)) * errors - through;
}
