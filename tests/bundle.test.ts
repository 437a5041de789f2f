import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type BuildOptions } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../src/node-adapter.mjs';

const test = suite('bundle');

test('the library bundles for browsers: nothing of Node in it, and no kernel text of its own', async () => {
  const { shared } = (await import(pathToFileURL(join(packageRoot(), 'build.mjs')).href)) as { shared: BuildOptions };
  const { outputFiles, metafile } = await build({
    ...shared, packages: 'bundle', entryPoints: ['src/index.ts'], outdir: 'never-written', platform: 'browser', write: false, metafile: true, logLevel: 'silent',
  });
  assert.ok(outputFiles.find(({ path }) => path.endsWith('index.js'))!.contents.length > 10_000);
  const inputs = Object.keys(metafile.inputs);
  assert.equal(inputs.filter((file) => /src\/(cli|node\.ts|files\/node)/.test(file)), []);
  assert.ok(inputs.some((file) => file.startsWith('kernels/')));
});

test.run();
