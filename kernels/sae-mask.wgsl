// What is left to do for the codes' gradients after the product of error and decoder: ReLU lets those of active codes through, to which
// the penalty is added; each feature's sum is the gradient of the encoder's bias.
//
//   g[D, r, f]        = g[D, r, f] + λ[D]/n where codes[D, r, f] is not zero, else 0        n = rows
//   encoderBias[D, f] = Σ_r g[D, r, f]
//   fired[D, f]      += number of r with codes[D, r, f] ≠ 0, or counted[D, r, f] ≠ 0 if APART
//
// binding 0  codes        f32 [dictionaries, rows, features]
// binding 1  l1           f32 [all dictionaries]   λ; those in hand begin at `first`
// binding 2  g            f32 [dictionaries, rows, features]; changed in place
// binding 3  encoderBias  f32 [dictionaries, features]
// binding 4  fired        u32 [dictionaries, features]
// binding 5  counted      f32 [dictionaries, rows, features]; read if APART
//
// Needs: two reads and one write of the codes' size. Dispatch: one thread for COLUMNS (1 to 4) features that lie 8 apart, for each of which
// it sums in the order of the rows; ceil(features / (8 * COLUMNS)) times 8 threads a dictionary. 8 neighbouring threads read 8 * COLUMNS
// neighbouring numbers of a row: with 4 columns whole cache lines, which a CPU driver would else fetch again for each part.
const WORKGROUP: u32 = 64u;
const COLUMNS: u32 = 1u;
const APART: bool = false;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read> l1: array<f32>;
@group(0) @binding(2) var<storage, read_write> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> encoderBias: array<f32>;
@group(0) @binding(4) var<storage, read_write> fired: array<u32>;
@group(0) @binding(5) var<storage, read> counted: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let threads = (params.features + 8u * COLUMNS - 1u) / (8u * COLUMNS) * 8u;
  let dictionary = item / threads;
  if (dictionary >= params.dictionaries) { return; }
  let within = item - dictionary * threads;
  let feature = within / 8u * (8u * COLUMNS) + within % 8u;
  let penalty = l1[params.first + dictionary] / f32(params.rows);
  var inside: array<bool, COLUMNS>;
  var sums: array<f32, COLUMNS>;
  var counts: array<u32, COLUMNS>;
  for (var j = 0u; j < COLUMNS; j++) { inside[j] = feature + 8u * j < params.features; }
  var at = dictionary * params.rows * params.features + feature;
  for (var row = 0u; row < params.rows; row++) {
    for (var j = 0u; j < COLUMNS; j++) {
      if (inside[j]) {
        let here = at + 8u * j;
        var slope = 0.0;
        if (codes[here] != 0.0) {
          slope = g[here] + penalty;
          if (!APART) { counts[j]++; }
        }
        if (APART && counted[here] != 0.0) { counts[j]++; }
        g[here] = slope;
        sums[j] += slope;
      }
    }
    at += params.features;
  }
  for (var j = 0u; j < COLUMNS; j++) {
    if (inside[j]) {
      let line = dictionary * params.features + feature + 8u * j;
      encoderBias[line] = sums[j];
      fired[line] += counts[j];
    }
  }
}
