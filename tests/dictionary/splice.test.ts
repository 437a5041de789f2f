/** `model.run(tokens, { splice })` against float64 and against runs that say the same in another way. */
import * as assert from 'uvu/assert';
import { ShapeError, TokenError, UnknownSiteError, UsageError } from '../../src/errors.ts';
import { openSafetensors } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2, type Edit, type Run, type RunOptions, type Splice, type SpliceDictionary } from '../../src/model/index.ts';
import { affine, saeActivate, saePreActivations, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { FIXTURE } from '../support/models.ts';
import { random, relativeError } from '../support/numbers.ts';
import { referenceRun, referenceWeights } from '../support/reference-gpt2.ts';
import { refusal } from '../support/refusal.ts';
import { KINDS, makePair, spliceInto, spliceRow, type Kind, type Pair, type Site, type Splice64 } from '../support/splice.ts';

const test = gpuSuite('spliced dictionaries');
const gpu = await testGpu();
const TOLERANCE = 2e-5;
const SOURCE = directorySource(`${FIXTURE}/model`);
const REFERENCE = { layers: 3, heads: 4, width: 48, mlpWidth: 192, vocabulary: 97, epsilon: 1e-5 };
const weights = await referenceWeights(await openSafetensors(SOURCE));
const F = 40;

/** Prompts of unequal length. */
const PROMPTS = [[5, 17, 3, 88, 41, 2, 60], [9, 9, 30, 12], [77, 1, 64, 50, 23]];
const LONGEST = 7;
const SOME = [3, 1, 2];
const LASTS = PROMPTS.map((p) => p.length - 1);
const SITES: readonly Site[] = ['input', 'acts_pre', 'acts_post', 'recons', 'error', 'output'];

/** Hooks of every make: before the blocks, of one head, of all heads, of other widths, behind the last attention. */
const PLACES: readonly { hook: string; head?: number }[] = [
  { hook: 'blocks.1.hook_resid_post' }, { hook: 'blocks.1.attn.hook_z' }, { hook: 'blocks.1.attn.hook_q', head: 2 }, { hook: 'hook_embed' }, { hook: 'blocks.2.mlp.hook_post' },
  { hook: 'blocks.0.attn.hook_z', head: 3 }, { hook: 'blocks.1.attn.hook_v' }, { hook: 'blocks.2.hook_resid_post' }, { hook: 'blocks.2.hook_mlp_out' }, { hook: 'blocks.2.attn.hook_k', head: 0 },
];
const widthOf = ({ hook, head }: { hook: string; head?: number }): number => (/mlp.hook_post/.test(hook) ? 192 : head === undefined ? 48 : 12);
const placeOf = ({ hook, head }: { hook: string; head?: number }): string => (head === undefined ? hook : `${hook}.${head}`);

async function withModel<T>(use: (model: Gpt2) => Promise<T>, options = {}): Promise<T> {
  const model = await Gpt2.load(gpu, SOURCE, options);
  return use(model).finally(() => model.dispose());
}

/** The same in float64: logits of every position of every prompt, and what the sites were, by name, prompt and position. */
function expected(splices: readonly Splice64[]): { logits: number[][]; seen: Map<string, number[]>[] } {
  const seen = PROMPTS.map(() => new Map<string, number[]>());
  const logits = PROMPTS.map((prompt, p) => [...referenceRun(weights, REFERENCE, prompt, (hook, activation) => spliceInto(splices, p, REFERENCE.heads, hook, activation, seen[p])).get('logits')!.data]);
  return { logits, seen };
}

const spliceOf = ({ pair, hook, head, errorTerm, positions }: Splice64): Splice => ({ sae: pair.sae, hook, ...(head === undefined ? {} : { head }), ...(errorTerm ? { errorTerm } : {}), ...(positions ? { positions } : {}) });

/** Logits of the real positions of a run with logits 'all'. */
async function realLogits(run: Run): Promise<number[][]> {
  const all = await run.logits!.read();
  return PROMPTS.map((prompt, p) => [...all.subarray(p * LONGEST * 97, (p * LONGEST + prompt.length) * 97)]);
}

/** Compares a run with the reference: logits, and all sites of all splices. */
async function compare(model: Gpt2, splices: readonly Splice64[], options: RunOptions, what: string): Promise<void> {
  const { logits, seen } = expected(splices);
  const run = model.run(PROMPTS, { splice: splices.map(spliceOf), cache: splices.map((s) => `${placeOf(s)}.hook_sae_*`), logits: 'all', ...options });
  try {
    assert.is(run.cache.size, splices.length * SITES.length);
    const error = relativeError((await realLogits(run)).flat(), logits.flat());
    assert.ok(error <= TOLERANCE, `${what}: logits differ by ${error}`);
    for (const splice of splices) for (const site of SITES) {
      const name = `${placeOf(splice)}.hook_sae_${site}`;
      const tensor = run.get(name);
      const length = splice.positions ? 1 : LONGEST;
      const outside = splice.head === undefined && /hook_[qkvz]$/.test(splice.hook) && (site === 'error' || site === 'output');
      const row = site.startsWith('acts') ? F : widthOf(splice);
      assert.equal(tensor.shape, [3, length, ...(outside ? [4, 12] : [row])], name);
      const values = await tensor.read();
      const right = PROMPTS.flatMap((prompt, p) => prompt.flatMap((_, t) => seen[p]!.get(`${name} ${t}`) ?? []));
      const found = PROMPTS.flatMap((prompt, p) => (splice.positions ? [0] : prompt.map((_, t) => t)).flatMap((t) => [...values.subarray((p * length + t) * row, (p * length + t + 1) * row)]));
      assert.ok(relativeError(found, right) <= TOLERANCE, `${what}: ${name} differs by ${relativeError(found, right)}`);
    }
  } finally {
    run.dispose();
  }
}

/** Dictionaries that fit a place, freed afterwards. */
async function withPairs<T>(wanted: readonly { kind: Kind; width: number }[], use: (pairs: Pair[]) => Promise<T>): Promise<T> {
  const pairs = wanted.map(({ kind, width }, i) => makePair(gpu, kind, { features: F, width, seed: 3 + 20 * i }));
  return use(pairs).finally(() => pairs.forEach(({ sae }) => sae.dispose()));
}

test('codes in two steps are the very codes of one, for every kind', () => gpu.scope(async () => {
  const x = Tensor.from(gpu, random(11 * 12, 4), [11, 12]);
  for (const kind of KINDS) {
    const pair = makePair(gpu, kind, { features: F, width: 12, seed: 5 });
    const { sae } = pair;
    const pre = sae.preActivations(x);
    assert.is((await sae.activate(pre, x).read()).join(), (await sae.encode({ activations: x }).read()).join(), JSON.stringify(kind));
    const rows = Array.from({ length: 11 }, (_, r) => spliceRow(pair, [...random(11 * 12, 4)].slice(r * 12, r * 12 + 12), false));
    assert.ok(relativeError(await pre.read(), rows.flatMap((row) => row.acts_pre)) <= 1e-5, JSON.stringify(kind));
    assert.ok(rows.some((row) => row.acts_post.some((v) => v !== 0)) && rows.some((row) => row.acts_post.some((v) => v === 0)));
    assert.throws(() => saeActivate(pre, Tensor.zeros(gpu, [3, 12]), sae.weights, sae.kind), (e: Error) => e instanceof ShapeError);
    assert.throws(() => saePreActivations(Tensor.zeros(gpu, [3, 5]), sae.weights, sae.kind), (e: Error) => e instanceof ShapeError);
    sae.dispose();
  }
}));

test('every kind of dictionary at every kind of hook, with and without the error term, as in float64', () => withModel(async (model) => {
  for (const [i, place] of PLACES.entries()) {
    const kind = KINDS[i]!;
    await withPairs([{ kind, width: widthOf(place) }], async ([pair]) => {
      await compare(model, [{ pair: pair!, ...place, errorTerm: i % 2 === 1, ...(i % 4 > 1 ? { positions: SOME } : {}) }], {}, `${JSON.stringify(kind)} at ${placeOf(place)}`);
    });
  }
}));

test('edits at every site, of all rows, single positions and single features, as in float64', () => withModel(async (model) => {
  const kinds: Kind[] = [{ variant: 'jumprelu' }, { variant: 'gated', normalization: 'layer_norm' }];
  const places = [{ hook: 'blocks.1.attn.hook_z', head: 1 }, { hook: 'blocks.0.hook_resid_mid' }];
  for (const [k, kind] of kinds.entries()) for (const [s, site] of SITES.entries()) {
    const place = places[k]!;
    await withPairs([{ kind, width: widthOf(place) }], async ([pair]) => {
      const way = (s + k) % 3; // all rows replaced; one position grows; one number of each row
      const width = way === 2 ? 1 : site.startsWith('acts') ? F : widthOf(place);
      const errorTerm = site === 'error' || s % 2 === 0;
      const values = random(3 * (way === 1 ? 1 : LONGEST) * width, s + 9);
      const column = 5;
      const change = (prompt: number, position: number, at: Site, row: number[]): void => {
        if (at !== site || (way === 1 && position !== SOME[prompt])) return;
        const from = (way === 1 ? prompt : prompt * LONGEST + position) * width;
        for (let i = 0; i < width; i++) row[way === 2 ? column : i] = (way === 1 ? row[i]! : 0) + values[from + i]!;
      };
      const tensor = Tensor.from(gpu, values, way === 1 ? [3, width] : [3, LONGEST, width]);
      const edit: Edit = { hook: `${placeOf(place)}.hook_sae_${site}`, values: tensor, ...(way === 1 ? { positions: SOME, add: true } : {}), ...(way === 2 ? { column } : {}) };
      await compare(model, [{ pair: pair!, ...place, errorTerm, change }], { edits: [edit] }, `edit ${way} of ${site}${errorTerm ? ' with the error term' : ''}`).finally(() => tensor.dispose());
    });
  }
}));

test('several dictionaries in one run, two of them heads of one hook', () => withModel(async (model) => {
  await withPairs([{ kind: { variant: 'topk' }, width: 12 }, { kind: { variant: 'vanilla' }, width: 12 }, { kind: { variant: 'batchtopk' }, width: 48 }], async ([a, b, c]) => {
    await compare(model, [{ pair: a!, hook: 'blocks.1.attn.hook_z', head: 0 }, { pair: b!, hook: 'blocks.1.attn.hook_z', head: 3, errorTerm: true }, { pair: c!, hook: 'blocks.2.hook_resid_pre' }], {}, 'three');
    // The hook itself holds what the model goes on with; its names stand where they are computed.
    const run = model.run(PROMPTS, { splice: [{ sae: a!.sae, hook: 'blocks.1.attn.hook_z', head: 0 }], cache: ['blocks.1.attn.hook_z*'], logits: 'none' });
    assert.equal([...run.cache.keys()].sort(), ['blocks.1.attn.hook_z', ...SITES.map((site) => `blocks.1.attn.hook_z.0.hook_sae_${site}`)].sort());
    const [whole, part] = [await run.get('blocks.1.attn.hook_z').read(), await run.get('blocks.1.attn.hook_z.0.hook_sae_output').read()];
    assert.equal([...whole.subarray(48, 60)], [...part.subarray(12, 24)]);
    run.dispose();
  });
}));

test('with the error term nothing changes by itself, and one code changes the output by its difference times the feature', () => withModel(async (model) => {
  const plain = model.run(PROMPTS, { logits: 'all' });
  const before = await realLogits(plain);
  for (const [i, kind] of KINDS.entries()) await withPairs([{ kind, width: 48 }], async ([pair]) => {
    const at = 'blocks.1.hook_resid_pre';
    const splice = [{ sae: pair!.sae, hook: at, errorTerm: true }];
    const clean = model.run(PROMPTS, { splice, logits: 'all', captures: [{ hook: `${at}.hook_sae_output`, positions: SOME }, { hook: `${at}.hook_sae_acts_post`, positions: SOME }, { hook: `${at}.hook_sae_input`, positions: SOME }] });
    assert.ok(relativeError((await realLogits(clean)).flat(), before.flat()) <= 1e-5, JSON.stringify(kind));
    const j = 2 * i + 1;
    const values = Tensor.from(gpu, [4, 5, 6], [3, 1]);
    const edited = model.run(PROMPTS, { splice, edits: [{ hook: `${at}.hook_sae_acts_post`, positions: SOME, column: j, values }], captures: [{ hook: `${at}.hook_sae_output`, positions: SOME }, { hook: at, positions: SOME }] });
    const [output, codes, input, changed, hook] = await Promise.all([...clean.captured, ...edited.captured].map((tensor) => tensor.read()));
    for (let p = 0; p < 3; p++) {
      // Of a dictionary with a scale of its own for each activation, a feature's share of the activation has that scale.
      const row = [...input!.subarray(p * 48, p * 48 + 48)];
      const mean = row.reduce((a, b) => a + b, 0) / 48;
      const scale = kind.normalization === 'layer_norm' ? Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / 47) + 1e-5 : kind.normalization ? Math.hypot(...row) / Math.sqrt(48) : 1;
      const moved = Array.from({ length: 48 }, (_, k) => scale * (4 + p - codes![p * F + j]!) * pair!.plain.decoder[j * 48 + k]!);
      const found = moved.map((_, k) => changed![p * 48 + k]! - output![p * 48 + k]!);
      assert.ok(relativeError(found, moved) <= 2e-5, `${JSON.stringify(kind)}: ${relativeError(found, moved)}`);
    }
    assert.equal([...hook!], [...changed!]);
    for (const tensor of [...clean.captured, ...edited.captured, values]) tensor.dispose();
    clean.dispose();
    edited.dispose();
  });
  plain.dispose();
}));

