// What each example adds to the loss and to the figures that are logged:
//
//   out[D, r] = (‖e‖², Σ_f codes, number of active features, ‖x − mean‖²),    e = x̂ − x
//
// With ADD, what is of codes is added to what is there: that of other features of the same dictionary.
//
// binding 0  error   vec4f [dictionaries, rows, width4]
// binding 1  codes   f32   [dictionaries, rows, features]
// binding 2  index   u32   [dictionaries, rows, features]   features active in a row, from sae-compact; read if LISTED
// binding 3  counts  u32   [dictionaries, rows]; read if LISTED. Without lists all codes are read
// binding 4  x       vec4f [pools, rows, width4]
// binding 5  pool    u32   [all dictionaries]; those in hand begin at `first`
// binding 6  mean    vec4f [pools, width4]   the mean of all of a pool's examples
// binding 7  out     vec4f [all dictionaries, rows]
//
// Dispatch: LANES threads an example and dictionary, a power of two up to WORKGROUP; one on software drivers. Sums have a fixed order.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 1u;
const LISTED: bool = true;
const ADD: bool = false;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> error: array<vec4f>;
@group(0) @binding(1) var<storage, read> codes: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> pool: array<u32>;
@group(0) @binding(6) var<storage, read> mean: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;

var<workgroup> parts: array<vec4f, WORKGROUP>;

fn total(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let lines = params.dictionaries * params.rows;
  let line = min(item / LANES, lines - 1u); // a thread past the end works along, because of the barriers, and writes nothing
  let lane = local.x % LANES;
  let dictionary = line / params.rows;
  let origin = pool[params.first + dictionary];
  let row = origin * params.rows + (line - dictionary * params.rows);
  let w = params.width4;
  var squares = vec4f(0.0);
  var spread = vec4f(0.0);
  for (var k = lane; k < w; k += LANES) {
    let e = error[line * w + k];
    let d = x[row * w + k] - mean[origin * w + k];
    squares = fma(e, e, squares);
    spread = fma(d, d, spread);
  }
  let begin = line * params.features;
  var sum = 0.0;
  var firing = 0u;
  if (LISTED) {
    let end = begin + counts[line];
    for (var s = begin + lane; s < end; s += LANES) { sum += codes[begin + index[s]]; firing++; }
  } else {
    for (var s = begin + lane; s < begin + params.features; s += LANES) {
      let code = codes[s];
      sum += code;
      if (code != 0.0) { firing++; }
    }
  }
  var result = vec4f(total(squares), sum, f32(firing), total(spread));
  if (LANES > 1u) {
    parts[local.x] = result;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
      if (lane < step) { parts[local.x] += parts[local.x + step]; }
      workgroupBarrier();
    }
    result = parts[local.x - lane];
  }
  if (lane == 0u && item / LANES < lines) {
    let to = params.first * params.rows + line;
    if (ADD) { result += vec4f(0.0, out[to].y, out[to].z, 0.0); }
    out[to] = result;
  }
}
