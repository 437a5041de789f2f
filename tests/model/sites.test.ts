import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UnknownSiteError } from '../../src/errors.ts';
import { Hooks, nearest, readConfig } from '../../src/model/index.ts';
import { NO_ROW, planRun, rowOf, type Asked } from '../../src/model/plan.ts';

const test = suite('hook names and plans');
const hooks = new Hooks(readConfig({ model_type: 'gpt2', n_embd: 48, n_head: 4, n_layer: 3, vocab_size: 97, n_positions: 40 }, 'test'));
const names = (pattern: string | string[]): string[] => hooks.matchAll(pattern).map((hook) => hook.name);

function unknown(use: () => unknown, message: RegExp): void {
  try {
    use();
    assert.unreachable();
  } catch (error) {
    assert.instance(error, UnknownSiteError, String(error));
    assert.match((error as Error).message, message);
  }
}

test('globs stand for hooks in the order of the forward pass, each once', () => {
  assert.equal(names('blocks.*.hook_resid_post'), [0, 1, 2].map((layer) => `blocks.${layer}.hook_resid_post`));
  assert.equal(names('blocks.1.attn.*'), ['q', 'k', 'v', 'attn_scores', 'pattern', 'z', 'result'].map((name) => `blocks.1.attn.hook_${name}`));
  assert.equal(names(['logits', 'blocks.?.attn.hook_z', 'blocks.0.attn.hook_z', 'hook_embed']), ['hook_embed', 'blocks.0.attn.hook_z', 'blocks.1.attn.hook_z', 'blocks.2.attn.hook_z', 'logits']);
  assert.is(names('*').length, 2 + 3 * 18 + 3);
  assert.equal(names([]), []);
});

test('an unknown name is answered with the nearest there are', () => {
  unknown(() => hooks.get('blocks.0.hook_resid_pots'), /no hook blocks\.0\.hook_resid_pots; the nearest are blocks\.0\.hook_resid_post, blocks\.0\.hook_resid_pre/);
  unknown(() => hooks.get('blocks.1.hook_z'), /blocks\.1\.attn\.hook_z/);
  unknown(() => hooks.get('blocks.3.attn.hook_z'), /layers 0 to 2/);
  unknown(() => hooks.match('blocks.*.hook_rezid'), /no hook that matches blocks\.\*\.hook_rezid/);
  unknown(() => hooks.editable('blocks.1.ln1.hook_scale'), /can be read but not edited.*attn\.hook_q/);
  assert.equal(nearest('kat', ['dog', 'cat', 'bat', 'mat', 'katz'], 2), ['cat', 'bat']);
});

test('depths follow the order of the forward pass', () => {
  const depths = [...hooks.all.values()].map((hook) => hook.depth);
  assert.equal(depths, [...depths].sort((a, b) => a - b));
  assert.is(new Set(depths).size, depths.length);
});

const asked = (change: Partial<Asked>): Asked => ({ layers: 3, batch: 2, length: 10, cache: [], captures: [], edits: [], logits: 'none', keep: false, resumed: true, ...change });
const edit = (name: string, positions: number[] | null): Asked['edits'][number] => ({ hook: hooks.get(name), positions: positions && Uint32Array.from(positions) });

test('a resumed run starts at the first layer and, prompt by prompt, at the first position that something needs', () => {
  const logits = Uint32Array.from([9, 7]);
  const start = (change: Partial<Asked>): unknown[] => {
    const { layer, from, rows } = planRun(asked({ logits, ...change }));
    return [layer, from, [...rows.starts], rows.count];
  };
  assert.equal(start({ edits: [edit('blocks.1.attn.hook_z', [9, 7])] }), [1, 'attention', [9, 7], 1]);
  assert.equal(start({ edits: [edit('blocks.1.attn.hook_q', [9, 7]), edit('blocks.2.hook_resid_pre', [5, 7])] }), [1, 'attention', [5, 7], 5]);
  assert.equal(start({ edits: [edit('blocks.1.hook_resid_pre', [8, 5])] }), [1, 'residual', [8, 5], 3]);
  assert.equal(start({ edits: [edit('blocks.1.hook_resid_post', [4, 4])] }), [2, 'residual', [4, 4], 6]);
  assert.equal(start({ edits: [edit('blocks.2.hook_resid_post', [9, 7])] }), [2, 'attention', [9, 7], 1]);
  assert.equal(start({ edits: [edit('blocks.2.mlp.hook_pre', null)] }), [2, 'attention', [0, 0], 10]);
  assert.equal(start({ edits: [edit('blocks.1.attn.hook_pattern', [9, 7])] }), [1, 'attention', [7, 7], 3]);
  assert.equal(start({ edits: [edit('hook_embed', [3, 7])] }), [0, 'tokens', [3, 7], 7]);
  assert.equal(start({}), [2, 'attention', [9, 7], 1]);
  assert.equal(start({ edits: [edit('blocks.1.attn.hook_z', [9, 7])], cache: [hooks.get('blocks.2.hook_attn_out')] }), [1, 'attention', [0, 0], 10]);
  assert.equal(start({ edits: [edit('blocks.1.attn.hook_z', [9, 7])], logits: 'all' }), [1, 'attention', [0, 0], 10]);
  assert.equal(start({ edits: [edit('blocks.2.attn.hook_z', [9, 7])], captures: [{ hook: hooks.get('blocks.1.ln1.hook_scale'), positions: Uint32Array.from([9, 2]) }] }), [1, 'residual', [9, 2], 6]);
  assert.equal(start({ resumed: false, edits: [edit('blocks.1.attn.hook_z', [9, 7])] }), [0, 'tokens', [0, 0], 10]);
});

test('a run stops at the deepest thing asked for and carries one position where one is enough', () => {
  const logits = Uint32Array.from([9, 8]);
  assert.is(planRun(asked({})).deepest, -1);
  assert.is(planRun(asked({ cache: [hooks.get('blocks.1.attn.hook_z')] })).deepest, hooks.get('blocks.1.attn.hook_z').depth);
  assert.is(planRun(asked({ keep: true, resumed: false })).deepest, hooks.get('blocks.2.attn.hook_v').depth);
  assert.is(planRun(asked({ logits })).deepest, hooks.get('logits').depth);
  assert.is(planRun(asked({ logits })).narrow, logits);
  assert.is(planRun(asked({ logits: 'all' })).narrow, null);
  assert.is(planRun(asked({ logits, cache: [hooks.get('blocks.2.hook_mlp_out')] })).narrow, null);
  assert.is(planRun(asked({ logits, cache: [hooks.get('blocks.2.attn.hook_z')] })).narrow, logits);
  assert.is(planRun(asked({ logits, captures: [{ hook: hooks.get('blocks.2.hook_mlp_out'), positions: Uint32Array.from([9, 8]) }] })).narrow, logits);
  assert.is(planRun(asked({ logits, captures: [{ hook: hooks.get('blocks.2.hook_mlp_out'), positions: Uint32Array.from([9, 7]) }] })).narrow, null);
});

test('rows are found among those carried', () => {
  const rows = { starts: Uint32Array.from([4, 2, 4]), count: 3 };
  assert.equal([[0, 4], [1, 4], [2, 6], [1, 1], [0, 7]].map(([prompt, position]) => rowOf(rows, prompt!, position!)), [0, 5, 8, NO_ROW, NO_ROW]);
});

test.run();
