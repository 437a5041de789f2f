// The two-feature dictionaries of the over-splitting toy (arXiv 2405.08366, section 6.2 and A.15), all members of the family at once.
//
// Samples enter by their component p along the mixture's axis only. Member (g, s) has the codes and the reconstruction, along the same axis,
//   f₊ = ReLU(slope p − γ),  f₋ = ReLU(−slope p − γ),  x̂ = f₊ − f₋,
// so that ‖x‖² − ‖x − x̂‖² = 2 p x̂ − x̂². Sums over the samples of one slice:
//
//   out[slice, g, s] = (Σ 2 p x̂ − x̂²,  Σ f₊ + f₋,  samples on which a feature is active)
//
// binding 0  along   f32 [samples]
// binding 1  gammas  f32 [gammas]
// binding 2  slopes  f32 [slopes]
// binding 3  out     f32 [slices, gammas, slopes, 3]
//
// Dispatch: one thread a slice and member.
const WORKGROUP: u32 = 64u;

struct Params { samples: u32, slice: u32, slices: u32, gammas: u32, slopes: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> along: array<f32>;
@group(0) @binding(1) var<storage, read> gammas: array<f32>;
@group(0) @binding(2) var<storage, read> slopes: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let members = params.gammas * params.slopes;
  if (item >= params.slices * members) { return; }
  let slice = item / members;
  let member = item - slice * members;
  let gamma = gammas[member / params.slopes];
  let slope = slopes[member % params.slopes];
  var saved = 0.0;
  var codes = 0.0;
  var firing = 0u;
  for (var i = slice * params.slice; i < min((slice + 1u) * params.slice, params.samples); i++) {
    let p = along[i];
    let up = max(slope * p - gamma, 0.0);
    let down = max(-slope * p - gamma, 0.0);
    let decoded = up - down;
    saved += decoded * (2.0 * p - decoded);
    codes += up + down;
    if (up + down > 0.0) { firing++; }
  }
  out[item * 3u] = saved;
  out[item * 3u + 1u] = codes;
  out[item * 3u + 2u] = f32(firing);
}