test('resumed and narrowed runs give what a whole one gives', () => withModel(async (model) => {
  const kept = model.run(PROMPTS, { keep: true });
  for (const [i, place] of PLACES.entries()) await withPairs([{ kind: KINDS[i]!, width: widthOf(place) }], async ([pair]) => {
    const name = `${placeOf(place)}.hook_sae_acts_post`;
    const added = Tensor.from(gpu, [2, 3, 4], [3, 1]);
    for (const positions of [undefined, SOME]) {
      const errorTerm = (positions === undefined) === (i % 2 === 0);
      const splice = [{ sae: pair!.sae, ...place, errorTerm, ...(positions ? { positions } : {}) }];
      const edits: Edit[] = [{ hook: name, positions: SOME, values: added, add: true, column: 7 }];
      const captures = [{ hook: name, positions: SOME }, { hook: 'blocks.2.attn.hook_z', positions: LASTS }];
      const results = [];
      // The whole: every position of the last hook is cached, so that none is left out.
      for (const options of [{ cache: 'ln_final.hook_normalized' }, {}, { resume: kept }, { resume: kept, cache: name }, { captures: captures.slice(1) }, { resume: kept, captures: [] }] as RunOptions[]) {
        const run = model.run(PROMPTS, { splice, edits, captures, ...options });
        results.push([await run.logits!.read(), ...await Promise.all(run.captured.map((tensor) => tensor.read()))]);
        run.captured.forEach((tensor) => tensor.dispose());
        run.dispose();
      }
      for (const [r, result] of results.entries()) for (const [part, values] of result.entries()) {
        const right = results[0]![r === 4 && part === 1 ? 2 : part]!;
        assert.ok(relativeError(values, right) <= 1e-5, `${placeOf(place)}, run ${r}: part ${part} differs by ${relativeError(values, right)}`);
      }
    }
    added.dispose();
  });
  kept.dispose();
}));

