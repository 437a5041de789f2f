/** The headless Chromium of the development packages. */
import chromium from '@sparticuz/chromium';
import puppeteer, { type Browser } from 'puppeteer-core';

/** Starts it with nothing but this machine to talk to. Null, with a word, where it cannot start; in CI that is a failure. */
export async function launchBrowser(userDataDir: string): Promise<Browser | null> {
  try {
    const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'];
    return await puppeteer.launch({ executablePath: await chromium.executablePath(), headless: false, userDataDir, args: flags, timeout: 30_000 });
  } catch (error) {
    if (process.env.CI) throw error;
    console.log(`  skipped: no browser (${(error as Error).message.split('\n')[0]})`);
    return null;
  }
}
