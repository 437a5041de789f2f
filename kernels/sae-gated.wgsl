// Codes of gated dictionaries, from the product u = (x − decoderBias)·gateᵀ that both of their paths share:
//
//   π[D, r, f]     = u + gateBias
//   codes[D, r, f] = π > 0 ? m : 0,    m = ReLU(exp(scale) u + magnitudeBias), without ReLU if SIGNED
//   gates[D, r, f] = ReLU(π)                                                                             if GATES
//
// binding 0  u              f32 [dictionaries, rows, features]
// binding 1  gateBias       f32 [dictionaries, features]
// binding 2  scale          f32 [dictionaries, features]
// binding 3  magnitudeBias  f32 [dictionaries, features]
// binding 4  codes          f32 [dictionaries, rows, features]
// binding 5  gates          f32 [dictionaries, rows, features]; written if GATES
//
// Dispatch: one thread for ROWS rows of a column; neighbouring threads at neighbouring columns.
const WORKGROUP: u32 = 64u;
const ROWS: u32 = 8u;
const SIGNED: bool = false;
const GATES: bool = true;

struct Params { dictionaries: u32, rows: u32, features: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> u: array<f32>;
@group(0) @binding(1) var<storage, read> gateBias: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> magnitudeBias: array<f32>;
@group(0) @binding(4) var<storage, read_write> codes: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let blocks = (params.rows + ROWS - 1u) / ROWS;
  let block = item / params.features;
  let feature = item - block * params.features;
  let dictionary = block / blocks;
  if (dictionary >= params.dictionaries) { return; }
  let row = (block - dictionary * blocks) * ROWS;
  let end = min(row + ROWS, params.rows);
  let line = dictionary * params.features + feature;
  let bias = gateBias[line];
  let factor = exp(scale[line]);
  let offset = magnitudeBias[line];
  var at = (dictionary * params.rows + row) * params.features + feature;
  for (var r = row; r < end; r++) {
    let v = u[at];
    let gate = v + bias;
    var magnitude = fma(factor, v, offset);
    if (!SIGNED) { magnitude = max(magnitude, 0.0); }
    codes[at] = select(0.0, magnitude, gate > 0.0);
    if (GATES) { gates[at] = max(gate, 0.0); }
    at += params.features;
  }
}
