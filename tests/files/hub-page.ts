/** What the browser test runs in a page and in a worker: a hub's files through the library as a page has it. */
import { openHub, opfsHubCache } from '../../src/files/index.ts';

export interface Ask { endpoint: string; repository: string; path: string; folder?: string; full?: boolean; attempts?: number }
export interface Answer { digest?: string; size?: number; has?: boolean[]; commit?: string; error?: string }

async function ask({ endpoint, repository, path, folder, full, attempts = 4 }: Ask): Promise<Answer> {
  try {
    const root = full ? async () => { throw new DOMException('no room', 'QuotaExceededError'); } : undefined;
    const source = openHub(repository, { endpoint, patience: { attempts, wait: 5, silence: 2000 }, ...(folder || full ? { cache: opfsHubCache({ folder, root }) } : {}) });
    const data = await source.bytes(path);
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data as Uint8Array<ArrayBuffer>));
    return {
      digest: Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join(''), size: await source.size(path), has: [await source.has(path), await source.has('nothing')],
      commit: (await source.origin!()).commit,
    };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

declare global {
  interface Window { ask(question: Ask): Promise<Answer>; askWorker(question: Ask): Promise<Answer> }
}

if (typeof window === 'undefined') {
  self.onmessage = async ({ data }: MessageEvent<Ask>) => self.postMessage(await ask(data));
} else {
  window.ask = ask;
  window.askWorker = (question) => new Promise((resolve, reject) => {
    const worker = new Worker('page.js', { type: 'module' });
    worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      resolve(data);
      worker.terminate();
    };
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(question);
  });
}
