import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { grouped, groupBy } from '../../src/report/groups.ts';
import { linesPanel, looksOf, namedPanel } from '../../src/report/panels.ts';
import { renderSvg } from '../../src/report/svg.ts';

const test = suite('report panels');

const looks = looksOf(['supervised', 'gated']);
const domain = [0, 1] as const;
const points = [
  { x: 0.5, y: 0.5, series: 'supervised' },
  { x: 0.8, y: 0.2, series: 'gated' }, { x: 0.4, y: 0.6, series: 'gated' }, { x: 2, y: 0.9, series: 'gated' }, { x: Number.NaN, y: 0.9, series: 'gated' },
];
const panel = (join?: boolean) => linesPanel({ title: 'Edits', points, looks, join, x: { title: 'Weight', domain }, y: { title: 'Accuracy', domain } });

/** The x of every corner of the lines of a drawing, line by line, and the areas of its marks. */
function drawn(svg: string): { lines: number[][]; marks: number } {
  const group = /<g class="mark-line[^>]*>(.*?)<\/g>/gs;
  const lines = [...svg.matchAll(group)].flatMap(([, inner]) => [...inner!.matchAll(/ d="([^"]+)"/g)].map(([, path]) => [...path!.matchAll(/[ML](-?[\d.]+),/g)].map(([, x]) => Number(x))));
  return { lines, marks: [...svg.matchAll(/aria-roledescription="point"/g)].length };
}

test('lines go from point to point as they are given, to the edge where one lies beyond, and leave out what is no number', async () => {
  const { lines, marks } = drawn(await renderSvg(panel().spec, { id: 'a', label: 'Edits' }));
  const own = lines.find(({ length }) => length === 3)!;
  assert.is(marks, 4);
  // Back from 0.8 to 0.4, then to the edge: in the ratio of the axis.
  const [from, back, edge] = own as [number, number, number];
  assert.ok(back < from && edge > from, own.join(' '));
  assert.ok(Math.abs((from - back) / (edge - back) - 0.4 / 0.6) < 0.02, own.join(' '));
});

test('marks that no order joins have no lines', async () => {
  const { lines, marks } = drawn(await renderSvg(panel(false).spec, { id: 'a', label: 'Edits' }));
  assert.equal([lines.length, marks], [0, 4]);
});

test('what supervised dictionaries do shows around a mark that hides it', async () => {
  const svg = await renderSvg(panel().spec, { id: 'a', label: 'Edits' });
  // A path begins at the right of a circle and at the left of a square, seen from the middle.
  const shapes = [...svg.matchAll(/aria-label="(supervised|gated)[^"]*"[^>]* d="([^"]+)"/g)].map(([, series, path]) => ({ series, extent: Math.abs(Number(/-?[\d.]+/.exec(path!)![0])) }));
  assert.is(shapes.length, 4);
  const of = (series: string) => Math.max(...shapes.filter((shape) => shape.series === series).map(({ extent }) => extent));
  assert.ok(of('supervised') > 1.3 * of('gated'), JSON.stringify(shapes));
});

test('numbers beside marks: their own text, the value in short, and a halo where a dashed line may cross', async () => {
  const rows = [{ label: 'a', series: 'supervised', value: 0.25, text: '25 %' }, { label: 'b', series: 'supervised', value: 0.123456 }];
  const make = (rules: { x: number }[]) => renderSvg(namedPanel({ title: 'Shares', rows, looks, rules, x: { title: 'Share', domain } }).spec, { id: 'a', label: 'Shares' });
  const [plain, crossed] = [await make([]), await make([{ x: 0.3 }])];
  const count = (svg: string, text: string) => svg.split(`>${text}<`).length - 1;
  assert.equal([count(plain, '25 %'), count(plain, '0.123'), count(crossed, '25 %'), count(crossed, '0.123')], [1, 1, 2, 2]);
});

test('rows of one key together, in order of first appearance', () => {
  const rows = ['b1', 'a1', 'b2', 'c1', 'a2'];
  assert.equal([...groupBy(rows, (row) => row[0]!)], [['b', ['b1', 'b2']], ['a', ['a1', 'a2']], ['c', ['c1']]]);
  assert.equal(grouped(rows, (row) => row[0]!), [['b1', 'b2'], ['a1', 'a2'], ['c1']]);
});

test.run();
