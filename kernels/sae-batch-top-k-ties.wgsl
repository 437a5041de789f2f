// Where several codes equal the last that the search of sae-batch-top-k keeps: how many of them each row holds. And the smallest kept
// code's place cleared for sae-batch-top-k-apply.
//
//   equal[s, D, r] = how many of the row's codes equal the range's low end, if not all of those are kept;  s: the buffer in hand of those that hold codes
//
// binding 0  codes     f32   [dictionaries, rows, features]
// binding 1  k         f32   [all dictionaries]   K; those in hand begin at `first`, which is the one of all if ONE_K
// binding 2  ranges    vec4u [dictionaries]   settled ranges
// binding 3  equal     u32   [buffers, dictionaries, rows]; written where it is needed, at place `slot`
// binding 4  smallest  u32   [all dictionaries]   set to the bits of −1, which as a whole number are above those of every code
//
// Dispatch: one thread a row.
const WORKGROUP: u32 = 64u;
const SIGNED: bool = false;
const ONE_K: bool = false;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, slot: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> ranges: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> equal: array<u32>;
@group(0) @binding(4) var<storage, read_write> smallest: array<u32>;

// A code's place in the order of codes, as a whole number.
fn key(code: f32) -> u32 {
  let bits = bitcast<u32>(code);
  if (SIGNED) { return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u); }
  return select(bits, 0u, code <= 0.0);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let line = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let dictionary = line / params.rows;
  if (dictionary >= params.dictionaries) { return; }
  if (line == dictionary * params.rows) { smallest[params.first + dictionary] = bitcast<u32>(-1.0f); }
  let range = ranges[dictionary];
  if (range.z <= u32(k[params.first + select(dictionary, 0u, ONE_K)] * f32(params.rows))) { return; }
  var count = 0u;
  for (var at = line * params.features; at < (line + 1u) * params.features; at++) { count += select(0u, 1u, key(codes[at]) == range.x); }
  equal[params.slot * params.dictionaries * params.rows + line] = count;
}
