import * as assert from 'uvu/assert';
import { columnIds, columnSpaces, ioiParametrization } from '../../src/dictionary/parametrization.ts';
import { SupervisedCodes } from '../../src/dictionary/supervised.ts';
import { ShapeError } from '../../src/errors.ts';
import { fitSupervisedCodes, groupOfValues, parametrizationAt, syntheticDictionaries } from '../../src/evaluation/supervised.ts';
import { promptTable } from '../../src/task/index.ts';
import { parseSite } from '../../src/task/sites.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('supervised dictionaries of many sites');

const N = 60;
const PROMPTS = (() => {
  const draw = random([N, 3], 4);
  const ids = (at: number, values: number) => Uint32Array.from({ length: N }, (_, row) => Math.floor(((draw[3 * row + at]! + 1) / 2) * values));
  const names = Array.from({ length: 5 }, (_, value) => `name ${value}`);
  const [io, s, pos] = [ids(0, 5), ids(1, 5), ids(2, 2)];
  return promptTable({
    texts: new Array<string>(N).fill(''), tokens: new Array<number[]>(N).fill([0]), details: new Array<null>(N).fill(null), positions: {}, correct: io, incorrect: s,
    attributes: { IO: { values: names, ids: io }, S: { values: names, ids: s }, Pos: { values: ['ABB', 'BAB'], ids: pos } },
    properties: {
      name1: { values: names, ids: io.map((name, row) => (pos[row] ? s[row]! : name)) }, name2: { values: names, ids: s.map((name, row) => (pos[row] ? io[row]! : name)) }, name3: { values: names, ids: s }, io_gender: { values: ['M', 'F'], ids: io.map((name) => name % 2) },
    },
  });
})();

test('every site has the codes that it has alone, with the names that have been read at its position', async () => {
  const gpu = await testGpu();
  const sites = ['z@L0H0@end', 'k@L0H1@io', 'q@L1H0@end', 'v@L1H1@s2'].map((site) => parseSite(site));
  const activations = new Map(sites.map(({ layer, head, position, kind }, at) => [`${kind}@L${layer}H${head}@${position}`, Tensor.from(gpu, random([N, 4], at + 1), [N, 4])]));
  for (const [parametrization, terms] of [['names', [3, 2, 3, 3]], ['coupled', [2, 2, 2, 2]], ['independent', [3, 3, 3, 3]]] as const) {
    const made = await fitSupervisedCodes(PROMPTS, sites, activations, { method: 'mse', parametrization });
    assert.equal([...made.keys()], [...activations.keys()]);
    assert.equal([...made.values()].map((codes) => codes.terms.length), terms);
    for (const [at, [name, codes]] of [...made].entries()) {
      assert.is(codes.name, `supervised mse ${parametrization}`);
      const alone = await SupervisedCodes.solve({ activations: activations.get(name)!, attributes: columnIds(PROMPTS) }, {
        spaces: columnSpaces(PROMPTS), parametrization: ioiParametrization(parametrization, sites[at]!.position), method: 'mse',
      });
      assert.equal([...(await codes.vectors.read())], [...(await alone.vectors.read())]);
      alone.dispose();
      codes.dispose();
    }
  }
  assert.match(await refusal(() => fitSupervisedCodes(PROMPTS, [parseSite('z@L5H5@end')], activations, { method: 'mean', parametrization: 'coupled' }), ShapeError), /no activations of z@L5H5@end to fit codes to/);
  for (const tensor of activations.values()) tensor.dispose();
});

test('a plan may bring a parametrization of its own', () => {
  const own = { name: 'mine', terms: [['IO', 'S']] };
  assert.is(parametrizationAt(own, PROMPTS, 'end'), own);
  assert.equal(parametrizationAt('independent', PROMPTS, 'io').terms, [['IO'], ['S'], ['Pos']]);
});

test('dictionaries with known answers, named and grouped by what the prompts say', async () => {
  const gpu = await testGpu();
  const activations = Tensor.from(gpu, random([N, 4], 9), [N, 4]);
  const codes = SupervisedCodes.fit({ activations, attributes: columnIds(PROMPTS) }, { spaces: columnSpaces(PROMPTS).slice(0, 3) });
  const made = await syntheticDictionaries(codes, [PROMPTS.slice(0, 30), PROMPTS.slice(30)], { IO: 'io_gender' }, 3);
  const combinations = new Set(Array.from({ length: N }, (_, row) => ['IO', 'S', 'Pos'].map((name) => PROMPTS.attributes[name]!.ids[row]).join()));
  assert.equal(made.map(({ name, features }) => [name, features]), [['synthetic group+value', 2 + 5 + 5 + 2], ['synthetic overlapping', 8 + 5 + 2], ['synthetic over-fitted', combinations.size]]);
  const examples = { activations, attributes: columnIds(PROMPTS) };
  const reconstruct = (dictionary: { decode(codes: Tensor): Tensor; encode(given: typeof examples): Tensor }) => gpu.scope(async () => dictionary.decode(dictionary.encode(examples)).read());
  const expected = await reconstruct(codes);
  for (const dictionary of made) assert.ok(relativeError(await reconstruct(dictionary), expected) < 1e-5, dictionary.name);
  const [only] = await syntheticDictionaries(codes, [PROMPTS], {}, 3);
  assert.is(only!.name, 'synthetic over-fitted');
  assert.equal([...groupOfValues([PROMPTS], 'IO', 'io_gender')], [0, 1, 0, 1, 0]);
  assert.throws(() => groupOfValues([PROMPTS], 'S', 'IO'), /S name \d goes with more than one value of IO/);
  assert.throws(() => groupOfValues([PROMPTS], 'IO', 'gender'), /the prompts have no column gender; they have name1/);
  for (const item of [...made, only!, codes, activations]) item.dispose();
});

test.run();
