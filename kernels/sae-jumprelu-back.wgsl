// The way back through JumpReLU, with the pseudo-derivatives of Rajamanoharan et al. 2024 (arXiv 2407.14435, equations 11 and 12), in which
// a rectangle of width ε around θ stands for the delta function at the jump:
//
//   encoderBias[D, f]  = Σ_r g[D, r, f] where pre > θ                                          g: the gradients of codes; set to 0 elsewhere
//   logThreshold[D, f] = θ Σ_r −(θ g[D, r, f] + λ[D]/n) / ε where |pre − θ| < ε/2              n = rows; θ stands first as d θ / d log θ
//   fired[D, f]       += number of r with pre > θ
//
// binding 0  pre           f32 [dictionaries, rows, features]
// binding 1  logThreshold  f32 [dictionaries, features]
// binding 2  l0            f32 [all dictionaries]   λ; those in hand begin at `first`
// binding 3  g             f32 [dictionaries, rows, features]; changed in place
// binding 4  encoderBias   f32 [dictionaries, features]
// binding 5  gradient      f32 [dictionaries, features]   of logThreshold
// binding 6  fired         u32 [dictionaries, features]
//
// Needs: two reads and one write of the codes' size. Dispatch: as sae-mask.
const WORKGROUP: u32 = 64u;
const COLUMNS: u32 = 1u;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, bandwidth: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> pre: array<f32>;
@group(0) @binding(1) var<storage, read> logThreshold: array<f32>;
@group(0) @binding(2) var<storage, read> l0: array<f32>;
@group(0) @binding(3) var<storage, read_write> g: array<f32>;
@group(0) @binding(4) var<storage, read_write> encoderBias: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(6) var<storage, read_write> fired: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let threads = (params.features + 8u * COLUMNS - 1u) / (8u * COLUMNS) * 8u;
  let dictionary = item / threads;
  if (dictionary >= params.dictionaries) { return; }
  let within = item - dictionary * threads;
  let feature = within / 8u * (8u * COLUMNS) + within % 8u;
  let line = dictionary * params.features + feature;
  let penalty = l0[params.first + dictionary] / f32(params.rows);
  let half = 0.5 * params.bandwidth;
  var inside: array<bool, COLUMNS>;
  var thresholds: array<f32, COLUMNS>;
  var sums: array<f32, COLUMNS>;
  var slopes: array<f32, COLUMNS>;
  var counts: array<u32, COLUMNS>;
  for (var j = 0u; j < COLUMNS; j++) {
    inside[j] = feature + 8u * j < params.features;
    if (inside[j]) { thresholds[j] = exp(logThreshold[line + 8u * j]); }
  }
  var at = dictionary * params.rows * params.features + feature;
  for (var row = 0u; row < params.rows; row++) {
    for (var j = 0u; j < COLUMNS; j++) {
      if (inside[j]) {
        let here = at + 8u * j;
        let over = pre[here] - thresholds[j];
        let before = g[here];
        if (abs(over) < half) { slopes[j] += fma(thresholds[j], before, penalty); }
        var slope = 0.0;
        if (pre[here] > thresholds[j]) {
          slope = before;
          counts[j]++;
        }
        g[here] = slope;
        sums[j] += slope;
      }
    }
    at += params.features;
  }
  for (var j = 0u; j < COLUMNS; j++) {
    if (inside[j]) {
      encoderBias[line + 8u * j] = sums[j];
      gradient[line + 8u * j] = -thresholds[j] / params.bandwidth * slopes[j];
      fired[line + 8u * j] += counts[j];
    }
  }
}
