enable subgroups;
// Softmax over rows by whole subgroups (see softmax.wgsl): y = exp(x - max) / Σ exp(x - max), or with LOG y = x - max - log Σ exp(x - max).
// Maximum and sum come from one reading: a larger maximum scales the sum so far (Milakov and Gimelshein 2018).
//
// x, y [rows, width], four numbers to a vector. Where the width is no multiple of four (EDGES, width ≥ 8), a vector may hold the end of
// one row and the start of the next; ROWS is then 4, so that the rows of a team start and end on whole vectors, and what lies behind
// the last row in its last vector may be overwritten.
//
// A team is ACROSS subgroups, SUBGROUP threads each; it does ROWS rows, one after another. With EDGES ACROSS is 1.
// Groups: ceil(rows / (ROWS · teams)), teams = WORKGROUP / (SUBGROUP · ACROSS). The order of every sum is fixed.
const WORKGROUP: u32 = 64u;
const SUBGROUP: u32 = 8u;
const ACROSS: u32 = 1u;
const ROWS: u32 = 1u;
const EDGES: bool = false;
const LOG: bool = false;

struct Params { rows: u32, width: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

const LOWEST = -3.4e38;
var<workgroup> parts: array<vec2f, WORKGROUP / SUBGROUP>;

// A maximum, and the sum of exp(value - maximum) so far, for each of four columns.
struct Running { top: vec4f, sum: vec4f, }
// The same for a whole row.
struct Whole { top: f32, sum: f32, }

fn join(a: Whole, top: f32, sum: f32) -> Whole {
  let next = max(a.top, top);
  return Whole(next, a.sum * exp(a.top - next) + sum * exp(top - next));
}

// Every thread of the workgroup takes part.
fn whole(all: Running, subgroup: u32) -> Whole {
  var top = max(max(all.top.x, all.top.y), max(all.top.z, all.top.w));
  let mine = top;
  for (var step = SUBGROUP / 2u; step > 0u; step /= 2u) { top = max(top, subgroupShuffleXor(top, step)); }
  var sum = dot(all.sum * exp(all.top - mine), vec4f(1.0)) * exp(mine - top);
  for (var step = SUBGROUP / 2u; step > 0u; step /= 2u) { sum += subgroupShuffleXor(sum, step); }
  var row = Whole(top, sum);
  if (ACROSS > 1u) {
    parts[subgroup] = vec2f(top, sum);
    workgroupBarrier();
    let begin = subgroup - subgroup % ACROSS;
    row = Whole(parts[begin].x, parts[begin].y);
    for (var i = 1u; i < ACROSS; i++) { row = join(row, parts[begin + i].x, parts[begin + i].y); }
    workgroupBarrier();
  }
  return row;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let subgroup = local.x / SUBGROUP;
  let stride = SUBGROUP * ACROSS;
  let lane = local.x % stride;
  let team = (group.y * groups.x + group.x) * (WORKGROUP / stride) + local.x / stride;
  var carry = vec4f(0.0); // of the vector that the row before shares with this one
  for (var n = 0u; n < ROWS; n++) {
    let mine = team * ROWS + n;
    let row = min(mine, params.rows - 1u); // a thread past the end works along and writes nothing
    let start = row * params.width;
    let end = start + params.width;
    let first = (start + 3u) / 4u;
    let last = end / 4u;

    var all = Running(vec4f(LOWEST), vec4f(0.0));
    var at = first + lane;
    for (; at + stride < last; at += 2u * stride) {
      let a = x[at];
      let b = x[at + stride];
      let top = max(all.top, max(a, b));
      all.sum = all.sum * exp(all.top - top) + exp(a - top) + exp(b - top);
      all.top = top;
    }
    if (at < last) {
      let a = x[at];
      let top = max(all.top, a);
      all.sum = all.sum * exp(all.top - top) + exp(a - top);
      all.top = top;
    }
    if (EDGES && lane < 2u) {
      let edge = select(last, start / 4u, lane == 0u);
      let element = 4u * edge + vec4u(0u, 1u, 2u, 3u);
      let inside = (element >= vec4u(start)) & (element < vec4u(end)) & vec4<bool>(edge < first || edge >= last);
      let a = select(vec4f(LOWEST), x[edge], inside);
      let top = max(all.top, a);
      all.sum = all.sum * exp(all.top - top) + select(vec4f(0.0), exp(a - top), inside);
      all.top = top;
    }
    let found = whole(all, subgroup);
    let shift = log(found.sum);
    let inverse = 1.0 / found.sum;
    if (mine < params.rows) {
      for (at = first + lane; at < last; at += stride) {
        if (LOG) { y[at] = (x[at] - found.top) - shift; } else { y[at] = exp(x[at] - found.top) * inverse; }
      }
      if (EDGES && lane == 0u) {
        if (start % 4u != 0u) {
          let a = x[first - 1u];
          var value = exp(a - found.top) * inverse;
          if (LOG) { value = (a - found.top) - shift; }
          y[first - 1u] = select(carry, value, vec4u(0u, 1u, 2u, 3u) >= vec4u(start % 4u));
        }
        if (end % 4u != 0u) {
          let a = x[last];
          carry = exp(min(a - found.top, vec4f(80.0))) * inverse;
          if (LOG) { carry = (a - found.top) - shift; }
          if (mine + 1u == params.rows) { y[last] = carry; }
        }
      }
    }
  }
}
