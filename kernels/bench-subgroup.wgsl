// out[t] = a number put 8 * rounds times through a -> subgroupAdd(a) * scale + shift, twice over: how quickly the lanes of a subgroup can
// be summed.
//   out  [threads]
// Dispatch: threads / WORKGROUP workgroups, folded; 16 * rounds subgroup sums a thread. Needs subgroups.
enable subgroups;
const WORKGROUP: u32 = 64u;
struct Params { threads: u32, rounds: u32, scale: f32, shift: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let t = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  let s = params.scale;
  // Each lane adds a number of its own, or the lanes' values would be known to be equal.
  let h = params.shift * f32(local.x);
  var a = f32(t);
  var b = a + 1.0;
  for (var i = 0u; i < params.rounds; i++) {
    a = fma(subgroupAdd(a), s, h); b = fma(subgroupAdd(b), s, h);
    a = fma(subgroupAdd(a), s, h); b = fma(subgroupAdd(b), s, h);
    a = fma(subgroupAdd(a), s, h); b = fma(subgroupAdd(b), s, h);
    a = fma(subgroupAdd(a), s, h); b = fma(subgroupAdd(b), s, h);
    a = fma(subgroupAdd(a), s, h); b = fma(subgroupAdd(b), s, h);
    a = fma(subgroupAdd(a), s, h); b = fma(subgroupAdd(b), s, h);
    a = fma(subgroupAdd(a), s, h); b = fma(subgroupAdd(b), s, h);
    a = fma(subgroupAdd(a), s, h); b = fma(subgroupAdd(b), s, h);
  }
  if (t < params.threads) { out[t] = a + b; }
}
