// What is left to do for the codes' gradients after the product of error and decoder: ReLU lets those of active codes through, to which
// the penalty is added; each feature's sum is the gradient of the encoder's bias.
//
//   g[D, r, f]        = g[D, r, f] + λ[D]/n where codes[D, r, f] is not zero, else 0        n = rows
//   encoderBias[D, f] = Σ_r g[D, r, f]
//   fired[D, f]      += number of r with codes[D, r, f] ≠ 0
//
// binding 0  codes        f32 [dictionaries, rows, features]
// binding 1  l1           f32 [all dictionaries]   λ; those in hand begin at `first`
// binding 2  g            f32 [dictionaries, rows, features]; changed in place
// binding 3  encoderBias  f32 [dictionaries, features]
// binding 4  fired        u32 [dictionaries, features]
//
// Needs: two reads and one write of the codes' size. Dispatch: one thread a feature, which sums in the order of the rows; neighbouring
// threads at neighbouring numbers.
const WORKGROUP: u32 = 64u;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read> l1: array<f32>;
@group(0) @binding(2) var<storage, read_write> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> encoderBias: array<f32>;
@group(0) @binding(4) var<storage, read_write> fired: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.dictionaries * params.features) { return; }
  let dictionary = item / params.features;
  let penalty = l1[params.first + dictionary] / f32(params.rows);
  var at = dictionary * params.rows * params.features + (item - dictionary * params.features);
  var sum = 0.0;
  var count = 0u;
  for (var row = 0u; row < params.rows; row++) {
    var slope = 0.0;
    if (codes[at] != 0.0) {
      slope = g[at] + penalty;
      count++;
    }
    g[at] = slope;
    sum += slope;
    at += params.features;
  }
  encoderBias[item] = sum;
  fired[item] += count;
}
