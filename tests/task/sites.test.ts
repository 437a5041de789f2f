/** Site addresses, cross-sections, and GPT-2 Small's published ones. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UnknownSiteError, UsageError } from '../../src/errors.ts';
import { checkSite, formatSite, gpt2SmallCrossSections, GPT2_SMALL_HEADS, hookOf, IOI_POSITIONS, parseCrossSection, parseSite, SITE_KINDS } from '../../src/task/index.ts';

const test = suite('task/sites');

function refusal(work: () => unknown, type: typeof UnknownSiteError | typeof UsageError): string {
  try {
    work();
  } catch (error) {
    assert.instance(error, type);
    return (error as Error).message;
  }
  return assert.unreachable('nothing was refused') as never;
}

test('every address is read back as it was written', () => {
  for (const kind of SITE_KINDS) {
    for (const position of IOI_POSITIONS) {
      const site = { kind, layer: 11, head: 0, position };
      assert.equal(parseSite(formatSite(site)), site);
    }
  }
  assert.is(formatSite(parseSite(' z@L0H3@end ')), 'z@L0H3@end');
  assert.is(hookOf(parseSite('q@L9H6@s1+1')), 'blocks.9.attn.hook_q');
});

test('a wrong address is refused with the part that is wrong and what there is', () => {
  const of = (text: string) => refusal(() => parseSite(text), UnknownSiteError);
  assert.match(of('z@L0H3'), /site "z@L0H3": is not of the form/);
  assert.match(of('w@L0H3@end'), /unknown kind "w"; there are q, k, v, z$/);
  assert.match(of('z@0.3@end'), /"0\.3" is not of the form L\{layer\}H\{head\}/);
  assert.match(of('z@L0H-3@end'), /"L0H-3" is not of the form/);
  assert.match(of('z@L0H3@s3'), /unknown position "s3"; there are io, s1, s1\+1, s2, end$/);
  assert.equal(parseSite('z@L0H3@year', ['year']).position, 'year');
  const model = { layers: 4, heads: 2 };
  checkSite(parseSite('z@L3H1@end'), model);
  assert.match(refusal(() => checkSite(parseSite('z@L4H1@end'), model), UnknownSiteError), /"z@L4H1@end": the model has layers 0 to 3/);
  assert.match(refusal(() => checkSite(parseSite('z@L3H2@end'), model), UnknownSiteError), /the model has heads 0 to 1/);
});

test('cross-sections are read from one argument', () => {
  assert.equal(parseCrossSection('my set=z@L0H3@end, v@L0H3@s2'), {
    name: 'my set',
    sites: [{ kind: 'z', layer: 0, head: 3, position: 'end' }, { kind: 'v', layer: 0, head: 3, position: 's2' }],
  });
  assert.match(refusal(() => parseCrossSection('z@L0H3@end'), UsageError), /not of the form NAME=SITE/);
  assert.match(refusal(() => parseCrossSection('=z@L0H3@end'), UsageError), /not of the form NAME=SITE/);
  assert.match(refusal(() => parseCrossSection('a='), UsageError), /"a": has no sites/);
  assert.match(refusal(() => parseCrossSection('a=z@L0H3@end,z@L0H3@end'), UsageError), /has z@L0H3@end twice/);
  refusal(() => parseCrossSection('a=z@L0H3@nowhere'), UnknownSiteError);
});

test('GPT-2 Small’s six cross-sections have the published sizes, kinds and places', () => {
  const sections = gpt2SmallCrossSections();
  assert.equal(sections.map(({ name, sites }) => [name, sites.length]), [['(B)NM out', 10], ['(B)NM q', 10], ['(B)NM qk', 30], ['S-I out', 4], ['S-I v', 4], ['Ind+DT out', 7]]);
  for (const { sites, edits } of sections) {
    assert.is(new Set(sites.map(formatSite)).size, sites.length);
    for (const site of sites) checkSite(site, { layers: 12, heads: 12 });
    assert.ok(edits!.length > 0 && edits!.flat().every((attribute) => ['IO', 'S', 'Pos'].includes(attribute)));
  }
  const written = Object.fromEntries(sections.map(({ name, sites }) => [name, sites.map(formatSite)]));
  assert.equal(written['S-I v'], ['v@L7H3@s2', 'v@L7H9@s2', 'v@L8H6@s2', 'v@L8H10@s2']);
  assert.equal(written['Ind+DT out'], ['z@L5H5@s2', 'z@L6H9@s2', 'z@L5H8@s2', 'z@L5H9@s2', 'z@L0H1@s2', 'z@L3H0@s2', 'z@L0H10@s2']);
  assert.equal(written['(B)NM out']!.slice(0, 3), ['z@L9H9@end', 'z@L9H6@end', 'z@L10H0@end']);
  assert.ok(written['(B)NM qk']!.includes('k@L10H10@s1') && written['(B)NM qk']!.includes('k@L10H10@io') && written['(B)NM qk']!.includes('q@L10H10@end'));
  const heads = Object.values(GPT2_SMALL_HEADS).flat().map(([layer, head]) => `${layer}.${head}`);
  assert.equal([heads.length, new Set(heads).size, heads.includes('10.6')], [25, 25, false]);
  sections[0]!.sites.pop();
  assert.is(gpt2SmallCrossSections()[0]!.sites.length, 10, 'each call gives its own copy');
});

test.run();
