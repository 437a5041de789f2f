// One round of the search for the K·n largest codes of a dictionary's whole batch of n examples: how sae-top-k looks for the K-th largest of
// a row, with many threads a dictionary and a dispatch a round.
//
// A round narrows the range [low, end) of bit patterns that holds the one looked for, by the counts of the round before it, and counts how
// many codes are not below 16 places in the new range. Once the range is settled, which it is after nine rounds at the latest, nothing is
// left to do. Ranges are kept as (low, end, codes not below low, codes not below end).
//
// Where the codes lie in several buffers, each round is a dispatch for each of them, and all of them add to the same counts. Examples that are
// to keep K codes each, as in sae-top-k, are searched as `dictionaries` of one row that share ONE_K.
//
// binding 0  codes   f32   [dictionaries, rows, features]; with SIGNED any, else those that are not above zero count as zero
// binding 1  k       f32   [all dictionaries]   K; those in hand begin at `first`, which is the one of all if ONE_K
// binding 2  ranges  vec4u [rounds + 1, stride], `dictionaries` of each line; round i reads line i − 1 and writes line i
// binding 3  counts  u32   [rounds, dictionaries, 16], zeros at first; round i reads line i − 1 and adds to line i
//
// Needs: a read of the codes in each round that is not settled, commonly five. Dispatch: one thread for every PER_THREAD codes of a
// dictionary, ceil(rows · features / (64 · PER_THREAD)) · 64 threads each; neighbours read neighbouring codes. Counts are whole numbers, so
// that the order of additions does not matter.
const WORKGROUP: u32 = 64u;
const PER_THREAD: u32 = 64u;
const SIGNED: bool = false;
const ONE_K: bool = false;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, round: u32, stride: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> codes: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> ranges: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;

const PLACES = array<vec4u, 4>(vec4u(0u, 1u, 2u, 3u), vec4u(4u, 5u, 6u, 7u), vec4u(8u, 9u, 10u, 11u), vec4u(12u, 13u, 14u, 15u));
const ALL: u32 = 0xffffffffu;
const ORIGIN: u32 = select(117u << 23u, (117u << 23u) | 0x80000000u, SIGNED);

// A code's place in the order of codes, as a whole number.
fn key(code: f32) -> u32 {
  let bits = bitcast<u32>(code);
  if (SIGNED) { return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u); }
  return select(bits, 0u, code <= 0.0);
}

// The i-th place of a round's range: the first round's lie at powers of two from 2^-9 on.
fn place(range: vec4u, round: u32, i: u32) -> u32 {
  if (i == 0u) { return range.x; }
  if (round == 0u) { return ORIGIN + (i << 23u); }
  return range.x + min(((range.y - range.x - 1u) / 16u + 1u) * i, range.y - range.x);
}

fn settled(range: vec4u, wanted: u32) -> bool { return range.z <= wanted || range.y - range.x <= 1u; }

// The range after a round, from its counts, which begin at `at`.
fn narrowed(range: vec4u, round: u32, at: u32, wanted: u32) -> vec4u {
  if (settled(range, wanted)) { return range; }
  var next = range;
  next.z = atomicLoad(&counts[at]);
  for (var i = 0u; i < 16u; i++) {
    let count = atomicLoad(&counts[at + i]);
    if (count >= wanted) {
      next.x = place(range, round, i);
      next.z = count;
    } else {
      next.y = place(range, round, i);
      next.w = count;
      break;
    }
  }
  return next;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let block = group.y * groups.x + group.x;
  let size = params.rows * params.features;
  let blocks = (size + WORKGROUP * PER_THREAD - 1u) / (WORKGROUP * PER_THREAD);
  let dictionary = block / blocks;
  if (dictionary >= params.dictionaries) { return; }
  let wanted = u32(k[params.first + select(dictionary, 0u, ONE_K)] * f32(params.rows));
  var range = vec4u(select(1u, 0u, SIGNED), ALL, ALL, 0u);
  if (params.round > 0u) {
    let before = params.round - 1u;
    range = narrowed(ranges[before * params.stride + dictionary], before, (before * params.dictionaries + dictionary) * 16u, wanted);
  }
  let start = (block - dictionary * blocks) * WORKGROUP * PER_THREAD + local.x;
  if (start == 0u) { ranges[params.round * params.stride + dictionary] = range; }
  if (settled(range, wanted)) { return; }

  let step = (range.y - range.x - 1u) / 16u + 1u;
  let most = vec4u(range.y - range.x);
  var p0 = range.x + min(step * PLACES[0], most);
  var p1 = range.x + min(step * PLACES[1], most);
  var p2 = range.x + min(step * PLACES[2], most);
  var p3 = range.x + min(step * PLACES[3], most);
  if (params.round == 0u) {
    p0 = vec4u(range.x, ORIGIN + (PLACES[0].yzw << vec3u(23u)));
    p1 = ORIGIN + (PLACES[1] << vec4u(23u));
    p2 = ORIGIN + (PLACES[2] << vec4u(23u));
    p3 = ORIGIN + (PLACES[3] << vec4u(23u));
  }
  var c0 = vec4u(); var c1 = vec4u(); var c2 = vec4u(); var c3 = vec4u();
  let stop = min(start + WORKGROUP * PER_THREAD, size);
  for (var at = start; at < stop; at += WORKGROUP) {
    let v = vec4u(key(codes[dictionary * size + at]));
    c0 += select(vec4u(0u), vec4u(1u), v >= p0);
    c1 += select(vec4u(0u), vec4u(1u), v >= p1);
    c2 += select(vec4u(0u), vec4u(1u), v >= p2);
    c3 += select(vec4u(0u), vec4u(1u), v >= p3);
  }
  let to = (params.round * params.dictionaries + dictionary) * 16u;
  for (var i = 0u; i < 4u; i++) {
    if (c0[i] > 0u) { atomicAdd(&counts[to + i], c0[i]); }
    if (c1[i] > 0u) { atomicAdd(&counts[to + 4u + i], c1[i]); }
    if (c2[i] > 0u) { atomicAdd(&counts[to + 8u + i], c2[i]); }
    if (c3[i] > 0u) { atomicAdd(&counts[to + 12u + i], c3[i]); }
  }
}
