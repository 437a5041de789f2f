// Sums of listed rows: y[s, c] = Σ x[order[n], c] over n from starts[s] to starts[s + 1] - 1; with `accumulate` added to y.
//
// x      [windowRows, width]   rows windowStart … windowStart + windowRows - 1 of the whole; rows outside it count as zero here
// order  [entries]             rows of the whole
// starts [segments + 1]        not decreasing; ends past `entries` are cut
// y      [segments, width]
// One thread: one column of one segment. Groups: ceil(segments · width / WORKGROUP). The order of the sum is that of the list.
const WORKGROUP: u32 = 64u;
const BLOCK: u32 = 64u;

struct Params { segments: u32, width: u32, entries: u32, windowStart: u32, windowRows: u32, accumulate: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (i >= params.segments * params.width) { return; }
  let segment = i / params.width;
  let column = i - segment * params.width;
  let end = min(starts[segment + 1u], params.entries);
  var sum = 0.0;
  for (var base = starts[segment]; base < end; base += BLOCK) {
    var part = 0.0;
    for (var n = base; n < min(base + BLOCK, end); n++) {
      let row = order[n] - params.windowStart; // wraps to a large number below the window
      if (row < params.windowRows) { part += x[row * params.width + column]; }
    }
    sum += part;
  }
  if (params.accumulate == 1u) { sum += y[i]; }
  y[i] = sum;
}
