import * as assert from 'uvu/assert';
import { directorySource } from '../../src/files/node-directory.ts';
import { openSafetensors } from '../../src/files/index.ts';
import { Gpt2, type Edit, type RunOptions } from '../../src/model/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { FIXTURE } from '../support/models.ts';
import { random, relativeError } from '../support/numbers.ts';
import { referenceRun, referenceWeights, type Activation } from '../support/reference-gpt2.ts';

const test = gpuSuite('edits');
const TOLERANCE = 1e-5;
const SOURCE = directorySource(`${FIXTURE}/model`);
const REFERENCE = { layers: 3, heads: 4, width: 48, mlpWidth: 192, vocabulary: 97, epsilon: 1e-5 };
const HEADS = 4;

/** Prompts of unequal length. */
const PROMPTS = [[5, 17, 3, 88, 41, 2, 60], [9, 9, 30, 12], [77, 1, 64, 50, 23]];
const LONGEST = 7;
const LASTS = PROMPTS.map((p) => p.length - 1);
const SOME = [3, 1, 2];
/** The longest prompt from its beginning, the others from later on. */
const FIRSTS = [0, 2, 3];

const SITES = ['hook_resid_pre', 'attn.hook_q', 'attn.hook_k', 'attn.hook_v', 'attn.hook_pattern', 'attn.hook_z', 'hook_attn_out', 'hook_resid_mid', 'mlp.hook_pre', 'mlp.hook_post', 'hook_mlp_out', 'hook_resid_post'];
const EDITABLE = ['hook_embed', 'hook_pos_embed', ...[0, 1, 2].flatMap((layer) => SITES.map((site) => `blocks.${layer}.${site}`))];

/** An edit as a test writes it down. */
interface Written { hook: string; head?: number; positions?: number[] | number; add?: boolean; seed: number }

const isPattern = (hook: string): boolean => hook.endsWith('pattern');
const hasHeads = (hook: string): boolean => /hook_(q|k|v|z|pattern)$/.test(hook);

/** Numbers in one row, of one head if it is named. */
function widthOf({ hook, head }: Written): number {
  const all = isPattern(hook) ? HEADS * LONGEST : /mlp.hook_p/.test(hook) ? 192 : 48;
  return head === undefined ? all : all / HEADS;
}

function valuesOf(written: Written): Float32Array {
  const rows = PROMPTS.length * (written.positions === undefined ? LONGEST : 1);
  const values = random(rows * widthOf(written), written.seed);
  if (!isPattern(written.hook)) return values;
  // Weights of any size are allowed, also on keys after the query; none on keys that are padding, which hold nothing.
  const perPrompt = values.length / PROMPTS.length;
  return values.map((v, i) => (i % LONGEST < PROMPTS[Math.floor(i / perPrompt)]!.length ? Math.abs(v) / 4 : 0));
}

