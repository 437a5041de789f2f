// What the encoder's input and the reconstruction's target have in common, with its sign turned:
//
//   out[D, r, k] = decoderBias[D, k] − x[p, r, k],    p = pool[D]
//
// (codes are ReLU(−out·encoderᵀ + encoderBias), the error of a reconstruction is codes·decoder + out)
//
// binding 0  x            f32 [pools, rows, width]
// binding 1  decoderBias  f32 [dictionaries, width]
// binding 2  pool         u32 [all dictionaries]; those in hand begin at `first`
// binding 3  out          f32 [dictionaries, rows, width]
//
// Needs: reads and writes of out's size. Dispatch: one thread for ROWS rows of a column; neighbouring threads at neighbouring columns.
const WORKGROUP: u32 = 64u;
const ROWS: u32 = 8u;

struct Params { dictionaries: u32, rows: u32, width: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> decoderBias: array<f32>;
@group(0) @binding(2) var<storage, read> pool: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let item = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let blocks = (params.rows + ROWS - 1u) / ROWS;
  let block = item / params.width;
  let k = item - block * params.width;
  let dictionary = block / blocks;
  if (dictionary >= params.dictionaries) { return; }
  let row = (block - dictionary * blocks) * ROWS;
  let end = min(row + ROWS, params.rows);
  let bias = decoderBias[dictionary * params.width + k];
  var origin = (pool[params.first + dictionary] * params.rows + row) * params.width + k;
  var to = (dictionary * params.rows + row) * params.width + k;
  for (var r = row; r < end; r++) {
    out[to] = bias - x[origin];
    origin += params.width;
    to += params.width;
  }
}
