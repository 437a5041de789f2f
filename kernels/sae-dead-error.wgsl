// The weighted error of dead features' reconstruction:  out[D, r, k] = coefficient · min(dead features of D / k, 1) · error[D, r, k]
//
// binding 0  error  vec4f [dictionaries, rows, width4]
// binding 1  dead   u32   [all dictionaries, features]; those in hand begin at `first`
// binding 2  out    vec4f [dictionaries, rows, width4]
//
// Dispatch: BLOCKS workgroups a dictionary, each of which counts its dead features.
const WORKGROUP: u32 = 64u;
const BLOCKS: u32 = 4u;

struct Params { dictionaries: u32, rows: u32, width4: u32, features: u32, first: u32, k: f32, coefficient: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> error: array<vec4f>;
@group(0) @binding(1) var<storage, read> dead: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

var<workgroup> parts: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = group.y * groups.x + group.x;
  let dictionary = block / BLOCKS;
  if (dictionary >= params.dictionaries) { return; }
  let begin = (params.first + dictionary) * params.features;
  var mine = 0u;
  for (var f = begin + lane; f < begin + params.features; f += WORKGROUP) { mine += select(0u, 1u, dead[f] != 0u); }
  parts[lane] = mine;
  workgroupBarrier();
  var count = 0u;
  for (var other = 0u; other < WORKGROUP; other++) { count += parts[other]; }
  let factor = params.coefficient * min(f32(count) / params.k, 1.0);
  let size = params.rows * params.width4;
  for (var at = block % BLOCKS * WORKGROUP + lane; at < size; at += BLOCKS * WORKGROUP) { out[dictionary * size + at] = factor * error[dictionary * size + at]; }
}
