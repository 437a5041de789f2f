/** The evaluation that parity is shown on: everything that the paper's tests compute, training included, small enough to wait for. The same code in Node and in a page. */
import { evaluate, ioiEvaluation, type EvaluationOptions, type Results } from '../../src/evaluation/index.ts';
import type { FileSource } from '../../src/files/index.ts';
import type { Gpu } from '../../src/gpu/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { grammarFor, IoiTask, parseCrossSection } from '../../src/task/index.ts';

export const SIZES = {
  /** For the tests. */
  small: { prompts: 24, trainPrompts: 260, selectionPrompts: 8, ks: [2, 8], sae: { lambdas: [1], features: 48, epochs: 4 }, crossSections: ['S=v@L0H3@s2', 'out=z@L0H3@end,z@L0H2@end'].map((text) => parseCrossSection(text)) },
  /** As the command line does it, with fewer prompts. */
  full: { prompts: 100, trainPrompts: 1000, selectionPrompts: 40, ks: [2, 8], sae: { lambdas: [0.5, 2], features: 128, epochs: 20 }, discovery: { prompts: 8, threshold: 0.2, strong: 0.6, sections: 3 } },
} as const satisfies Record<string, Partial<EvaluationOptions>>;
export type Size = keyof typeof SIZES;

/** Runs it on a device. `source` holds ioi-mini. */
export async function parityResults(gpu: Gpu, source: FileSource, size: Size): Promise<Results> {
  const model = await Gpt2.load(gpu, source);
  try {
    const task = ioiEvaluation(IoiTask.create(model.tokenizer!, await grammarFor(source)));
    return await evaluate(model, task, { ...SIZES[size], seed: 0, dictionaries: ['supervised', 'vanilla'], methods: ['agnostic', 'reconstruction', 'aware', 'threshold'] });
  } finally {
    model.dispose();
  }
}
