// What a gradient is multiplied by so that its length stays within bounds (torch's clip_grad_norm_), for many models at once:
//
//   factor[D] = min(1, most / (√squares[D] + 10⁻⁶))
//
// binding 0  squares  f32 [models]   sum of squares of each model's whole gradient
// binding 1  factor   f32 [models]
//
// Dispatch: one thread a model.
const WORKGROUP: u32 = 64u;

struct Params { models: u32, most: f32, }
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read_write> factor: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let model = (group.y * groups.x + group.x) * WORKGROUP + local.x;
  if (model >= params.models) { return; }
  factor[model] = min(1.0, params.most / (sqrt(squares[model]) + 1e-6));
}
