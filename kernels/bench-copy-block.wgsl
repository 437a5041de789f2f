// out[i] = x[i], four neighbouring vec4s a thread, all read before any is written: the quickest copy on CPU drivers, which like straight code.
//   x    [4 · blocks] vec4f
//   out  [4 · blocks] vec4f
// Dispatch: ceil(blocks / WORKGROUP) workgroups, folded; a thread copies one block of four.
// Limits assumed: 4 · blocks fits u32.
const WORKGROUP: u32 = 64u;
struct Params { blocks: u32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let block = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (block >= params.blocks) { return; }
  let i = block * 4u;
  let a = x[i];
  let b = x[i + 1u];
  let c = x[i + 2u];
  let d = x[i + 3u];
  out[i] = a;
  out[i + 1u] = b;
  out[i + 2u] = c;
  out[i + 3u] = d;
}
