import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stalePackages } from '../../src/node-setup/packages.mjs';

const test = suite('set-up: npm packages');
const lock = {
  packages: {
    '': { version: '0.1.0' },
    'node_modules/a': { version: '1.0.0' },
    'node_modules/a/node_modules/b': { version: '2.0.0' },
    'node_modules/other-platform': { version: '3.0.0', optional: true },
  },
};

test('nothing is stale when the required packages are there in their versions', () => {
  assert.equal(stalePackages(lock, { packages: { 'node_modules/a': { version: '1.0.0' }, 'node_modules/a/node_modules/b': { version: '2.0.0' } } }), []);
});

test('a missing package and another version are stale', () => {
  assert.equal(stalePackages(lock, { packages: { 'node_modules/a': { version: '1.0.1' } } }), ['node_modules/a', 'node_modules/a/node_modules/b']);
  assert.equal(stalePackages(lock, {}), ['node_modules/a', 'node_modules/a/node_modules/b']);
});

test.run();
