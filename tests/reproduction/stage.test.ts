import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as z from 'zod';
import { addresses, runStages, STAGES, stageFile, type Stage } from '../../src/reproduction/stage.ts';
import { MemoryStore } from '../support/memory-store.ts';

const test = suite('reproduction stages');

interface Lab { ran: string[] }

/** Four stages; numbers with more digits than a file keeps, one stage that is left out, one that reads two others. */
function stages(seed: number, versions: Partial<Record<string, number>> = {}): Stage<Lab>[] {
  const make = (name: string, needs: string[], run: (read: <R>(stage: string) => R | null) => { result: unknown } | { leftOut: string }): Stage<Lab> => ({
    name, title: name, version: versions[name] ?? 1, needs, inputs: name === 'first' ? { seed } : {}, schema: z.object({ value: z.number() }),
    run: async (lab, read, { onProgress }) => {
      lab.ran.push(name);
      onProgress(1, 1);
      return run(read);
    },
  });
  return [
    make('first', [], () => ({ result: { value: Math.PI * seed } })),
    make('second', ['first'], (read) => ({ result: { value: read<{ value: number }>('first')!.value ** 7 } })),
    make('absent', [], () => ({ leftOut: 'the model has no years' })),
    make('last', ['second', 'absent'], (read) => ({ result: { value: read<{ value: number }>('second')!.value - 1 + (read('absent') === null ? 0.5 : 0) } })),
  ];
}

const numbers = (records: Awaited<ReturnType<typeof runStages>>) => records.map(({ name, address, result, leftOut }) => ({ name, address, result, leftOut }));

test('a run that is killed after any stage and started again gives the same numbers and repeats nothing that was kept', async () => {
  const whole = numbers(await runStages(stages(3), { ran: [] }, 'basis', new MemoryStore()));
  for (let kept = 0; kept < 4; kept++) {
    const store = new MemoryStore();
    store.until = kept;
    let failed = false;
    await runStages(stages(3), { ran: [] }, 'basis', store).catch(() => { failed = true; });
    assert.ok(failed);
    store.until = Infinity;
    const lab: Lab = { ran: [] };
    const again = await runStages(stages(3), lab, 'basis', store);
    assert.equal(numbers(again), whole);
    assert.equal(lab.ran, ['first', 'second', 'absent', 'last'].slice(kept));
    assert.equal(again.map(({ reused }) => reused), [0, 1, 2, 3].map((stage) => stage < kept));
  }
});

test('an aborted stage leaves nothing behind', async () => {
  const store = new MemoryStore();
  const controller = new AbortController();
  const watching = { signal: controller.signal, onProgress: (phase: string) => { if (phase === 'second') controller.abort(); } };
  let name = '';
  await runStages(stages(3), { ran: [] }, 'basis', store, watching).catch((error: Error) => { name = error.name; });
  assert.is(name, 'AbortError');
  assert.is(store.files.size, 1);
});

test('a stage runs again when its settings, its version, what it reads or what all rests on has changed, and only then', async () => {
  const store = new MemoryStore();
  await runStages(stages(3), { ran: [] }, 'basis', store);
  const ran = async (list: Stage<Lab>[], basis = 'basis') => {
    const lab: Lab = { ran: [] };
    await runStages(list, lab, basis, store);
    return lab.ran;
  };
  assert.equal(await ran(stages(3)), []);
  assert.equal(await ran(stages(4)), ['first', 'second', 'last']);
  assert.equal(await ran(stages(3, { second: 2 })), ['second', 'last']);
  assert.equal(await ran(stages(3), 'another model'), ['first', 'second', 'absent', 'last']);
});

test('a damaged result, one cut short or one of another shape is made again', async () => {
  const list = stages(3);
  const place = await addresses(list as Stage<never>[], 'basis');
  const file = `${STAGES}/${stageFile('second', place.get('second')!)}`;
  const store = new MemoryStore();
  const whole = numbers(await runStages(list, { ran: [] }, 'basis', store));
  const good = store.files.get(file)!;
  for (const bad of [good.subarray(0, good.length / 2), new TextEncoder().encode('{}'), new TextEncoder().encode(new TextDecoder().decode(good).replace('"value"', '"other"'))]) {
    store.files.set(file, bad);
    const lab: Lab = { ran: [] };
    assert.equal(numbers(await runStages(list, lab, 'basis', store)), whole);
    assert.equal(lab.ran, ['second']);
  }
});

test('a result that does not fit its schema is refused and not stored', async () => {
  const store = new MemoryStore();
  const [stage] = stages(1);
  let message = '';
  await runStages([{ ...stage!, run: async () => ({ result: { value: Number.NaN } }) }], { ran: [] }, 'basis', store).catch((error: Error) => { message = error.message; });
  assert.match(message, /expected number/);
  assert.is(store.files.size, 0);
});

test.run();
