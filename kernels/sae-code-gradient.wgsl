// The gradient of the vanilla loss with respect to the active codes (and, as ReLU passes it on unchanged there, to the pre-activations):
//
//   gradient[D, r, f] = 2/n * e[D, r]·decoder[D, f] + λ[D]/n    for each f = index[D, r, s],    e = x̂ − x,  n = rows
//
// What belongs to codes of zero is left as it was.
//
// binding 0  index     u32   [dictionaries, rows, features]   features active in a row
// binding 1  counts    u32   [dictionaries, rows]
// binding 2  error     vec4f [dictionaries, rows, width4]
// binding 3  decoder   vec4f [dictionaries, features, width4]
// binding 4  l1        f32   [all dictionaries]   λ; those in hand begin at `first`
// binding 5  gradient  f32   [dictionaries, rows, features]
//
// Needs: for each active feature of a row, one read of its decoder row and as many multiply-adds.
// Dispatch: LANES threads a row, each with every LANES-th four entries of its list, for which it reads the error once.
const WORKGROUP: u32 = 64u;
const LANES: u32 = 8u;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> error: array<vec4f>;
@group(0) @binding(3) var<storage, read> decoder: array<vec4f>;
@group(0) @binding(4) var<storage, read> l1: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;

fn total(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let line = item / LANES;
  if (line >= params.dictionaries * params.rows) { return; }
  let dictionary = line / params.rows;
  let w = params.width4;
  let share = 1.0 / f32(params.rows);
  let penalty = l1[params.first + dictionary] * share;
  let first = dictionary * params.features;
  let row = line * w;
  let begin = line * params.features;
  let end = begin + counts[line];
  for (var s = begin + item % LANES * 4u; s < end; s += LANES * 4u) {
    let f0 = index[s];
    // Past the end of the list the last entry again, which gives the same number again.
    let f1 = index[min(s + 1u, end - 1u)];
    let f2 = index[min(s + 2u, end - 1u)];
    let f3 = index[min(s + 3u, end - 1u)];
    var d0 = (first + f0) * w; var d1 = (first + f1) * w; var d2 = (first + f2) * w; var d3 = (first + f3) * w;
    var a0 = vec4f(); var a1 = vec4f(); var a2 = vec4f(); var a3 = vec4f();
    for (var k = 0u; k < w; k++) {
      let e = error[row + k];
      a0 = fma(e, decoder[d0 + k], a0);
      a1 = fma(e, decoder[d1 + k], a1);
      a2 = fma(e, decoder[d2 + k], a2);
      a3 = fma(e, decoder[d3 + k], a3);
    }
    gradient[begin + f0] = fma(2.0 * share, total(a0), penalty);
    gradient[begin + f1] = fma(2.0 * share, total(a1), penalty);
    gradient[begin + f2] = fma(2.0 * share, total(a2), penalty);
    gradient[begin + f3] = fma(2.0 * share, total(a3), penalty);
  }
}
