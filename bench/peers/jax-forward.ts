/** GPT-2's forward pass in jax-js's own operations, one jitted function of all weights. */
import { embedded, joinVocabulary, lastRows, vocabularyParts, weight } from './gpt2.ts';
import type { Jax, JaxArray } from './jax.ts';
import { jaxLayerNorm, program, type JaxProgram } from './jax-programs.ts';
import { length } from './parts.ts';
import type { ForwardWork } from './peer.ts';

/** Logits in as many parts of the vocabulary as bindings of `limit` bytes need. */
export function jaxForward(jax: Jax, work: ForwardWork, limit: number): JaxProgram {
  const { batch, positions, layers, heads, model, hidden, epsilon, lastOnly } = work;
  const np = jax.numpy;
  const inputs: JaxArray[] = [];
  const places = new Map<string, number>();
  const feed = (name: string, data: Float32Array, ...shape: number[]): void => { places.set(name, inputs.push(np.array(data, { shape })) - 1); };
  const given = (name: string, ...shape: number[]): void => feed(name, weight(work, name), ...shape);
  feed('embedded', embedded(work), batch * positions, model);
  const norm = (name: string): void => { given(`${name}.weight`, model); given(`${name}.bias`, model); };
  const linear = (name: string, from: number, to: number): void => { given(`${name}.weight`, from, to); given(`${name}.bias`, to); };
  for (let layer = 0; layer < layers; layer++) {
    norm(`h.${layer}.ln_1`);
    linear(`h.${layer}.attn.c_attn`, model, 3 * model);
    linear(`h.${layer}.attn.c_proj`, model, model);
    norm(`h.${layer}.ln_2`);
    linear(`h.${layer}.mlp.c_fc`, model, hidden);
    linear(`h.${layer}.mlp.c_proj`, hidden, model);
  }
  norm('ln_f');
  const parts = vocabularyParts(work, limit);
  parts.forEach(({ range, data }, i) => feed(`unembed${i}`, data, model, length(range)));

  // Every argument is used once, so that each is consumed.
  const forward = (...args: JaxArray[]): JaxArray[] => {
    const of = (name: string): JaxArray => args[places.get(name)!]!;
    const apply = (x: JaxArray, name: string): JaxArray => np.matmul(x, of(`${name}.weight`)).add(of(`${name}.bias`));
    const normed = (x: JaxArray, name: string): JaxArray => jaxLayerNorm(jax, x, of(`${name}.weight`), of(`${name}.bias`), epsilon);
    let stream = of('embedded');
    for (let layer = 0; layer < layers; layer++) {
      const name = (part: string): string => `h.${layer}.${part}`;
      const qkv = apply(normed(stream.ref, name('ln_1')), name('attn.c_attn'));
      const [q, k, v] = np.split(qkv, 3, -1).map((x) => x.reshape([batch, positions, heads, model / heads]));
      const mixed = jax.nn.dotProductAttention(q!, k!, v!, { isCausal: true }).reshape([batch * positions, model]);
      stream = stream.add(apply(mixed, name('attn.c_proj')));
      const inner = jax.nn.gelu(apply(normed(stream.ref, name('ln_2')), name('mlp.c_fc')));
      stream = stream.add(apply(inner, name('mlp.c_proj')));
    }
    if (lastOnly) stream = np.split(stream.reshape([batch, positions, model]), [positions - 1], 1).reduce((first, last) => { first.dispose(); return last; }).reshape([lastRows(work), model]);
    const last = normed(stream, 'ln_f');
    const logits = parts.map((_, i) => np.matmul(last.ref, of(`unembed${i}`)));
    last.dispose();
    return logits;
  };
  return program(jax, forward, inputs, parts.length, (results) => joinVocabulary(work, parts, results));
}
