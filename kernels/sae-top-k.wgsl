// All but the K largest values of each row set to zero, in place; of equal values those of the lowest columns are kept.
//
// binding 0  values  f32 [dictionaries, rows, features]; with SIGNED any, else those that are not above zero count as zero
// binding 1  k       f32 [all dictionaries]   K; those in hand begin at `first`
//
// A value's bits, as a whole number, are in the order of the values (SIGNED: once negative ones are turned over and others raised). So the
// K-th largest is found by narrowing a range [low, end) of such numbers that holds it: each round counts how many of the row are not below
// 16 places in the range, the first round at powers of two from 2^-9 to 2^5, and ends when exactly K are not below one of them, or when the
// range is one number, which is then shared by several. NaN counts as large.
//
// Needs: commonly four reads of the row and a write, at worst ten. Dispatch: one thread a row; for GPUs there is sae-top-k-lanes.
const WORKGROUP: u32 = 64u;
const SIGNED: bool = false;

struct Params { dictionaries: u32, rows: u32, features: u32, first: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;

const PLACES = array<vec4u, 4>(vec4u(0u, 1u, 2u, 3u), vec4u(4u, 5u, 6u, 7u), vec4u(8u, 9u, 10u, 11u), vec4u(12u, 13u, 14u, 15u));
const ALL: u32 = 0xffffffffu;

fn key(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  if (SIGNED) { return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u); }
  return select(bits, 0u, v <= 0.0);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let line = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (line >= params.dictionaries * params.rows) { return; }
  let wanted = u32(k[params.first + line / params.rows]);
  let begin = line * params.features;
  let stop = begin + params.features;

  var low = select(1u, 0u, SIGNED);
  var end = ALL;
  var above = 0u; // how many are not below `end`
  var origin = select(117u << 23u, (117u << 23u) | 0x80000000u, SIGNED);
  var step = 1u << 23u;
  var left = ALL; // how many of those that equal `low` are kept
  loop {
    let most = vec4u(end - origin);
    let p0 = vec4u(low, origin + min(step * PLACES[0].yzw, most.yzw));
    let p1 = origin + min(step * PLACES[1], most);
    let p2 = origin + min(step * PLACES[2], most);
    let p3 = origin + min(step * PLACES[3], most);
    var c0 = vec4u(); var c1 = vec4u(); var c2 = vec4u(); var c3 = vec4u();
    for (var at = begin; at < stop; at++) {
      let v = vec4u(key(values[at]));
      c0 += select(vec4u(0u), vec4u(1u), v >= p0);
      c1 += select(vec4u(0u), vec4u(1u), v >= p1);
      c2 += select(vec4u(0u), vec4u(1u), v >= p2);
      c3 += select(vec4u(0u), vec4u(1u), v >= p3);
    }
    if (c0.x <= wanted) { break; } // in the first round only: nothing has to go
    // Counts fall from place to place: the last that is at least K, and the first below it.
    let n0 = c0 >= vec4u(wanted); let n1 = c1 >= vec4u(wanted); let n2 = c2 >= vec4u(wanted); let n3 = c3 >= vec4u(wanted);
    let l0 = max(max(select(vec4u(), p0, n0), select(vec4u(), p1, n1)), max(select(vec4u(), p2, n2), select(vec4u(), p3, n3)));
    let e0 = min(min(select(p0, vec4u(ALL), n0), select(p1, vec4u(ALL), n1)), min(select(p2, vec4u(ALL), n2), select(p3, vec4u(ALL), n3)));
    let m0 = min(min(select(vec4u(ALL), c0, n0), select(vec4u(ALL), c1, n1)), min(select(vec4u(ALL), c2, n2), select(vec4u(ALL), c3, n3)));
    let a0 = max(max(select(c0, vec4u(), n0), select(c1, vec4u(), n1)), max(select(c2, vec4u(), n2), select(c3, vec4u(), n3)));
    low = max(max(l0.x, l0.y), max(l0.z, l0.w));
    end = min(end, min(min(e0.x, e0.y), min(e0.z, e0.w)));
    above = max(above, max(max(a0.x, a0.y), max(a0.z, a0.w)));
    if (min(min(m0.x, m0.y), min(m0.z, m0.w)) == wanted) { break; }
    if (end - low <= 1u) {
      left = wanted - above;
      break;
    }
    origin = low;
    step = (end - low - 1u) / 16u + 1u;
  }
  for (var at = begin; at < stop; at++) {
    let v = key(values[at]);
    var keep = v > low;
    if (v == low && left > 0u) {
      keep = true;
      left--;
    }
    if (!keep) { values[at] = 0.0; }
  }
}
