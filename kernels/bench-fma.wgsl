// out[t] = the sum of 8 numbers, each put 8 * rounds times through a -> fma(a, scale, shift): arithmetic without memory, for the rate
// that other kernels are measured against. 8 independent chains a thread keep a unit busy while a result is on its way, and with scale
// and shift they are few enough for the 16 vector registers of a CPU: with 12 chains a software driver spills and loses half. 8 steps
// a round hide the loop.
//   out  [threads]
// Dispatch: threads / WORKGROUP workgroups, folded; 128 * rounds floating-point operations a thread.
const WORKGROUP: u32 = 64u;
struct Params { threads: u32, rounds: u32, scale: f32, shift: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let t = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (t >= params.threads) { return; }
  let s = vec4f(params.scale);
  let h = vec4f(params.shift);
  // Different starts, or a compiler could fold the chains into one.
  var a = vec4f(0.0, 1.0, 2.0, 3.0) + f32(t);
  var b = a + 4.0;
  for (var i = 0u; i < params.rounds; i++) {
    a = fma(a, s, h); b = fma(b, s, h);
    a = fma(a, s, h); b = fma(b, s, h);
    a = fma(a, s, h); b = fma(b, s, h);
    a = fma(a, s, h); b = fma(b, s, h);
    a = fma(a, s, h); b = fma(b, s, h);
    a = fma(a, s, h); b = fma(b, s, h);
    a = fma(a, s, h); b = fma(b, s, h);
    a = fma(a, s, h); b = fma(b, s, h);
  }
  out[t] = dot(a + b, vec4f(1.0));
}
