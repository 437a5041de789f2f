// Adds a step's sums for the log to those before it, and what the loss makes of them, where its weights change from step to step:
//
//   totals[D] += sums[D],   second[D] += secondSums[D],
//   weighted[D] += (λ[D] · what λ is on,  coefficient · min(dead features of D / k, 1) · squared error of the second reconstruction)
//
// binding 0  sums        vec4f [dictionaries]   squared errors, codes, active features, squared distances from the mean
// binding 1  secondSums  vec4f [dictionaries]   the same of the second reconstruction
// binding 2  sparsity    f32   [dictionaries]   λ
// binding 3  dead        u32   [dictionaries, features]   not 0 where dead; anything where DEAD is false: the second weight is then 0
// binding 4  totals      vec4f [dictionaries]
// binding 5  second      vec4f [dictionaries]
// binding 6  weighted    vec2f [dictionaries]
// PENALISED: λ is on nothing (0), codes (1), active features (2), or codes of the second reconstruction (3).
//
// Dispatch: one workgroup a dictionary.
const WORKGROUP: u32 = 64u;
const PENALISED: u32 = 1u;
const DEAD: bool = false;

struct Params { dictionaries: u32, features: u32, k: f32, coefficient: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> sums: array<vec4f>;
@group(0) @binding(1) var<storage, read> secondSums: array<vec4f>;
@group(0) @binding(2) var<storage, read> sparsity: array<f32>;
@group(0) @binding(3) var<storage, read> dead: array<u32>;
@group(0) @binding(4) var<storage, read_write> totals: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> second: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> weighted: array<vec2f>;

var<workgroup> parts: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let dictionary = group.y * groups.x + group.x;
  if (dictionary >= params.dictionaries) { return; }
  var weight = 0.0;
  if (DEAD) {
    let begin = dictionary * params.features;
    var mine = 0u;
    for (var f = begin + lane; f < begin + params.features; f += WORKGROUP) { mine += select(0u, 1u, dead[f] != 0u); }
    parts[lane] = mine;
    workgroupBarrier();
    var count = 0u;
    for (var other = 0u; other < WORKGROUP; other++) { count += parts[other]; }
    weight = params.coefficient * min(f32(count) / params.k, 1.0);
  }
  if (lane > 0u) { return; }
  let own = sums[dictionary];
  let other = secondSums[dictionary];
  var penalised = 0.0;
  if (PENALISED == 1u) { penalised = own.y; }
  if (PENALISED == 2u) { penalised = own.z; }
  if (PENALISED == 3u) { penalised = other.y; }
  totals[dictionary] += own;
  second[dictionary] += other;
  weighted[dictionary] += vec2f(select(0.0, sparsity[dictionary] * penalised, PENALISED > 0u), weight * other.x);
}
