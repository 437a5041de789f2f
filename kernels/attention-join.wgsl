// Second pass of attention whose keys were shared out in runs (attention-rows with SPLIT): their weighted values made one.
//   z = Σ_p exp(top_p − top) values_p / Σ_p exp(top_p − top) total_p,  top = max_p top_p     over the runs p in their order
//
// runs  [rows, parts, width + 2]   of each run the weighted values, then their maximum `top` and the sum `total` of the weights
// z     [rows, width]
//
// At least one run of a row has keys. Needs: 4 · parts · (width + 2) bytes read a row, 4 · width written. One thread an element of z.
// Groups: ceil(rows · width / WORKGROUP).
const WORKGROUP: u32 = 64u;

struct Params { rows: u32, parts: u32, width: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> runs: array<f32>;
@group(0) @binding(1) var<storage, read_write> z: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let element = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let row = element / params.width;
  if (row >= params.rows) { return; }
  let stride = params.width + 2u;
  let start = row * params.parts * stride;
  let column = element - row * params.width;
  var top = runs[start + params.width];
  for (var p = 1u; p < params.parts; p++) { top = max(top, runs[start + p * stride + params.width]); }
  var sum = 0.0;
  var total = 0.0;
  for (var p = 0u; p < params.parts; p++) {
    let at = start + p * stride;
    let factor = exp(runs[at + params.width] - top);
    sum += factor * runs[at + column];
    total += factor * runs[at + params.width + 1u];
  }
  z[element] = sum / total;
}
