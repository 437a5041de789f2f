// Rows moved and scaled, each by numbers of its own:  out[r,:] = (x[r,:] - shift[r]) / scale[r],  or with RESTORE  x[r,:] · scale[r] + shift[r].
//
// x, out [rows, width]   shift, scale [rows]
// One thread: four elements, WORKGROUP apart. Groups: ceil(rows · width / (4 · WORKGROUP)), folded.
const WORKGROUP: u32 = 64u;
const RESTORE: bool = false;

struct Params { size: u32, width: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> shift: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn element(i: u32) {
  if (i >= params.size) { return; }
  let row = i / params.width;
  if (RESTORE) { out[i] = x[i] * scale[row] + shift[row]; } else { out[i] = (x[i] - shift[row]) / scale[row]; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let i = (group.y * groups.x + group.x) * (4u * WORKGROUP) + local.x;
  element(i);
  element(i + WORKGROUP);
  element(i + 2u * WORKGROUP);
  element(i + 3u * WORKGROUP);
}
