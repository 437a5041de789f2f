import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { backportsSource, majorVersions, parseOsRelease } from '../../src/node-setup/mesa.mjs';

const test = suite('set-up: Mesa');

const sources = `Types: deb
# a comment
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
`;

test('copies the machine\'s own deb822 entry for the backports', () => {
  const made = backportsSource([{ name: 'debian.sources', text: sources }], 'bookworm');
  assert.equal(made, {
    extension: '.sources',
    text: 'Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm-backports\nComponents: main contrib\nSigned-By: /usr/share/keyrings/a.gpg\n',
  });
});

test('copies a one-line entry, options included', () => {
  const text = '# deb http://commented.test/debian bookworm main\ndeb-src http://mirror.test/debian bookworm main\n'
    + 'deb [arch=amd64 signed-by=/a.gpg] http://mirror.test/debian bookworm main contrib\n';
  assert.equal(backportsSource([{ name: 'sources.list', text }], 'bookworm'), {
    extension: '.list', text: 'deb [arch=amd64 signed-by=/a.gpg] http://mirror.test/debian bookworm-backports main contrib\n',
  });
});

test('adds nothing where the backports are listed, in either form', () => {
  const listed = { name: 'b.list', text: 'deb http://mirror.test/debian bookworm-backports main\n' };
  assert.is(backportsSource([{ name: 'debian.sources', text: sources }, listed], 'bookworm'), null);
  const stanza = { name: 'b.sources', text: sources.replace('bookworm-updates', 'bookworm-backports') };
  assert.is(backportsSource([stanza], 'bookworm'), null);
});

test('adds nothing without an entry to copy: other releases, disabled entries, other files', () => {
  assert.is(backportsSource([{ name: 'debian.sources', text: sources }], 'trixie'), null);
  assert.is(backportsSource([{ name: 'debian.sources', text: `Enabled: no\n${sources.split('\n\n')[0]}` }], 'bookworm'), null);
  assert.is(backportsSource([{ name: 'debian.sources.disabled', text: sources }], 'bookworm'), null);
});

test('reads versions with and without an epoch', () => {
  assert.equal(majorVersions('mesa-vulkan-drivers | 25.0.7-2~bpo12+1 | x\nmesa-vulkan-drivers | 1:22.3.6-1 | y\n'), [25, 22]);
  assert.equal(majorVersions(''), []);
});

test('reads os-release with and without quotes', () => {
  const release = parseOsRelease('NAME="Debian GNU/Linux"\nVERSION_CODENAME=bookworm\nID=debian\n');
  assert.equal(release, { NAME: 'Debian GNU/Linux', VERSION_CODENAME: 'bookworm', ID: 'debian' });
});

test.run();