async function withEdits<T>(written: readonly Written[], use: (edits: Edit[]) => Promise<T>): Promise<T> {
  const gpu = await testGpu();
  const tensors = written.map((w) => Tensor.from(gpu, valuesOf(w), w.positions === undefined ? [PROMPTS.length, LONGEST, widthOf(w)] : [PROMPTS.length, widthOf(w)]));
  try {
    return await use(written.map(({ hook, head, positions, add }, i) => ({ hook, head, positions, add, values: tensors[i]! })));
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
}

/** What an edit does to one prompt's activation, written plainly. */
function applyTo(prompt: number, written: readonly Written[], hook: string, { data, shape }: Activation): void {
  const length = PROMPTS[prompt]!.length;
  for (const w of written) {
    if (w.hook !== hook) continue;
    const values = valuesOf(w);
    const width = widthOf(w);
    const positions = w.positions === undefined ? Array.from({ length }, (_, i) => i) : [typeof w.positions === 'number' ? w.positions : w.positions[prompt]!];
    for (const position of positions) {
      for (let i = 0; i < width; i++) {
        let value: number;
        let at: number;
        if (isPattern(hook)) {
          const head = w.head ?? Math.floor(i / LONGEST);
          const key = i % LONGEST;
          if (key >= length) continue;
          at = (head * length + position) * length + key;
          const heads = w.head === undefined ? HEADS : 1;
          value = w.positions === undefined
            ? values[((prompt * heads + (w.head === undefined ? head : 0)) * LONGEST + position) * LONGEST + key]!
            : values[prompt * width + i]!;
        } else {
          at = position * (data.length / shape[0]!) + (w.head ?? 0) * (w.head === undefined ? 0 : width) + i;
          value = values[w.positions === undefined ? (prompt * LONGEST + position) * width + i : prompt * width + i]!;
        }
        data[at] = w.add ? data[at]! + value : value;
      }
    }
  }
}

async function load(): Promise<Gpt2> {
  return Gpt2.load(await testGpu(), SOURCE);
}

/** Last-token logits of all prompts. */
async function logitsOf(model: Gpt2, edits: Edit[], options: RunOptions = {}): Promise<Float32Array> {
  const run = model.run(PROMPTS, { ...options, edits });
  const logits = await run.logits!.read();
  run.dispose();
  return logits;
}

/** Every way to name positions and heads for a hook. */
function waysOf(hook: string, seed: number): Written[] {
  const positions = [undefined, LASTS, SOME, seed % 2 ? 1 : FIRSTS];
  const heads = hasHeads(hook) ? [undefined, seed % HEADS] : [undefined];
  return positions.flatMap((p, i) => heads.map((head) => ({ hook, head, positions: p, add: (i + seed) % 2 === 1, seed: seed * 10 + i })));
}

test('an edit at every hook does what it does in float64', async () => {
  const model = await load();
  const weights = await referenceWeights(await openSafetensors(SOURCE));
  try {
    for (const [seed, hook] of EDITABLE.entries()) {
      if (/^blocks\.[02]/.test(hook)) continue;
      for (const written of waysOf(hook, seed)) {
        const out = await withEdits([written], (edits) => logitsOf(model, edits));
        const expected = PROMPTS.flatMap((prompt, p) => [...referenceRun(weights, REFERENCE, prompt, (name, activation) => applyTo(p, [written], name, activation)).get('logits')!.data.subarray(-97)]);
        const error = relativeError(out, expected);
        assert.ok(error <= TOLERANCE, `${JSON.stringify(written)}: error ${error}`);
      }
    }
  } finally {
    model.dispose();
  }
});

test('a resumed run equals a full one for every kind of edit', async () => {
  const model = await load();
  const clean = model.run(PROMPTS, { keep: true });
  const unedited = await clean.logits!.read();
  try {
    for (const [seed, hook] of EDITABLE.entries()) {
      for (const written of waysOf(hook, seed)) {
        // Where the edit itself is, something must change; after it, perhaps.
        const own = written.positions === undefined || written.positions === LASTS;
        for (const logits of own || seed % 2 || written.positions === FIRSTS ? [LASTS] : [PROMPTS.map((_, i) => (typeof written.positions === 'number' ? written.positions : written.positions![i]!))]) {
          await withEdits([written], async (edits) => {
            const full = await logitsOf(model, edits, { logits });
            const error = relativeError(await logitsOf(model, edits, { logits, resume: clean }), full);
            assert.ok(error <= TOLERANCE, `${JSON.stringify(written)}: error ${error}`);
            if (own) assert.ok(relativeError(full, unedited) > 1e-4, `${JSON.stringify(written)} changes nothing`);
          });
        }
      }
    }
  } finally {
    clean.dispose();
    model.dispose();
  }
});

test('several edits in one pass, and whatever else is asked of a resumed run, equal a full run', async () => {
  const model = await load();
  const clean = model.run(PROMPTS, { keep: true, logits: 'none' });
  const groups: Written[][] = [
    [{ hook: 'blocks.1.attn.hook_q', head: 0, positions: LASTS, seed: 1 }, { hook: 'blocks.1.attn.hook_k', head: 0, positions: SOME, seed: 2 }, { hook: 'blocks.2.attn.hook_q', head: 3, positions: LASTS, seed: 3 }],
    [{ hook: 'blocks.2.attn.hook_z', head: 1, positions: LASTS, seed: 4 }, { hook: 'blocks.2.attn.hook_z', head: 2, positions: LASTS, seed: 5, add: true }],
    [{ hook: 'blocks.0.hook_resid_post', positions: SOME, seed: 6 }, { hook: 'blocks.1.hook_resid_pre', positions: LASTS, seed: 7, add: true }, { hook: 'blocks.2.mlp.hook_post', positions: LASTS, seed: 8 }],
    [{ hook: 'hook_embed', positions: SOME, seed: 9 }, { hook: 'blocks.1.attn.hook_pattern', head: 1, positions: LASTS, seed: 10 }, { hook: 'blocks.1.attn.hook_v', positions: 0, seed: 11 }],
    [{ hook: 'blocks.2.hook_resid_post', seed: 12 }, { hook: 'blocks.2.hook_resid_post', positions: LASTS, seed: 13, add: true }],
    [],
  ];
  const asked: RunOptions[] = [
    { logits: 'last' },
    { logits: SOME },
    { logits: 'all' },
    { logits: 'none', captures: [{ hook: 'blocks.2.attn.hook_z', head: 1, positions: LASTS }, { hook: 'blocks.0.attn.hook_k', head: 2, positions: SOME }, { hook: 'blocks.1.attn.hook_pattern', positions: LASTS }] },
    { logits: LASTS, captures: [{ hook: 'blocks.2.hook_resid_post', positions: LASTS }, { hook: 'ln_final.hook_normalized', positions: LASTS }, { hook: 'logits', positions: SOME }] },
    { logits: 'last', cache: ['blocks.1.attn.hook_pattern', 'blocks.2.attn.hook_result', 'blocks.*.hook_resid_*', 'logits'] },
  ];
  try {
    for (const written of groups) {
      for (const options of asked) {
        await withEdits(written, async (edits) => {
          const runs = [model.run(PROMPTS, { ...options, edits }), model.run(PROMPTS, { ...options, edits, resume: clean })] as const;
          const [full, resumed] = runs;
          assert.equal([...resumed.cache.keys()], [...full.cache.keys()]);
          const pairs: [string, Tensor, Tensor][] = [...full.cache].map(([name, tensor]) => [name, tensor, resumed.get(name)]);
          for (const [i, tensor] of full.captured.entries()) pairs.push([`capture ${i}`, tensor, resumed.captured[i]!]);
          if (full.logits) pairs.push(['logits', full.logits, resumed.logits!]);
          for (const [name, a, b] of pairs) {
            assert.equal(a.shape, b.shape);
            const error = relativeError(real(await b.read(), b.shape), real(await a.read(), a.shape));
            assert.ok(error <= TOLERANCE, `${JSON.stringify(written)}, ${JSON.stringify(options)}, ${name}: error ${error}`);
          }
          for (const run of runs) {
            for (const tensor of run.captured) tensor.dispose();
            run.dispose();
          }
        });
      }
    }
  } finally {
    clean.dispose();
    model.dispose();
  }
});

test('captures are the rows of the cached activations', async () => {
  const model = await load();
  const hooks = model.hookNames().filter((name) => name !== 'logits');
  const captures = hooks.map((hook) => ({ hook, head: /attn.hook_/.test(hook) ? 2 : undefined, positions: SOME }));
  const run = model.run(PROMPTS, { cache: '*', captures, logits: 'none' });
  const alone = model.run(PROMPTS, { captures: captures.filter(({ hook }) => !/pattern|scores/.test(hook)), logits: 'none' });
  const shorter = alone.captured.values();
  for (const [i, { hook, head }] of captures.entries()) {
    const tensor = run.get(hook);
    const whole = await tensor.read();
    const captured = await run.captured[i]!.read();
    const [, second, third = 1, fourth = 1] = tensor.shape as [number, number, number?, number?];
    const byHead = second === HEADS;
    const width = byHead ? fourth : head === undefined ? third * fourth : fourth;
    assert.equal(run.captured[i]!.shape, [PROMPTS.length, width], hook);
    for (let prompt = 0; prompt < PROMPTS.length; prompt++) {
      const start = byHead ? ((prompt * HEADS + head!) * third + SOME[prompt]!) * fourth : (prompt * second + SOME[prompt]!) * third * fourth + (head ?? 0) * fourth;
      assert.equal(captured.slice(prompt * width, (prompt + 1) * width), whole.slice(start, start + width), hook);
    }
    // Without the cache only the positions up to the last captured one are computed.
    if (!/pattern|scores/.test(hook)) {
      const own = shorter.next().value!;
      assert.ok(relativeError(await own.read(), captured) <= TOLERANCE, hook);
      own.dispose();
    }
    run.captured[i]!.dispose();
  }
  run.dispose();
  model.dispose();
});

test('what a cached activation shows is what was there before later edits', async () => {
  const model = await load();
  await withEdits([{ hook: 'blocks.1.hook_resid_pre', positions: LASTS, seed: 3 }], async (edits) => {
    const clean = model.run(PROMPTS, { cache: 'blocks.0.hook_resid_post' });
    const edited = model.run(PROMPTS, { cache: ['blocks.0.hook_resid_post', 'blocks.1.hook_resid_pre'], edits });
    const before = await clean.get('blocks.0.hook_resid_post').read();
    assert.equal(await edited.get('blocks.0.hook_resid_post').read(), before);
    assert.not.equal(await edited.get('blocks.1.hook_resid_pre').read(), before);
    clean.dispose();
    edited.dispose();
  });
  model.dispose();
});

test('a resumed run leaves the run it starts from as it was', async () => {
  const model = await load();
  const clean = model.run(PROMPTS, { keep: true });
  const before = await Promise.all([...clean.kept!.residual, ...clean.kept!.qkv].map((t) => t.read()));
  for (const hook of EDITABLE) await withEdits([{ hook, seed: 5 }], (edits) => logitsOf(model, edits, { resume: clean }));
  const after = await Promise.all([...clean.kept!.residual, ...clean.kept!.qkv].map((t) => t.read()));
  assert.equal(after, before);
  clean.dispose();
  model.dispose();
});

test('a run goes no further than it must', async () => {
  const model = await load();
  const { gpu } = model;
  const dispatches = (options: RunOptions): number => {
    const before = gpu.counters().dispatches;
    const run = model.run(PROMPTS.map((p) => p.slice(0, 4)), options);
    const count = gpu.counters().dispatches - before;
    for (const tensor of run.captured) tensor.dispose();
    run.dispose();
    return count;
  };
  const all = dispatches({});
  assert.is(dispatches({ logits: 'none' }), 2, 'only the embedding');
  assert.ok(dispatches({ logits: 'none', cache: 'blocks.0.hook_resid_pre' }) <= 2);
  assert.ok(dispatches({ logits: 'none', captures: [{ hook: 'blocks.0.attn.hook_z', positions: [3, 3, 3] }] }) < all / 2);
  const equal = PROMPTS.map((p) => p.slice(0, 4));
  const clean = model.run(equal, { keep: true });
  await withEdits([{ hook: 'blocks.2.attn.hook_z', head: 1, positions: [3, 3, 3], seed: 1 }], async (edits) => {
    const before = gpu.counters().dispatches;
    const run = model.run(equal, { resume: clean, edits });
    const count = gpu.counters().dispatches - before;
    // Rows of the stream and of qkv, attention over the prefix and over themselves, the edit, the rest of the last block, the logits.
    assert.ok(count <= 11, `${count} dispatches`);
    run.dispose();
  });
  clean.dispose();
  model.dispose();
});

/** Rows of real positions only: padded ones hold anything. Second axis is the position, or heads with the position third. */
function real(values: Float32Array, shape: readonly number[]): number[] {
  if (shape.length < 3) return [...values];
  const byHead = shape.length === 4 && shape[1] === HEADS;
  const row = values.length / PROMPTS.length;
  return PROMPTS.flatMap((prompt, p) => {
    const own = values.subarray(p * row, (p + 1) * row);
    if (!byHead) return [...own.subarray(0, (row / LONGEST) * prompt.length)];
    return Array.from({ length: HEADS }, (_, h) => [...own.subarray(h * LONGEST * LONGEST, h * LONGEST * LONGEST + prompt.length * LONGEST)]).flat();
  });
}

test('an edit of one column leaves the others: the same as an edit of whole rows that holds them', async () => {
  const model = await load();
  const gpu = await testGpu();
  const clean = model.run(PROMPTS, { cache: ['blocks.1.attn.hook_pattern', 'blocks.1.attn.hook_z', 'blocks.1.mlp.hook_post'], logits: 'none' });
  try {
    for (const written of [{ hook: 'blocks.1.attn.hook_z', head: 2, add: true, seed: 1 }, { hook: 'blocks.1.mlp.hook_post', positions: SOME, seed: 2 }, { hook: 'blocks.1.attn.hook_pattern', add: true, seed: 3 }, { hook: 'blocks.1.attn.hook_pattern', head: 1, seed: 4 }] as Written[]) {
      const { hook, head, positions, add, seed } = written;
      const [column, rowWidth] = [2, isPattern(hook) ? LONGEST : widthOf(written)];
      const rows = (PROMPTS.length * (positions === undefined ? LONGEST : 1) * widthOf(written)) / rowWidth;
      const one = random(rows, seed).map(Math.abs);
      // What is there: rows in the order of prompt, head (for a pattern), position.
      const there = await clean.get(hook).read();
      const stride = isPattern(hook) ? LONGEST : there.length / (PROMPTS.length * LONGEST);
      const whole = Float32Array.from({ length: rows * rowWidth }, (_, i) => {
        const [row, at] = [Math.floor(i / rowWidth), i % rowWidth];
        const perPrompt = rows / PROMPTS.length;
        const prompt = Math.floor(row / perPrompt);
        const source = isPattern(hook) ? (head === undefined ? row : (prompt * HEADS + head) * LONGEST + row % LONGEST) : prompt * LONGEST + (positions === undefined ? row % LONGEST : (positions as number[])[prompt]!);
        const value = there[source * stride + (isPattern(hook) ? 0 : (head ?? 0) * rowWidth) + at]!;
        return at === column ? (add ? value + one[row]! : one[row]!) : value;
      });
      const [few, all] = [Tensor.from(gpu, one, [PROMPTS.length, one.length / PROMPTS.length]), Tensor.from(gpu, whole, [PROMPTS.length, whole.length / PROMPTS.length])];
      const edit = { hook, head, positions };
      const [found, right] = [await logitsOf(model, [{ ...edit, add, column, values: few }]), await logitsOf(model, [{ ...edit, values: all }])];
      assert.ok(relativeError(found, right) <= TOLERANCE, `${JSON.stringify(written)}: ${relativeError(found, right)}`);
      few.dispose();
      all.dispose();
    }
  } finally {
    clean.dispose();
    model.dispose();
  }
});

test.run();
