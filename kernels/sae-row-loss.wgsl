// What each example adds to the loss and to the figures that are logged:
//
//   out[D, r] = (‖e‖², Σ_f codes, number of active features, ‖x − mean‖²),    e = x̂ − x
//
// binding 0  error   vec4f [dictionaries, rows, width4]
// binding 1  value   f32   [dictionaries, rows, features]   values of the active codes, from sae-compact
// binding 2  counts  u32   [dictionaries, rows]
// binding 3  x       vec4f [pools, rows, width4]
// binding 4  pool    u32   [dictionaries]
// binding 5  mean    vec4f [pools, width4]   the mean of all of a pool's examples
// binding 6  out     vec4f [dictionaries, rows]
//
// Dispatch: one thread an example and dictionary.
const WORKGROUP: u32 = 64u;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> error: array<vec4f>;
@group(0) @binding(1) var<storage, read> value: array<f32>;
@group(0) @binding(2) var<storage, read> counts: array<u32>;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read> pool: array<u32>;
@group(0) @binding(5) var<storage, read> mean: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

fn total(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let line = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (line >= params.dictionaries * params.rows) { return; }
  let dictionary = line / params.rows;
  let row = pool[dictionary] * params.rows + (line - dictionary * params.rows);
  let w = params.width4;
  var squares = vec4f(0.0);
  var spread = vec4f(0.0);
  for (var k = 0u; k < w; k++) {
    let e = error[line * w + k];
    let d = x[row * w + k] - mean[pool[dictionary] * w + k];
    squares = fma(e, e, squares);
    spread = fma(d, d, spread);
  }
  let begin = line * params.features;
  let end = begin + counts[line];
  var codes = 0.0;
  for (var s = begin; s < end; s++) { codes += value[s]; }
  out[line] = vec4f(total(squares), codes, f32(counts[line]), total(spread));
}
