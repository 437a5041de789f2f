// The encoder of many sparse autoencoders at once, its ReLU and its active counts:
//
//   codes[D, r, f] = max(0, Σ_k (x[p, r, k] − decoderBias[D, k]) * encoder[D, f, k] + encoderBias[D, f]),    p = pool[D]
//   counts[D, r]   = number of f with codes[D, r, f] > 0
//
// binding 0  x            vec4f [pools, rows, width4]          activations, padded with zeros to whole vec4s
// binding 1  encoder      vec4f [dictionaries, features, width4]   one row a feature (the transpose of W_enc)
// binding 2  encoderBias  f32   [dictionaries, features]
// binding 3  decoderBias  vec4f [dictionaries, width4]
// binding 4  pool         u32   [dictionaries]                 which of x's pools a dictionary reads
// binding 5  codes        f32   [dictionaries, rows, features]
// binding 6  transposed   vec4f [dictionaries, features, rowStride / 4]   the same codes, rows last, zeros from `rows` on; if TRANSPOSED
// binding 7  counts       u32   [dictionaries, rows], zeros at first; if COUNT. Sums of whole numbers, so their order does not matter
//
// Dispatch: one thread for 8 rows by 4 features, neighbouring threads at neighbouring features; accumulators are named vec4s,
// one for each row. rowStride is a multiple of 8. NaN stays NaN, so that it shows in the loss.
const WORKGROUP: u32 = 64u;
const TRANSPOSED: bool = false;
const COUNT: bool = false;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, featureBlocks: u32, rowBlocks: u32, rowStride: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> encoder: array<vec4f>;
@group(0) @binding(2) var<storage, read> encoderBias: array<f32>;
@group(0) @binding(3) var<storage, read> decoderBias: array<vec4f>;
@group(0) @binding(4) var<storage, read> pool: array<u32>;
@group(0) @binding(5) var<storage, read_write> codes: array<f32>;
@group(0) @binding(6) var<storage, read_write> transposed: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> counts: array<atomic<u32>>;

/** acc + a row's four inputs times the four features' weights; c0 holds the four features' first weights, and so on. */
fn step(acc: vec4f, v: vec4f, c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f) -> vec4f {
  return fma(vec4f(v.w), c3, fma(vec4f(v.z), c2, fma(vec4f(v.y), c1, fma(vec4f(v.x), c0, acc))));
}

fn relu(v: vec4f) -> vec4f { return select(v, vec4f(0.0), v <= vec4f(0.0)); }

fn store(row: u32, dictionary: u32, feature: u32, v: vec4f) {
  if (row >= params.rows) { return; }
  let at = (dictionary * params.rows + row) * params.features + feature;
  codes[at] = v.x;
  if (feature + 1u < params.features) { codes[at + 1u] = v.y; }
  if (feature + 2u < params.features) { codes[at + 2u] = v.z; }
  if (feature + 3u < params.features) { codes[at + 3u] = v.w; }
  if (COUNT) {
    let inside = vec4u(feature, feature + 1u, feature + 2u, feature + 3u) < vec4u(params.features);
    let firing = select(vec4u(0u), vec4u(1u), inside & (v > vec4f(0.0)));
    let count = firing.x + firing.y + firing.z + firing.w;
    if (count > 0u) { atomicAdd(&counts[dictionary * params.rows + row], count); }
  }
}

