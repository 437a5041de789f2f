// The decoder of many sparse autoencoders at once, from the lists of active features that sae-compact makes:
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
// Needs: for each active feature of a row, one read of its decoder row and as many multiply-adds.
// Dispatch: ceil(width4 / COLUMNS) threads a row, each with up to COLUMNS vec4s (1 to 4) that lie as far apart as there are such threads,
// so that neighbours read neighbouring vec4s. Threads of the same row walk the same list; the sum of a number does not depend on COLUMNS.
const WORKGROUP: u32 = 64u;
const COLUMNS: u32 = 1u;
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
  let w = params.width4;
  let threads = (w + COLUMNS - 1u) / COLUMNS;
  let line = item / threads;
  if (line >= params.dictionaries * params.rows) { return; }
  let dictionary = line / params.rows;
  // A column past the end is read at the last one and not stored.
  let k0 = item - line * threads;
  let k1 = min(k0 + threads, w - 1u);
  let k2 = min(k0 + 2u * threads, w - 1u);
  let k3 = min(k0 + 3u * threads, w - 1u);
  var origin = dictionary * w;
  if (EACH) { origin = line * w; }
  var a0 = start[origin + k0]; var a1 = vec4f(); var a2 = vec4f(); var a3 = vec4f();
  if (COLUMNS > 1u) { a1 = start[origin + k1]; }
  if (COLUMNS > 2u) { a2 = start[origin + k2]; }
  if (COLUMNS > 3u) { a3 = start[origin + k3]; }
  let first = dictionary * params.features;
  let begin = line * params.features;
  let end = begin + counts[line];
  for (var s = begin; s < end; s++) {
    let feature = index[s];
    let code = vec4f(codes[begin + feature]);
    let at = (first + feature) * w;
    a0 = fma(code, decoder[at + k0], a0);
    if (COLUMNS > 1u) { a1 = fma(code, decoder[at + k1], a1); }
    if (COLUMNS > 2u) { a2 = fma(code, decoder[at + k2], a2); }
    if (COLUMNS > 3u) { a3 = fma(code, decoder[at + k3], a3); }
  }
  let to = line * w;
  out[to + k0] = a0;
  if (COLUMNS > 1u && k0 + threads < w) { out[to + k1] = a1; }
  if (COLUMNS > 2u && k0 + 2u * threads < w) { out[to + k2] = a2; }
  if (COLUMNS > 3u && k0 + 3u * threads < w) { out[to + k3] = a3; }
}
