import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { adapterChoice, isSoftware, lavapipeManifests, packageRoot, readTar, swiftshaderFolder } from '../../src/node-adapter.mjs';
import { testGpu } from '../support/gpu.ts';

const test = suite('set-up: adapter');

/** One ustar entry: a header of 512 bytes, then the data padded to 512. */
function tarEntry(name: string, data: Buffer): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(`${data.length.toString(8).padStart(11, '0')} `, 124);
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

test('reads the wanted files of an archive and skips the others', () => {
  const [a, b] = [Buffer.from('first'), Buffer.alloc(1025, 7)];
  const archive = Buffer.concat([tarEntry('./a.so', a), tarEntry('other', Buffer.alloc(512)), tarEntry('b.json', b), Buffer.alloc(1024)]);
  const files = readTar(archive, ['a.so', 'b.json', 'absent']);
  assert.equal([...files.keys()], ['a.so', 'b.json']);
  assert.ok(files.get('a.so')!.equals(a) && files.get('b.json')!.equals(b));
  assert.throws(() => readTar(archive.subarray(0, 2000), ['b.json']), /broken archive/);
});

test('refuses an unknown choice by name', () => {
  const before = process.env.DIFFRACT_ADAPTER;
  try {
    process.env.DIFFRACT_ADAPTER = 'voodoo';
    assert.throws(() => adapterChoice(), /"voodoo": use auto, lavapipe, swiftshader/);
    delete process.env.DIFFRACT_ADAPTER;
    assert.is(adapterChoice(), 'auto');
  } finally {
    if (before === undefined) delete process.env.DIFFRACT_ADAPTER;
    else process.env.DIFFRACT_ADAPTER = before;
  }
});

test('finds lavapipe\'s manifests under either of their names', () => {
  const folder = mkdtempSync(join(tmpdir(), 'diffract-'));
  try {
    for (const name of ['lvp_icd.json', 'lvp_icd.x86_64.json', 'radeon_icd.json']) writeFileSync(join(folder, name), '{}');
    assert.equal(lavapipeManifests(['/nowhere', folder]), [join(folder, 'lvp_icd.json'), join(folder, 'lvp_icd.x86_64.json')]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('tells software drivers from a GPU', () => {
  const info = { vendor: 'mesa', architecture: '', device: '', description: '' };
  assert.ok(isSoftware({ ...info, description: 'llvmpipe (LLVM 15)' }));
  assert.ok(isSoftware({ ...info, vendor: 'google', architecture: 'swiftshader' }));
  assert.not.ok(isSoftware({ ...info, vendor: 'nvidia', architecture: 'hopper', description: 'NVIDIA H100' }));
});

test('unpacks SwiftShader completely', () => {
  const folder = swiftshaderFolder();
  if (process.platform !== 'linux' || process.arch !== 'x64') return assert.is(folder, null);
  for (const name of ['libvk_swiftshader.so', 'libvulkan.so.1']) assert.ok(statSync(join(folder!, name)).size > 500_000, name);
  const manifest = JSON.parse(readFileSync(join(folder!, 'vk_swiftshader_icd.json'), 'utf8')) as { ICD: { library_path: string } };
  assert.ok(existsSync(join(folder!, manifest.ICD.library_path)));
});

test('these tests run on the driver that was asked for', async () => {
  const { info } = await testGpu();
  const expected = { lavapipe: /llvmpipe/, swiftshader: /SwiftShader/, auto: /./ }[adapterChoice()];
  assert.match(info.description, expected);
});

test('a fresh process gets the driver that it asks for, whatever the machine prefers', () => {
  if (process.platform !== 'linux' || process.arch !== 'x64') return;
  const { VK_DRIVER_FILES: _a, VK_ICD_FILENAMES: _b, ...clean } = process.env;
  const child = spawnSync(process.execPath, [join(packageRoot(), 'setup.mjs'), '--probe'], { encoding: 'utf8', env: { ...clean, DIFFRACT_ADAPTER: 'swiftshader' } });
  assert.match((JSON.parse(child.stdout) as { info: { description: string } }).info.description, /SwiftShader/);
});

test.run();
