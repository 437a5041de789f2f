// sae-decode for decoders beyond a CPU's cache: the same numbers, with each decoder row read from its one end to its other, eight rows at a
// time, which is what a CPU fetches memory ahead for.
//
//   out[D, r, k] = start[D, k] + Σ_s codes[D, r, f] * decoder[D, f, k],    f = index[D, r, s]
//
// start is the decoder's bias; or, with EACH, [D, r, k], what a row's reconstruction is added to: b_dec − x for the error x̂ − x.
//
// binding 0  index    u32   [dictionaries, rows, features]
// binding 1  counts   u32   [dictionaries, rows]
// binding 2  codes    f32   [dictionaries, rows, features]
// binding 3  decoder  vec4f [dictionaries, features, width4]
// binding 4  start    vec4f [dictionaries, width4], or [dictionaries, rows, width4] if EACH
// binding 5  out      vec4f [dictionaries, rows, width4]
//
// Needs: for each active feature of a row, one read of its decoder row and as many multiply-adds; for each eight of them one read and one write of out.
// Dispatch: LANES threads a row, each with every LANES-th vec4.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 8u;
const EACH: bool = false;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> codes: array<f32>;
@group(0) @binding(3) var<storage, read> decoder: array<vec4f>;
@group(0) @binding(4) var<storage, read> start: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let line = item / LANES;
  let lane = item % LANES;
  if (line >= params.dictionaries * params.rows) { return; }
  let w = params.width4;
  let dictionary = line / params.rows;
  var origin = dictionary * w;
  if (EACH) { origin = line * w; }
  let to = line * w;
  for (var k = lane; k < w; k += LANES) { out[to + k] = start[origin + k]; }
  let first = dictionary * params.features;
  let begin = line * params.features;
  let end = begin + counts[line];
  for (var s = begin; s < end; s += 8u) {
    var at: array<u32, 8>;
    var code: array<f32, 8>;
    for (var i = 0u; i < 8u; i++) {
      // Past the end of the list nothing of the last entry is added.
      let feature = index[min(s + i, end - 1u)];
      at[i] = (first + feature) * w;
      code[i] = select(0.0, codes[begin + feature], s + i < end);
    }
    for (var k = lane; k < w; k += LANES) {
      var sum = out[to + k];
      for (var i = 0u; i < 8u; i++) { sum = fma(vec4f(code[i]), decoder[at[i] + k], sum); }
      out[to + k] = sum;
    }
  }
}
