/** `npm run parity`: prints how many numbers were compared, how many have the same bits, and the largest difference. */
import { parseArgs } from 'node:util';
import type { Results } from '../../src/evaluation/index.ts';
import { ACROSS, SAME } from './bounds.ts';
import { compareResults, comparisonLines, type Comparison } from './compare.ts';
import { SIZES, type Size } from './evaluation.ts';
import { inChromium, inNode } from './places.ts';

const HELP = `npm run parity [-- --size small|full] [--rows N]

Runs one evaluation (ioi-mini: supervised codes and SAEs trained with Adam, all three tests, the same seeds) in Node on SwiftShader, in Node on
lavapipe, and in a worker of headless Chromium on SwiftShader, and compares the results number by number:
  the same driver  every number to ${SAME.tolerance} (those with the same bits are counted), every choice and count exactly
  across drivers   every number and count to ${ACROSS.tolerance} of its size or of ${ACROSS.least}, whichever is larger, and the names of what was chosen
                   exactly; the N rows that are furthest apart are listed (10), and all beyond that
Ends with 1 if they are further apart.`;

function stop(text: string): never {
  console.error(`error: ${text}`);
  process.exit(2);
}

function options(): { size: Size; rows: number } {
  try {
    const { values } = parseArgs({ options: { size: { type: 'string', default: 'full' }, rows: { type: 'string', default: '10' }, help: { type: 'boolean' } } });
    if (values.help) {
      console.log(HELP);
      process.exit(0);
    }
    if (!Object.hasOwn(SIZES, values.size)) stop(`--size ${values.size}: there are ${Object.keys(SIZES).join(' and ')}`);
    if (!/^\d+$/.test(values.rows)) stop(`--rows ${values.rows}: a whole number is needed`);
    return { size: values.size as Size, rows: Number(values.rows) };
  } catch (error) {
    return stop((error as Error).message);
  }
}

const { size, rows } = options();

async function timed(where: string, work: () => Promise<Results | null>): Promise<Results> {
  const start = performance.now();
  const results = await work();
  if (!results) stop('no browser could be started: npm ci installs one');
  const { adapter } = results.environment;
  console.log(`${where}: ${adapter.description || [adapter.vendor, adapter.architecture].join(' ')}, ${((performance.now() - start) / 1000).toFixed(0)} s`);
  return results;
}

try {
  const swiftshader = await timed('Node', () => inNode('swiftshader', size));
  const page = await timed('Chromium', () => inChromium(size));
  const lavapipe = await timed('Node', () => inNode('lavapipe', size));
  const compared: [title: string, found: Comparison, tolerance: number][] = [
    ['SwiftShader in Node and in Chromium', compareResults(swiftshader, page, SAME), SAME.tolerance],
    ['lavapipe in Node, SwiftShader in Chromium', compareResults(lavapipe, page, ACROSS), ACROSS.tolerance],
  ];
  for (const [title, found, tolerance] of compared) console.log(comparisonLines(title, found, tolerance, rows).join('\n'));
  process.exit(compared.every(([, { beyond, changed }]) => beyond.length + changed.length === 0) ? 0 : 1);
} catch (error) {
  stop((error as Error).message);
}
