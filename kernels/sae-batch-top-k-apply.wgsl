// All but a batch's K·n largest codes set to zero, in place, by the range that sae-batch-top-k found; of equal ones those of the first rows
// are kept, in a row those of the lowest features. Codes may lie in `slots` buffers, features one after the other.
//
//   smallest[D] = min of the codes that are kept and above zero
//
// binding 0  codes     f32   [dictionaries, rows, features]
// binding 1  k         f32   [all dictionaries]   K; those in hand begin at `first`, which is the one of all if ONE_K
// binding 2  ranges    vec4u [dictionaries]   settled ranges
// binding 3  equal     u32   [slots, dictionaries, rows]   from sae-batch-top-k-ties
// binding 4  smallest  u32   [all dictionaries]   bits of −1 at first
//
// Needs: a read of the codes and a write of those that go. Dispatch: one thread a row.
const WORKGROUP: u32 = 64u;
const SIGNED: bool = false;
const ONE_K: bool = false;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, slot: u32, slots: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> codes: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> ranges: array<vec4u>;
@group(0) @binding(3) var<storage, read> equal: array<u32>;
@group(0) @binding(4) var<storage, read_write> smallest: array<atomic<u32>>;

const ALL: u32 = 0xffffffffu;

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
  let wanted = u32(k[params.first + select(dictionary, 0u, ONE_K)] * f32(params.rows));
  let range = ranges[dictionary];
  var left = ALL; // how many of those that equal the low end may be kept from here on
  if (range.z > wanted) {
    var before = 0u;
    let lines = params.dictionaries * params.rows;
    for (var slot = 0u; slot < params.slots; slot++) {
      for (var other = dictionary * params.rows; other < line; other++) { before += equal[slot * lines + other]; }
    }
    for (var slot = 0u; slot < params.slot; slot++) { before += equal[slot * lines + line]; }
    let free = wanted - range.w;
    left = free - min(free, before);
  }
  var least = ALL;
  for (var at = line * params.features; at < (line + 1u) * params.features; at++) {
    let v = key(codes[at]);
    var keep = v > range.x;
    if (v == range.x && left > 0u) {
      keep = true;
      left--;
    }
    if (keep) { least = min(least, v); } else { codes[at] = 0.0; }
  }
  if (least != ALL) { atomicMin(&smallest[params.first + dictionary], least); }
}
