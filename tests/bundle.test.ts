import { build } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('bundle');

test('the library bundles for browsers: nothing of Node in it, and no kernel text of its own', async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: ['src/index.ts'], bundle: true, format: 'esm', platform: 'browser', target: 'es2022',
    loader: { '.wgsl': 'text' }, write: false, metafile: true, logLevel: 'silent',
  });
  assert.ok(outputFiles[0]!.contents.length > 10_000);
  const inputs = Object.keys(metafile.inputs);
  assert.equal(inputs.filter((file) => /src\/(cli|node\.ts|files\/node)/.test(file)), []);
  assert.ok(inputs.some((file) => file.startsWith('kernels/')));
});

test.run();
