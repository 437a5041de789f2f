// Gradients of both weight matrices and of the encoder's bias, each feature's from the rows in which it is active; with ACCUMULATE they are
// added to what is there:
//
//   decoder[D, f, k]  = 2/n * Σ_r codes[D, r, f] * e[D, r, k]                        e = x̂ − x,  n = rows
//   encoder[D, f, k]  = Σ_r g[D, r, f] * (x − decoderBias)[D, r, k]                  g: the gradients of codes, from sae-code-gradient
//   encoderBias[D, f] = Σ_r g[D, r, f]                                               r over list[D, f]
//
// binding 0  list         u32   [dictionaries, features, rows + 1]   from sae-active-rows
// binding 1  codes        f32   [dictionaries, rows, features]
// binding 2  g            f32   [dictionaries, rows, features]; read where codes are active
// binding 3  error        vec4f [dictionaries, rows, width4]
// binding 4  shift        vec4f [dictionaries, rows, width4]   decoderBias − x
// binding 5  decoder      vec4f [dictionaries, features, width4]
// binding 6  encoder      vec4f [dictionaries, features, width4]
// binding 7  encoderBias  f32   [dictionaries, features]
//
// Needs: for each active feature of a row, one read of the row of error and of shift and as many multiply-adds; a write of both results.
// Dispatch: ceil(width4 / COLUMNS) threads a feature, each with up to COLUMNS vec4s (1, 2 or 4) of both matrices, as in sae-decode.
// Sums run in the order of the rows.
const WORKGROUP: u32 = 64u;
const COLUMNS: u32 = 1u;
const ACCUMULATE: bool = false;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> list: array<u32>;
@group(0) @binding(1) var<storage, read> codes: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read> error: array<vec4f>;
@group(0) @binding(4) var<storage, read> shift: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> decoder: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> encoder: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> encoderBias: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let w = params.width4;
  let threads = (w + COLUMNS - 1u) / COLUMNS;
  let line = item / threads;
  if (line >= params.dictionaries * params.features) { return; }
  let dictionary = line / params.features;
  let feature = line - dictionary * params.features;
  let firstRow = dictionary * params.rows;
  // A column past the end is read at the last one and not stored.
  let k0 = item - line * threads;
  let k1 = min(k0 + threads, w - 1u);
  let k2 = min(k0 + 2u * threads, w - 1u);
  let k3 = min(k0 + 3u * threads, w - 1u);
  var d0 = vec4f(); var d1 = vec4f(); var d2 = vec4f(); var d3 = vec4f();
  var e0 = vec4f(); var e1 = vec4f(); var e2 = vec4f(); var e3 = vec4f();
  var sum = 0.0;
  let begin = line * (params.rows + 1u) + 1u;
  let end = begin + list[begin - 1u];
  for (var s = begin; s < end; s++) {
    let row = firstRow + list[s];
    let code = codes[row * params.features + feature];
    let slope = g[row * params.features + feature];
    let at = row * w;
    d0 = fma(vec4f(code), error[at + k0], d0);
    e0 = fma(vec4f(slope), shift[at + k0], e0);
    if (COLUMNS > 1u) { d1 = fma(vec4f(code), error[at + k1], d1); e1 = fma(vec4f(slope), shift[at + k1], e1); }
    if (COLUMNS > 2u) { d2 = fma(vec4f(code), error[at + k2], d2); e2 = fma(vec4f(slope), shift[at + k2], e2); }
    if (COLUMNS > 3u) { d3 = fma(vec4f(code), error[at + k3], d3); e3 = fma(vec4f(slope), shift[at + k3], e3); }
    sum += slope;
  }
  let scale = 2.0 / f32(params.rows);
  let to = line * w;
  if (ACCUMULATE) {
    if (end == begin) { return; }
    decoder[to + k0] += scale * d0;
    encoder[to + k0] -= e0;
    if (COLUMNS > 1u && k0 + threads < w) { decoder[to + k1] += scale * d1; encoder[to + k1] -= e1; }
    if (COLUMNS > 2u && k0 + 2u * threads < w) { decoder[to + k2] += scale * d2; encoder[to + k2] -= e2; }
    if (COLUMNS > 3u && k0 + 3u * threads < w) { decoder[to + k3] += scale * d3; encoder[to + k3] -= e3; }
    if (k0 == 0u) { encoderBias[line] += sum; }
    return;
  }
  decoder[to + k0] = scale * d0;
  encoder[to + k0] = -e0;
  if (COLUMNS > 1u && k0 + threads < w) { decoder[to + k1] = scale * d1; encoder[to + k1] = -e1; }
  if (COLUMNS > 2u && k0 + 2u * threads < w) { decoder[to + k2] = scale * d2; encoder[to + k2] = -e2; }
  if (COLUMNS > 3u && k0 + 3u * threads < w) { decoder[to + k3] = scale * d3; encoder[to + k3] = -e3; }
  if (k0 == 0u) { encoderBias[line] = sum; }
}
