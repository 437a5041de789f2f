// Gradients of a layer's weights from lists of active entries: a sparse matrix, transposed, times a dense one.
//
//   weights[D, f, k] = scale * Σ_s coefficient[D, f, s] * (matrix[p, r, k] − shift[D, k]),    r = index[D, f, s],  p = pool[D]
//   biases[D, f]     = scale * Σ_s coefficient[D, f, s]    if BIAS
//
// For the encoder: coefficients are the codes' gradients, matrix is x, shift the decoder's bias (SHIFT), scale 1.
// For the decoder: coefficients are the codes, matrix is x̂ − x (one pool a dictionary, POOLED false), no shift, scale 2/n.
//
// binding 0  index        u32   [dictionaries, features, rowStride]
// binding 1  counts       u32   [dictionaries, features]
// binding 2  coefficient  f32   [dictionaries, features, rowStride]
// binding 3  matrix       vec4f [pools, rows, width4]
// binding 4  pool         u32   [dictionaries]; read if POOLED
// binding 5  shift        vec4f [dictionaries, width4]; read if SHIFT
// binding 6  weights      vec4f [dictionaries, features, width4]
// binding 7  biases       f32   [dictionaries, features]; written if BIAS
//
// Dispatch: one thread for four numbers of a feature's row; each sums in the order of the rows.
const WORKGROUP: u32 = 64u;
const POOLED: bool = true;
const SHIFT: bool = true;
const BIAS: bool = true;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, rowStride: u32, scale: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> coefficient: array<f32>;
@group(0) @binding(3) var<storage, read> matrix: array<vec4f>;
@group(0) @binding(4) var<storage, read> pool: array<u32>;
@group(0) @binding(5) var<storage, read> shift: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> biases: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (item >= params.dictionaries * params.features * params.width4) { return; }
  let feature = item / params.width4;
  let k = item - feature * params.width4;
  let dictionary = feature / params.features;
  var rowsOf = dictionary * params.rows;
  if (POOLED) { rowsOf = pool[dictionary] * params.rows; }
  var offset = vec4f(0.0);
  if (SHIFT) { offset = shift[dictionary * params.width4 + k]; }
  let begin = feature * params.rowStride;
  let end = begin + counts[feature];
  var sum = vec4f(0.0);
  var total = 0.0;
  for (var s = begin; s < end; s++) {
    let c = coefficient[s];
    sum = fma(vec4f(c), matrix[(rowsOf + index[s]) * params.width4 + k] - offset, sum);
    total += c;
  }
  weights[item] = params.scale * sum;
  if (BIAS && k == 0u) { biases[feature] = params.scale * total; }
}
