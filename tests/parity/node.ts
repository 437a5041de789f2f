/** Node's side, in a process of its own: prints the results as JSON, no digit rounded. */
import { openGpu, openSource } from '../../src/node.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { parityResults, type Size } from './evaluation.ts';

const gpu = await openGpu();
const results = await parityResults(gpu, openSource(`${packageRoot()}/models/ioi-mini`), process.argv[2] as Size);
process.stdout.write(JSON.stringify(results), () => process.exit(0));
