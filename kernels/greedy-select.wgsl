// The greedy edit of a sparse autoencoder's code (arXiv 2405.08366, section 5.1) by the Gram form, for every prompt at once.
//
// With δ_j = β_j − α_j (the target's code minus the source's), Δ_j = δ_j d_j and residual r, first the target's activation minus the
// source's, each of k rounds takes the unused feature that leaves the shortest residual ‖r − Δ_j‖² = ‖r‖² − 2 δ_j (r·d_j) + δ_j² (d_j·d_j),
// if it shortens it at all; ties go to the lower feature. r itself is never formed: along_j = r·d_j changes by −δ_c (d_c·d_j) when c is taken.
//
// binding 0  index    u32   [prompts, features]   features whose δ is not zero, from sae-compact
// binding 1  delta    f32   [prompts, features]   their δ, emptied to 0 once used
// binding 2  counts   u32   [prompts]
// binding 3  along    f32   [prompts, features]   r·d_j of all features; updated
// binding 4  gram     f32   [features, features]  d_i·d_j; not read if GRAM is false
// binding 5  decoder  vec4f [features, width4]    d; read if GRAM is false
// binding 6  chosen   u32   [prompts, k]          the features taken, 0xffffffff from the round on in which none helps
// binding 7  moves    f32   [prompts, k]          their δ, 0 where none
//
// Dispatch: one thread a prompt. GRAM false computes d_c·d_j when it is needed, for dictionaries whose Gram matrix would be too large.
const WORKGROUP: u32 = 64u;
const GRAM: bool = true;

struct Params { prompts: u32, features: u32, width4: u32, k: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read_write> delta: array<f32>;
@group(0) @binding(2) var<storage, read> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> along: array<f32>;
@group(0) @binding(4) var<storage, read> gram: array<f32>;
@group(0) @binding(5) var<storage, read> decoder: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(7) var<storage, read_write> moves: array<f32>;

fn product(a: u32, b: u32) -> f32 {
  if (GRAM) { return gram[a * params.features + b]; }
  var sum = vec4f(0.0);
  for (var k = 0u; k < params.width4; k++) { sum = fma(decoder[a * params.width4 + k], decoder[b * params.width4 + k], sum); }
  return (sum.x + sum.y) + (sum.z + sum.w);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let prompt = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (prompt >= params.prompts) { return; }
  let begin = prompt * params.features;
  let end = begin + counts[prompt];
  for (var round = 0u; round < params.k; round++) {
    // What the residual's square changes by; zero, as nothing taken, is to be beaten.
    var best = 0.0;
    var bestEntry = 0xffffffffu;
    for (var entry = begin; entry < end; entry++) {
      let d = delta[entry];
      let feature = index[entry];
      let score = d * (d * product(feature, feature) - 2.0 * along[begin + feature]);
      if (score < best) {
        best = score;
        bestEntry = entry;
      }
    }
    let out = prompt * params.k + round;
    if (bestEntry == 0xffffffffu) {
      chosen[out] = 0xffffffffu;
      moves[out] = 0.0;
      continue;
    }
    let taken = index[bestEntry];
    let taking = delta[bestEntry];
    chosen[out] = taken;
    moves[out] = taking;
    delta[bestEntry] = 0.0;
    for (var entry = begin; entry < end; entry++) {
      let at = begin + index[entry];
      along[at] = fma(-taking, product(taken, index[entry]), along[at]);
    }
  }
}