test('codes that nobody asks for are made of some rows after the others', () => withModel(async (model) => {
  // All that the model asks of a dictionary; this one doubles its activations and says that its codes are very wide.
  const rows: number[] = [];
  const double: SpliceDictionary = {
    name: 'double', dIn: 48, features: 2 ** 23, metadata: { hook_name: 'blocks.1.hook_resid_mid' },
    encode({ activations }) {
      rows.push(activations.shape[0]!);
      return activations.clone();
    },
    preActivations: (x) => x.clone(), activate: (pre) => pre.clone(), reconstruct: (codes) => affine(codes, 2), restore: (x) => x.reshape(x.shape),
  };
  const hook = 'blocks.1.hook_resid_mid';
  const clean = model.run(PROMPTS, { cache: hook, logits: 'none' });
  const [edited, spliced] = [model.run(PROMPTS, { edits: [{ hook, values: clean.get(hook), add: true }], logits: 'all' }), model.run(PROMPTS, { splice: [double], logits: 'all' })];
  assert.equal(rows, [4, 4, 4, 4, 4, 1]);
  assert.equal(await realLogits(spliced), await realLogits(edited));
  for (const run of [clean, edited, spliced]) run.dispose();
}));

test('a model of halves: a splice is an edit by what the dictionary makes of the activation', () => withModel(async (model) => {
  await withPairs([{ kind: { variant: 'topk' }, width: 48 }], async ([pair]) => {
    const hook = 'blocks.1.hook_mlp_out';
    const clean = model.run(PROMPTS, { cache: hook, logits: 'none' });
    const rows = clean.get(hook).reshape([-1, 48]);
    const codes = pair!.sae.encode({ activations: rows });
    const values = pair!.sae.decode(codes);
    const shaped = values.reshape([3, LONGEST, 48]);
    const [edited, spliced] = [model.run(PROMPTS, { edits: [{ hook, values: shaped }] }), model.run(PROMPTS, { splice: [{ sae: pair!.sae, hook }] })];
    assert.ok(relativeError(await spliced.logits!.read(), await edited.logits!.read()) <= 1e-6);
    for (const made of [clean, edited, spliced, rows, codes, values, shaped]) made.dispose();
  });
}, { weights: 'f16' }));

