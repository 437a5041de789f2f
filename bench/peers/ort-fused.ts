/** Whether ONNX Runtime's fused attention can be used on this driver. */
import { fusedTrial } from './ort-attention.ts';
import { graphOf, type GraphPlan } from './ort-graphs.ts';
import type { PeerRun, PeerWork } from './peer.ts';

/** Said of attention where the fused kernel is not used. */
export const NOT_FUSED = 'its fused attention gives wrong results on this adapter; timed as MatMul, Softmax and so on';

/**
 * A question that tries the kernel once against plain arithmetic, the first time that work needs it: on Mesa's lavapipe it
 * was seen to be right at 19 positions and wrong at 40, and right again on a device without subgroups.
 */
export function fusedIsRight(start: (plan: GraphPlan) => Promise<PeerRun>, limit: number): (work: PeerWork) => Promise<boolean> {
  let known: Promise<boolean> | null = null;
  const attempt = async (): Promise<boolean> => {
    const { work, expected } = fusedTrial();
    const run = await start(graphOf(work, limit, true)!);
    try {
      return (await run.read()).every((x, i) => Math.abs(x - expected[i]!) < 1e-4);
    } finally {
      await run.dispose();
    }
  };
  return (work) => (work.op === 'attention' || work.op === 'forward' ? (known ??= attempt()) : Promise.resolve(true));
}
