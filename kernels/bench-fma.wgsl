// out[t] = the sum of 12 numbers, each put `rounds` times through a -> a * scale + shift: arithmetic without memory, for the rate that
// other kernels are measured against. 12 independent chains a thread keep a unit busy while a result is on its way; 12 are few
// enough for the registers of a CPU.
//   out  [threads]
// Dispatch: threads / WORKGROUP workgroups, folded; 24 * rounds floating-point operations a thread.
const WORKGROUP: u32 = 64u;
struct Params { threads: u32, rounds: u32, scale: f32, shift: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let t = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (t >= params.threads) { return; }
  let scale = vec4f(params.scale);
  let shift = vec4f(params.shift);
  // Different starts, or a compiler could fold the chains into one.
  var a = vec4f(0.0, 1.0, 2.0, 3.0) + f32(t);
  var b = a + 4.0;
  var c = a + 8.0;
  for (var i = 0u; i < params.rounds; i++) {
    a = a * scale + shift;
    b = b * scale + shift;
    c = c * scale + shift;
  }
  out[t] = dot(a + b + c, vec4f(1.0));
}
