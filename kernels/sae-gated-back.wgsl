// The way back through the magnitudes of gated dictionaries, joined with that through the gates (see sae-gated.wgsl for the way forth):
//
//   d[D, r, f]              = g[D, r, f] where codes is not zero, else 0        the magnitudes' gradient
//   back[D, r, f]          += exp(scale) d                                      from the gates' gradient to that of u
//   magnitudeBias[D, f]     = Σ_r d
//   scaleGradient[D, f]     = Σ_r d (codes − magnitudeBias)                     as exp(scale) u = codes − magnitudeBias where d is not zero
//   sums[D, f]              = Σ_r back
//
// binding 0  codes            f32 [dictionaries, rows, features]
// binding 1  scale            f32 [dictionaries, features]
// binding 2  magnitudeBias    f32 [dictionaries, features]
// binding 3  g                f32 [dictionaries, rows, features]   the codes' gradient
// binding 4  back             f32 [dictionaries, rows, features]; the gates' gradient, changed in place
// binding 5  scaleGradient    f32 [dictionaries, features]
// binding 6  biasGradient     f32 [dictionaries, features]   of magnitudeBias
// binding 7  sums             f32 [dictionaries, features]
//
// Needs: three reads and one write of the codes' size. Dispatch: as sae-mask.
const WORKGROUP: u32 = 64u;
const COLUMNS: u32 = 1u;

struct Params { dictionaries: u32, rows: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> magnitudeBias: array<f32>;
@group(0) @binding(3) var<storage, read> g: array<f32>;
@group(0) @binding(4) var<storage, read_write> back: array<f32>;
@group(0) @binding(5) var<storage, read_write> scaleGradient: array<f32>;
@group(0) @binding(6) var<storage, read_write> biasGradient: array<f32>;
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let threads = (params.features + 8u * COLUMNS - 1u) / (8u * COLUMNS) * 8u;
  let dictionary = item / threads;
  if (dictionary >= params.dictionaries) { return; }
  let within = item - dictionary * threads;
  let feature = within / 8u * (8u * COLUMNS) + within % 8u;
  let line = dictionary * params.features + feature;
  var inside: array<bool, COLUMNS>;
  var factors: array<f32, COLUMNS>;
  var offsets: array<f32, COLUMNS>;
  var magnitudes: array<f32, COLUMNS>;
  var slopes: array<f32, COLUMNS>;
  var all: array<f32, COLUMNS>;
  for (var j = 0u; j < COLUMNS; j++) {
    inside[j] = feature + 8u * j < params.features;
    if (inside[j]) {
      factors[j] = exp(scale[line + 8u * j]);
      offsets[j] = magnitudeBias[line + 8u * j];
    }
  }
  var at = dictionary * params.rows * params.features + feature;
  for (var row = 0u; row < params.rows; row++) {
    for (var j = 0u; j < COLUMNS; j++) {
      if (inside[j]) {
        let here = at + 8u * j;
        let code = codes[here];
        var slope = back[here];
        if (code != 0.0) {
          let d = g[here];
          magnitudes[j] += d;
          slopes[j] = fma(d, code - offsets[j], slopes[j]);
          slope = fma(factors[j], d, slope);
          back[here] = slope;
        }
        all[j] += slope;
      }
    }
    at += params.features;
  }
  for (var j = 0u; j < COLUMNS; j++) {
    if (inside[j]) {
      scaleGradient[line + 8u * j] = slopes[j];
      biasGradient[line + 8u * j] = magnitudes[j];
      sums[line + 8u * j] = all[j];
    }
  }
}
