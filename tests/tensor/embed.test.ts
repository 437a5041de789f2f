import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { addPositions, embed, positionEmbedding } from '../../src/tensor/embed.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('embed');

/** Embedded tokens and positions, [batch, length, width], as float32 adds them. */
function reference(tokens: readonly number[], length: number, wte: Float32Array, wpe: Float32Array, width: number, start: number): { embedded: number[]; positions: number[]; sum: number[] } {
  const embedded = tokens.flatMap((t) => Array.from(wte.subarray(t * width, (t + 1) * width)));
  const positions = tokens.flatMap((_, i) => Array.from(wpe.subarray((start + (i % length)) * width, (start + (i % length) + 1) * width)));
  return { embedded, positions, sum: embedded.map((v, i) => Math.fround(v + positions[i]!)) };
}

/** The same on a GPU, whole or in windows. */
async function check(windowBytes?: number): Promise<void> {
  const gpu = windowBytes ? await openGpu({ windowBytes }) : await testGpu();
  const [batch, length, width, vocabulary, places, start] = [5, 7, 12, 301, 120, 110];
  const tokens = Array.from({ length: batch * length }, (_, i) => (i * 43) % vocabulary);
  tokens[3] = vocabulary - 1;
  const wte = random([vocabulary, width], 1);
  const wpe = random([places, width], 2);
  const ref = reference(tokens, length, wte, wpe, width, start);
  await gpu.scope(async () => {
    const table = Tensor.from(gpu, wpe, [places, width]);
    const x = embed(Tensor.from(gpu, tokens, [batch, length], 'u32'), Tensor.from(gpu, wte, [vocabulary, width]));
    assert.equal(x.shape, [batch, length, width]);
    assert.equal(Array.from(await x.read()), ref.embedded);
    assert.equal(Array.from(await addPositions(x, table, start).read()), ref.sum);
    assert.equal(Array.from(await positionEmbedding(table, batch, length, start).read()), ref.positions);
  });
  if (windowBytes) gpu.destroy();
}

test('tokens and positions are looked up and added', () => check());

test('a vocabulary beyond the binding limit is looked up in windows', () => check(4096));

test('an id past the vocabulary reads nothing, positions past the table are refused, zero prompts are fine', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const table = Tensor.from(gpu, [1, 2, 3, 4], [2, 2]);
    assert.equal(Array.from(await embed(Tensor.from(gpu, [1, 2, 0], [1, 3], 'u32'), table).read()), [3, 4, 0, 0, 1, 2]);
    assert.throws(() => positionEmbedding(table, 1, 2, 1), (e: unknown) => e instanceof ShapeError && /positions 1 to 3/.test(e.message));
    assert.equal(addPositions(Tensor.empty(gpu, [0, 2, 2]), table, 0).shape, [0, 2, 2]);
  });
});

test.run();