fn storeTransposed(dictionary: u32, feature: u32, row: u32, low: vec4f, high: vec4f) {
  if (feature >= params.features) { return; }
  let at = ((dictionary * params.features + feature) * params.rowStride + row) >> 2u;
  let here = vec4u(row, row + 1u, row + 2u, row + 3u);
  transposed[at] = select(vec4f(0.0), low, here < vec4u(params.rows));
  transposed[at + 1u] = select(vec4f(0.0), high, here + 4u < vec4u(params.rows));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let block = item / params.featureBlocks;
  let dictionary = block / params.rowBlocks;
  if (dictionary >= params.dictionaries) { return; }
  let feature = (item - block * params.featureBlocks) * 4u;
  let row = (block - dictionary * params.rowBlocks) * 8u;
  let w = params.width4;
  let lastRow = params.rows - 1u;
  let lastFeature = params.features - 1u;
  let xBase = pool[dictionary] * params.rows;
  let x0 = (xBase + min(row, lastRow)) * w;
  let x1 = (xBase + min(row + 1u, lastRow)) * w;
  let x2 = (xBase + min(row + 2u, lastRow)) * w;
  let x3 = (xBase + min(row + 3u, lastRow)) * w;
  let x4 = (xBase + min(row + 4u, lastRow)) * w;
  let x5 = (xBase + min(row + 5u, lastRow)) * w;
  let x6 = (xBase + min(row + 6u, lastRow)) * w;
  let x7 = (xBase + min(row + 7u, lastRow)) * w;
  let first = dictionary * params.features;
  let w0 = (first + feature) * w;
  let w1 = (first + min(feature + 1u, lastFeature)) * w;
  let w2 = (first + min(feature + 2u, lastFeature)) * w;
  let w3 = (first + min(feature + 3u, lastFeature)) * w;
  let bias = dictionary * w;
  let start = vec4f(
    encoderBias[first + feature], encoderBias[first + min(feature + 1u, lastFeature)],
    encoderBias[first + min(feature + 2u, lastFeature)], encoderBias[first + min(feature + 3u, lastFeature)]);
  var a0 = start; var a1 = start; var a2 = start; var a3 = start;
  var a4 = start; var a5 = start; var a6 = start; var a7 = start;
  for (var k = 0u; k < w; k++) {
    let e0 = encoder[w0 + k];
    let e1 = encoder[w1 + k];
    let e2 = encoder[w2 + k];
    let e3 = encoder[w3 + k];
    let c0 = vec4f(e0.x, e1.x, e2.x, e3.x);
    let c1 = vec4f(e0.y, e1.y, e2.y, e3.y);
    let c2 = vec4f(e0.z, e1.z, e2.z, e3.z);
    let c3 = vec4f(e0.w, e1.w, e2.w, e3.w);
    let b = decoderBias[bias + k];
    a0 = step(a0, x[x0 + k] - b, c0, c1, c2, c3);
    a1 = step(a1, x[x1 + k] - b, c0, c1, c2, c3);
    a2 = step(a2, x[x2 + k] - b, c0, c1, c2, c3);
    a3 = step(a3, x[x3 + k] - b, c0, c1, c2, c3);
    a4 = step(a4, x[x4 + k] - b, c0, c1, c2, c3);
    a5 = step(a5, x[x5 + k] - b, c0, c1, c2, c3);
    a6 = step(a6, x[x6 + k] - b, c0, c1, c2, c3);
    a7 = step(a7, x[x7 + k] - b, c0, c1, c2, c3);
  }
  a0 = relu(a0); a1 = relu(a1); a2 = relu(a2); a3 = relu(a3);
  a4 = relu(a4); a5 = relu(a5); a6 = relu(a6); a7 = relu(a7);
  store(row, dictionary, feature, a0);
  store(row + 1u, dictionary, feature, a1);
  store(row + 2u, dictionary, feature, a2);
  store(row + 3u, dictionary, feature, a3);
  store(row + 4u, dictionary, feature, a4);
  store(row + 5u, dictionary, feature, a5);
  store(row + 6u, dictionary, feature, a6);
  store(row + 7u, dictionary, feature, a7);
  if (TRANSPOSED) {
    storeTransposed(dictionary, feature, row, vec4f(a0.x, a1.x, a2.x, a3.x), vec4f(a4.x, a5.x, a6.x, a7.x));
    storeTransposed(dictionary, feature + 1u, row, vec4f(a0.y, a1.y, a2.y, a3.y), vec4f(a4.y, a5.y, a6.y, a7.y));
    storeTransposed(dictionary, feature + 2u, row, vec4f(a0.z, a1.z, a2.z, a3.z), vec4f(a4.z, a5.z, a6.z, a7.z));
    storeTransposed(dictionary, feature + 3u, row, vec4f(a0.w, a1.w, a2.w, a3.w), vec4f(a4.w, a5.w, a6.w, a7.w));
  }
}
