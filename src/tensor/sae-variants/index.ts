/** The kinds of sparse autoencoder, behind one interface. */
import type { StepTools } from '../sae-part.ts';
import type { Tensor } from '../tensor.ts';
import { BatchTopKStep } from './batchtopk.ts';
import { GatedStep } from './gated.ts';
import { JumpReluStep } from './jumprelu.ts';
import { TopKStep } from './topk.ts';
import { VanillaStep } from './vanilla.ts';
import type { VariantStep } from './variant.ts';

export type { Pipelines, Second, TakeCodes, VariantStep } from './variant.ts';

/** The paper's ε, in units of inputs that are scaled to a mean squared norm of one. */
const BANDWIDTH = 1e-3;

/** A kind's part in a training step. `smallest` [all dictionaries] takes each dictionary's smallest kept code where a kind has them. */
export function makeVariantStep(tools: StepTools, { signed = false, bandwidth = BANDWIDTH }: { signed?: boolean; bandwidth?: number }, smallest: Tensor): VariantStep {
  switch (tools.variant) {
    case 'vanilla': return new VanillaStep(tools);
    case 'gated': return new GatedStep(tools, signed);
    case 'topk': return new TopKStep(tools, signed);
    case 'batchtopk': return new BatchTopKStep(tools, smallest);
    case 'jumprelu': return new JumpReluStep(tools, bandwidth);
  }
}
