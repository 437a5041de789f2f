/** The page's side: in a worker, as a page that embeds the engine would do it. */
import { openSource } from '../../src/files/index.ts';
import { openGpu } from '../../src/gpu/index.ts';
import { parityResults, type Size } from './evaluation.ts';

addEventListener('message', async ({ data }: MessageEvent<{ size: Size; model: string }>) => {
  try {
    const gpu = await openGpu();
    const results = await parityResults(gpu, openSource(data.model), data.size);
    gpu.destroy();
    postMessage({ results });
  } catch (error) {
    postMessage({ error: (error as Error).message });
  }
});
