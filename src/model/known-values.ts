/** Published numbers that a correct GPT-2 Small (124M, OpenAI's weights, float32, unprocessed) must give, each with its source. */

/** A text, its token ids, or a text after the beginning-of-sequence token. */
export type KnownInput = { text: string; bos?: boolean } | { tokens: readonly number[] };

interface Common { what: string; source: string }
export type KnownValue = Common & (
  | { kind: 'ids'; text: string; ids: readonly number[] }
  | { kind: 'greedy'; input: KnownInput; ids: readonly number[] }
  | { kind: 'greedy text'; input: KnownInput; text: string }
  | { kind: 'next'; input: KnownInput; id: number }
  | { kind: 'loss'; input: KnownInput; value: number; tolerance: number }
  /** The first number of the first position. */
  | { kind: 'activation'; input: KnownInput; hook: string; value: number; tolerance: number }
  /** A logit of the last position. */
  | { kind: 'logit'; input: KnownInput; id: number; value: number; tolerance: number }
  /** Mean over positions after the first of a head's attention to the token before. */
  | { kind: 'previous token'; input: KnownInput; layer: number; head: number; value: number; tolerance: number }
  /** Mean logit difference of pairs of prompts that differ in who acts; with a head, the share of it that the head's output from the other prompt brings back. */
  | { kind: 'indirect object'; pairs: readonly IoiPair[]; corrupted?: boolean; head?: readonly [layer: number, head: number]; value: number; tolerance: number }
);

/** Two prompts, and the answers of the first: its own and that of the second. */
export interface IoiPair { prompts: readonly [string, string]; answers: readonly [string, string] }

const HUGGING_FACE = 'Hugging Face transformers, test_modeling_gpt2';
const PORT = 'public GPT-2 port, checks of each operation';
const PATCHING = "TransformerLens' activation-patching demo, stored notebook";

const pair = (start: string, rest: string, io: string, s: string): IoiPair => ({ prompts: [`${start}, ${s} ${rest}`, `${start}, ${io} ${rest}`], answers: [` ${io}`, ` ${s}`] });
const PAIRS: readonly IoiPair[] = [
  pair('When John and Mary went to the shops', 'gave the bag to', 'Mary', 'John'), pair('When Tom and James went to the park', 'gave the ball to', 'Tom', 'James'),
  pair('When Dan and Sid went to the shops', 'gave an apple to', 'Dan', 'Sid'), pair('After Martin and Amy went to the park', 'gave a drink to', 'Martin', 'Amy'),
];
const AI = { tokens: [36235, 39141, 18765, 1143, 326, 9061, 561, 530, 1110, 1716, 262, 749, 3665] };

const LAYER0: readonly (readonly [hook: string, value: number])[] = [
  ['ln1.hook_normalized', 0.014586827], ['attn.hook_k', -1.3149338], ['attn.hook_v', -0.06303753], ['hook_attn_out', -0.21653405], ['hook_resid_mid', -0.19048978],
  ['ln2.hook_normalized', 0.019723138], ['mlp.hook_pre', 0.26455063], ['mlp.hook_post', 0.15987226], ['hook_mlp_out', 0.52171534], ['hook_resid_post', 0.33122557],
];
const HEADS: readonly (readonly [layer: number, head: number, value: number])[] = [[5, 5, 0.3435], [8, 6, 0.3186], [8, 10, 0.2779], [9, 9, 0.2636], [7, 9, 0.1922], [10, 7, -0.4799], [11, 10, -0.2782]];

export const GPT2_SMALL_VALUES: readonly KnownValue[] = [
  { kind: 'ids', what: 'tokens of an indirect-object sentence', source: "GPT-2's vocabulary", text: 'When Mary and John went to the store, John gave a drink to', ids: [2215, 5335, 290, 1757, 1816, 284, 262, 3650, 11, 1757, 2921, 257, 4144, 284] },
  { kind: 'ids', what: 'token of " Mary"', source: "GPT-2's vocabulary", text: ' Mary', ids: [5335] },
  { kind: 'ids', what: 'token of " John"', source: "GPT-2's vocabulary", text: ' John', ids: [1757] },
  { kind: 'greedy', what: 'greedy continuation of "The dog"', source: HUGGING_FACE, input: { tokens: [464, 3290] }, ids: [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262, 13, 198, 198, 464, 3290] },
  { kind: 'greedy text', what: 'greedy continuation of "Hello, my dog is a little"', source: HUGGING_FACE, input: { text: 'Hello, my dog is a little' }, text: " bit of a mess. I'm not sure if he's going" },
  { kind: 'loss', what: 'mean next-token loss of "Hello world!"', source: "TransformerLens' tests", input: { text: 'Hello world!', bos: true }, value: 5.331855773925781, tolerance: 4e-5 },
  ...LAYER0.map(([hook, value]): KnownValue => ({ kind: 'activation', what: `layer 0, ${hook}, element [0][0]`, source: PORT, input: AI, hook: `blocks.0.${hook}`, value, tolerance: 1e-3 })),
  { kind: 'logit', what: 'logits[-1][0] of the same prompt', source: PORT, input: AI, id: 0, value: -127.84109, tolerance: 1e-3 },
  { kind: 'next', what: 'its most likely next token, " machines"', source: PORT, input: AI, id: 8217 },
  { kind: 'previous token', what: 'attention of 4.11 to the token before, in running text', source: "TransformerLens' head-detector demo", input: { text: 'The head detector feature for TransformerLens allows users to check for various common heads automatically, reducing the cost of discovery.', bos: true }, layer: 4, head: 11, value: 0.9994, tolerance: 0.01 },
  { kind: 'indirect object', what: 'mean logit difference of 8 indirect-object prompts', source: PATCHING, pairs: PAIRS, value: 3.5519, tolerance: 1e-3 },
  { kind: 'indirect object', what: 'the same with the two names exchanged', source: PATCHING, pairs: PAIRS, corrupted: true, value: -3.5519, tolerance: 1e-3 },
  ...HEADS.map(([layer, head, value]): KnownValue => ({ kind: 'indirect object', what: `share of it that the output of ${layer}.${head} brings back`, source: PATCHING, pairs: PAIRS, head: [layer, head], value, tolerance: 1e-3 })),
];
