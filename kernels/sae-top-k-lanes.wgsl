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
var<workgroup> counts: array<atomic<u32>, 16>;
var<workgroup> totals: array<u32, 16>;
var<workgroup> parts: array<u32, WORKGROUP>;

fn key(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  if (SIGNED) { return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u); }
  return select(bits, 0u, v <= 0.0);
}

fn place(at: Search, i: u32) -> u32 {
  return select(at.origin + min(at.step * i, at.end - at.origin), at.low, i == 0u);
}

// The last of the 16 places that is not above v, which is at least the lowest.
fn between(at: Search, v: u32) -> u32 {
  if (v >= at.end) { return 15u; }
  return select(min((v - at.origin) / at.step, 15u), 0u, v < at.origin);
}

// The range after a round, from how many values lie between one place and the next.
fn narrowed(before: Search, wanted: u32, between: array<u32, 16>) -> Search {
  var next = before;
  var found = between;
  for (var i = 15u; i > 0u; i--) { found[i - 1u] += found[i]; }
  if (found[0] <= wanted) { // in the first round only: nothing has to go
    next.state = EXACT;
    return next;
  }
  var held = 0u;
  for (var i = 0u; i < 16u; i++) {
    let count = found[i];
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
  var now = Search(select(1u, 0u, SIGNED), ALL, 0u, select(117u << 23u, (117u << 23u) | 0x80000000u, SIGNED), 1u << 23u, SEARCHING);
  while (now.state == SEARCHING) {
    if (lane < 16u) { atomicStore(&counts[lane], 0u); }
    workgroupBarrier();
    for (var at = begin + lane; at < stop; at += WORKGROUP) {
      let v = key(values[at]);
      if (v >= now.low) { atomicAdd(&counts[between(now, v)], 1u); }
    }
    workgroupBarrier();
    if (lane < 16u) { totals[lane] = atomicLoad(&counts[lane]); }
    now = narrowed(now, wanted, workgroupUniformLoad(&totals));
  }
  // Where several values equal the K-th, each thread takes a stretch of the row, and leaves to those before it what they keep.
  let tied = now.state == SHARED;
  let stretch = (params.features + WORKGROUP - 1u) / WORKGROUP;
  let head = min(begin + lane * stretch, stop);
  let tail = min(head + stretch, stop);
  var equal = 0u;
  if (tied) { for (var at = head; at < tail; at++) { equal += select(0u, 1u, key(values[at]) == now.low); } }
  parts[lane] = equal;
  workgroupBarrier();
  var left = ALL;
  if (tied) {
    var before = 0u;
    for (var other = 0u; other < lane; other++) { before += parts[other]; }
    let free = wanted - now.above;
    left = free - min(free, before);
  }
  for (var at = head; at < tail; at++) {
    let v = key(values[at]);
    if (v < now.low) { values[at] = 0.0; }
    else if (v == now.low && tied) {
      if (left == 0u) { values[at] = 0.0; } else { left--; }
    }
  }
}
