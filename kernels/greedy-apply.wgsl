// Carries out the first k of the moves that greedy-select chose: out[p] = source[p] + Σ_i moves[p, i] * decoder[chosen[p, i]].
//
// binding 0  source   f32 [prompts, width]
// binding 1  chosen   u32 [prompts, rounds]; 0xffffffff stands for none
// binding 2  moves    f32 [prompts, rounds]
// binding 3  decoder  f32 [features, stride]; the first `width` numbers of a row count
// binding 4  out      f32 [prompts, width]
//
// Dispatch: one thread for a number of out.
const WORKGROUP: u32 = 64u;

struct Params { prompts: u32, width: u32, stride: u32, k: u32, rounds: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read> chosen: array<u32>;
@group(0) @binding(2) var<storage, read> moves: array<f32>;
@group(0) @binding(3) var<storage, read> decoder: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.prompts * params.width) { return; }
  let prompt = item / params.width;
  let column = item - prompt * params.width;
  var sum = source[item];
  for (var i = prompt * params.rounds; i < prompt * params.rounds + params.k; i++) {
    let feature = chosen[i];
    if (feature != 0xffffffffu) { sum = fma(moves[i], decoder[feature * params.stride + column], sum); }
  }
  out[item] = sum;
}
