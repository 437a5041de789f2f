// `npm run parity`: bundles the comparison and runs it. See main.ts.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { root, shared } from '../../build.mjs';

process.env.XDG_RUNTIME_DIR ??= '/tmp';
// Inside the project, so that bare imports resolve.
const out = mkdtempSync(join(root, '.test-build-parity-'));
process.on('exit', () => rmSync(out, { recursive: true, force: true }));
await build({ ...shared, entryPoints: { main: 'tests/parity/main.ts' }, outdir: out, platform: 'node', define: { DIFFRACT_VERSION: '"parity"' } });
await import(pathToFileURL(join(out, 'main.js')).href);
