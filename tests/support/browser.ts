/** The headless Chromium of the development packages. */
import chromium from '@sparticuz/chromium';
import puppeteer, { type Browser } from 'puppeteer-core';

const FLAGS = ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'];

/** Starts it with nothing but this machine to talk to; with WebGPU (SwiftShader) if asked. Null, with a word, where it cannot start; in CI that is a failure. */
export async function launchBrowser(userDataDir: string, { webgpu = false }: { webgpu?: boolean } = {}): Promise<Browser | null> {
  try {
    return await puppeteer.launch({
      executablePath: await chromium.executablePath(), headless: false, userDataDir, timeout: 30_000, protocolTimeout: 600_000,
      args: [...FLAGS, webgpu ? '--enable-unsafe-webgpu' : '--disable-gpu'], ...(webgpu ? { ignoreDefaultArgs: ['--disable-gpu'] } : {}),
    });
  } catch (error) {
    if (process.env.CI) throw error;
    console.log(`  skipped: no browser (${(error as Error).message.split('\n')[0]})`);
    return null;
  }
}
