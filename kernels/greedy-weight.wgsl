// Weight that an edit removes (arXiv 2405.08366, section 5.1): the sum over the first k chosen features of α_i d_i·(â − b) / ‖â − b‖².
//
//   out[p] = Σ_i codes[p, chosen[p, i]] * along[p, chosen[p, i]] / ‖signal[p]‖²,    signal = â − b,  along = signal·d
//
// binding 0  codes   f32 [prompts, features]   α
// binding 1  along   f32 [prompts, features]   (â − b)·d_j
// binding 2  signal  f32 [prompts, width]      â − b
// binding 3  chosen  u32 [prompts, rounds]; 0xffffffff stands for none
// binding 4  out     f32 [prompts]; `undefined` (the bits of NaN) where the signal is zero, so where no feature is active
//
// Dispatch: one thread a prompt.
const WORKGROUP: u32 = 64u;

struct Params { prompts: u32, features: u32, width: u32, k: u32, rounds: u32, undefined: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read> along: array<f32>;
@group(0) @binding(2) var<storage, read> signal: array<f32>;
@group(0) @binding(3) var<storage, read> chosen: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let prompt = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (prompt >= params.prompts) { return; }
  var square = 0.0;
  for (var i = prompt * params.width; i < (prompt + 1u) * params.width; i++) { square = fma(signal[i], signal[i], square); }
  if (square == 0.0) {
    out[prompt] = params.undefined;
    return;
  }
  var sum = 0.0;
  for (var i = prompt * params.rounds; i < prompt * params.rounds + params.k; i++) {
    let feature = chosen[i];
    if (feature != 0xffffffffu) { sum += codes[prompt * params.features + feature] * along[prompt * params.features + feature]; }
  }
  out[prompt] = bitcast<u32>(sum / square);
}