test('what cannot be spliced is refused in one line', () => withModel(async (model) => {
  const at = (hook_name?: string, hook_head_index?: number): Pair => makePair(gpu, { variant: 'vanilla' }, { features: F, width: 12, seed: 1, metadata: { ...(hook_name === undefined ? {} : { hook_name }), ...(hook_head_index === undefined ? {} : { hook_head_index }) } });
  const [nowhere, head, wide] = [at(), at('blocks.1.attn.hook_q', 2), at('blocks.0.hook_resid_pre')];
  const why = (splice: RunOptions['splice'], type: Parameters<typeof refusal>[1], more: RunOptions = {}): Promise<string> => refusal(() => model.run(PROMPTS, { splice, ...more }), type);
  try {
    assert.match(await why([nowhere.sae], UsageError), /splice of vanilla 1: its metadata does not say which hook/);
    assert.match(await why([wide.sae], ShapeError), /width 12, but blocks\.0\.hook_resid_pre has width 48$/);
    assert.match(await why([{ sae: head.sae, hook: 'blocks.1.attn.hook_z' }], ShapeError), /blocks\.1\.attn\.hook_z has width 48; say which head/);
    assert.match(await why([{ sae: head.sae, head: 4 }], UnknownSiteError), /splice of vanilla 1: blocks\.1\.attn\.hook_q has the heads 0 to 3, not 4/);
    assert.match(await why([{ sae: head.sae, hook: 'blocks.1.hook_resid', head: 1 }], UnknownSiteError), /splice of vanilla 1: there is no hook blocks\.1\.hook_resid/);
    assert.match(await why([{ sae: head.sae, hook: 'blocks.1.attn.hook_result' }], UnknownSiteError), /splice of vanilla 1: blocks\.1\.attn\.hook_result can be read but not edited/);
    assert.match(await why([{ sae: head.sae, hook: 'blocks.1.attn.hook_pattern' }], UnknownSiteError), /every pair of positions/);
    assert.match(await why([{ sae: head.sae, positions: [1, 2] }], ShapeError), /2 positions for 3 prompts/);
    assert.match(await why([{ sae: head.sae, positions: 4 }], TokenError), /position 4 is not in prompt 1/);
    assert.match(await why([head.sae, { sae: nowhere.sae, hook: 'blocks.1.attn.hook_q', head: 2 }], UsageError), /two dictionaries, vanilla 1 and vanilla 1, are spliced into blocks\.1\.attn\.hook_q\.2$/);
    await withPairs([{ kind: { variant: 'vanilla' }, width: 48 }], async ([all]) => {
      assert.match(await why([head.sae, { sae: all!.sae, hook: 'blocks.1.attn.hook_q' }], UsageError), /one of them into all of blocks\.1\.attn\.hook_q/);
    });
    assert.match(await why([head.sae], UsageError, { keep: true }), /keep the clean run/);
    const values = Tensor.zeros(gpu, [3, 1]);
    const edit = (hook: string, more: Partial<Edit> = {}): RunOptions => ({ edits: [{ hook, values, positions: SOME, ...more }] });
    const site = 'blocks.1.attn.hook_q.2.hook_sae_acts_post';
    assert.match(await why([head.sae], UnknownSiteError, edit('blocks.1.attn.hook_q.2.hook_sae_error')), /without its error term/);
    assert.match(await why([head.sae], UnknownSiteError, edit(site, { column: F })), /no column 40; there are 0 to 39/);
    assert.match(await why([head.sae], ShapeError, edit(site)), /must have the shape \[3, 40\], not f32 \[3, 1\]/);
    assert.match(await why([head.sae], UnknownSiteError, edit(site, { head: 2, column: 1 })), /has no heads/);
    assert.match(await why([{ sae: head.sae, positions: SOME }], TokenError, edit(site, { positions: LASTS, column: 1 })), /position 6 of prompt 0 has no dictionary; it is spliced at position 3/);
    assert.match(await why([head.sae], UnknownSiteError, { cache: 'blocks.1.attn.hook_q.2.hook_sae_acts' }), /the dictionary there has hook_sae_input, hook_sae_acts_pre/);
    assert.match(await why([], UnknownSiteError, { cache: site }), /no dictionary is spliced into blocks\.1\.attn\.hook_q\.2$/);
    values.dispose();
  } finally {
    for (const { sae } of [nowhere, head, wide]) sae.dispose();
  }
}));

test.run();
