/** What every engine's forward pass of GPT-2 shares: embedding on the host, and an unembedding in parts that can be bound. */
import { joinParts, ranges, transposed, type Range } from './parts.ts';
import type { ForwardWork } from './peer.ts';

export function weight({ weights }: ForwardWork, name: string): Float32Array {
  const found = weights.get(name);
  if (!found) throw new Error(`weights have no ${name}`);
  return found.data;
}

/** Rows of token and position vectors, [batch · positions, model]. A table of 154 MB is no single binding for any of the engines, and looking rows up takes no time beside the rest. */
export function embedded(work: ForwardWork): Float32Array {
  const { batch, positions, model, tokens } = work;
  const [table, places] = [weight(work, 'wte.weight'), weight(work, 'wpe.weight')];
  const out = new Float32Array(batch * positions * model);
  for (let row = 0; row < batch * positions; row++) {
    for (let i = 0; i < model; i++) out[row * model + i] = table[tokens[row]! * model + i]! + places[(row % positions) * model + i]!;
  }
  return out;
}

/** Rows of logits. */
export function lastRows({ batch, positions, lastOnly }: ForwardWork): number {
  return lastOnly ? batch : batch * positions;
}

export interface VocabularyPart { range: Range; /** [model, words] */ data: Float32Array }

/** The embedding's rows, cut and laid out as right sides of products, so that neither they nor the logits pass `limit` bytes. */
export function vocabularyParts(work: ForwardWork, limit: number): VocabularyPart[] {
  const { model, vocabulary } = work;
  const table = weight(work, 'wte.weight');
  const words = Math.floor(limit / (4 * Math.max(model, lastRows(work))));
  return ranges(vocabulary, words).map((range) => ({ range, data: transposed(table.subarray(range.from * model, range.to * model), range.to - range.from, model) }));
}

/** All logits from those of the parts. */
export function joinVocabulary(work: ForwardWork, parts: readonly VocabularyPart[], results: readonly Float32Array[]): Float32Array {
  return joinParts({ batch: 1, m: lastRows(work), n: work.vocabulary }, parts.map(({ range }) => ({ batch: { from: 0, to: 1 }, columns: range })), results);
}
