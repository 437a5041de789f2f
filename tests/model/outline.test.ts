import * as assert from 'uvu/assert';
import { memorySource, type FileSource } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2, outlineModel, weightTypes } from '../../src/model/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { fixtureParts, IOI_MINI, modelSource } from '../support/models.ts';

const test = gpuSuite('outline of a model');

/** Counts bytes that are read of a file. */
function counted(source: FileSource, path: string): { source: FileSource; read(): number } {
  let bytes = 0;
  return { source: { ...source, range: (name, start, end) => { if (name === path) bytes += end - start; return source.range(name, start, end); } }, read: () => bytes };
}

test('it says what the model takes once it is loaded, and reads no weight for it', async () => {
  const gpu = await testGpu();
  const { config, tensors } = await fixtureParts();
  const untied = { ...tensors, 'lm_head.weight': tensors['wte.weight']! };
  for (const whole of [directorySource(IOI_MINI), modelSource(config, tensors), modelSource({ ...config, tie_word_embeddings: false }, untied)]) {
    const { source, read } = counted(whole, 'model.safetensors');
    const outline = await outlineModel(source);
    assert.ok(read() < (await whole.size('model.safetensors')) / 10, `${read()} bytes are read`);
    for (const weights of weightTypes) {
      const model = await Gpt2.load(gpu, whole, { weights });
      assert.equal([outline.parameters, outline.device[weights].bytes], [model.parameters, model.weightBytes]);
      assert.equal(outline.config, model.config);
      model.dispose();
      const centred = await Gpt2.load(gpu, whole, { weights, processing: { centerUnembed: true } });
      assert.is(outline.device[weights].bytes + outline.device[weights].unembedBytes, centred.weightBytes);
      centred.dispose();
    }
    const { name, rows, rowBytes, bytes } = outline.device.f32.largest;
    assert.equal([name === 'wte.weight' || name === 'h.0.mlp.c_fc.weight', rows * rowBytes, bytes > outline.device.f16.largest.bytes], [true, bytes, true]);
  }
});

test('what does not belong to its configuration is refused', async () => {
  const { config, tensors } = await fixtureParts();
  const error = await outlineModel(modelSource({ ...config, n_embd: 8, n_head: 2 }, tensors)).then(() => null, (e: Error) => e);
  assert.match(error?.message ?? '', /has the shape \[.*but config\.json asks for/);
  assert.match((await outlineModel(memorySource({}, 'empty')).then(() => null, (e: Error) => e))?.message ?? '', /^empty\/config\.json: no such file/);
});

test.run();
