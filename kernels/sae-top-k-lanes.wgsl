// The same as sae-top-k.wgsl for GPUs: a workgroup a row.
//
// binding 0  values  f32 [dictionaries, rows, features]; with SIGNED any, else those that are not above zero count as zero
// binding 1  k       f32 [all dictionaries]   K; those in hand begin at `first`
//
// Needs: commonly four reads of the row and a write, at worst ten. Dispatch: one workgroup a row. Counts are whole numbers, so that their
// order does not matter.
const WORKGROUP: u32 = 64u;
const SIGNED: bool = false;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;

const ALL: u32 = 0xffffffffu;
const SEARCHING: u32 = 0u;
const EXACT: u32 = 1u;
const SHARED: u32 = 2u;

struct Search { low: u32, end: u32, above: u32, origin: u32, step: u32, state: u32, }
var<workgroup> search: Search;
var<workgroup> counts: array<atomic<u32>, 16>;
var<workgroup> parts: array<u32, WORKGROUP>;

fn key(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  if (SIGNED) { return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u); }
  return select(bits, 0u, v <= 0.0);
}

fn place(at: Search, i: u32) -> u32 {
  return select(at.origin + min(at.step * i, at.end - at.origin), at.low, i == 0u);
}

// The range after a round, from its counts.
fn narrowed(before: Search, wanted: u32) -> Search {
  var next = before;
  if (atomicLoad(&counts[0]) <= wanted) { // in the first round only: nothing has to go
    next.state = EXACT;
    return next;
  }
  var held = 0u;
  for (var i = 0u; i < 16u; i++) {
    let count = atomicLoad(&counts[i]);
    if (count >= wanted) {
      next.low = place(before, i);
      held = count;
    } else {
      next.end = place(before, i);
      next.above = count;
      break;
    }
  }
  if (held == wanted) { next.state = EXACT; }
  else if (next.end - next.low <= 1u) { next.state = SHARED; }
  next.origin = next.low;
  next.step = (next.end - next.low - 1u) / 16u + 1u;
  return next;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let line = group.y * groups.x + group.x;
  if (line >= params.dictionaries * params.rows) { return; }
  let wanted = u32(k[params.first + line / params.rows]);
  let begin = line * params.features;
  let stop = begin + params.features;
  if (lane == 0u) {
    search = Search(select(1u, 0u, SIGNED), ALL, 0u, select(117u << 23u, (117u << 23u) | 0x80000000u, SIGNED), 1u << 23u, SEARCHING);
  }
  var now = workgroupUniformLoad(&search);
  while (now.state == SEARCHING) {
    var places: array<u32, 16>;
    var mine: array<u32, 16>;
    for (var i = 0u; i < 16u; i++) { places[i] = place(now, i); }
    for (var at = begin + lane; at < stop; at += WORKGROUP) {
      let v = key(values[at]);
      for (var i = 0u; i < 16u; i++) { mine[i] += select(0u, 1u, v >= places[i]); }
    }
    if (lane < 16u) { atomicStore(&counts[lane], 0u); }
    workgroupBarrier();
    for (var i = 0u; i < 16u; i++) { if (mine[i] > 0u) { atomicAdd(&counts[i], mine[i]); } }
    workgroupBarrier();
    if (lane == 0u) { search = narrowed(now, wanted); }
    now = workgroupUniformLoad(&search);
  }
  if (now.state == EXACT) {
    for (var at = begin + lane; at < stop; at += WORKGROUP) { if (key(values[at]) < now.low) { values[at] = 0.0; } }
    return;
  }
  // Several values equal the K-th: each thread takes a stretch of the row, and leaves to those before it what they keep.
  let stretch = (params.features + WORKGROUP - 1u) / WORKGROUP;
  let from = min(begin + lane * stretch, stop);
  let to = min(from + stretch, stop);
  var equal = 0u;
  for (var at = from; at < to; at++) { equal += select(0u, 1u, key(values[at]) == now.low); }
  parts[lane] = equal;
  workgroupBarrier();
  var before = 0u;
  for (var other = 0u; other < lane; other++) { before += parts[other]; }
  let free = wanted - now.above;
  var left = free - min(free, before);
  for (var at = from; at < to; at++) {
    let v = key(values[at]);
    var keep = v > now.low;
    if (v == now.low && left > 0u) {
      keep = true;
      left--;
    }
    if (!keep) { values[at] = 0.0; }
  }
}
