/** The page in headless Chromium: built once for all tests of a process, served from this machine, watched for errors. */
import { mkdtempSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'puppeteer-core';
import { serveFolder, type FolderServer } from '../../src/cli/static-server.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { launchBrowser } from './browser.ts';

let built: Promise<string> | null = null;

/** The folder of the built page. */
function builtPage(): Promise<string> {
  return (built ??= (async () => {
    const folder = mkdtempSync(join(tmpdir(), 'diffract-web-'));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
    const { buildWeb } = (await import(pathToFileURL(join(packageRoot(), 'build.mjs')).href)) as { buildWeb(outdir: string, version: string): Promise<void> };
    await buildWeb(join(folder, 'page'), 'test');
    return join(folder, 'page');
  })());
}

export interface OpenedPage {
  page: Page;
  browser: Browser;
  server: FolderServer;
  url: string;
  /** Errors that the page threw or wrote on its console so far. */
  faults: string[];
  close(): Promise<void>;
}

export interface OpenOptions {
  /** What follows the address, such as `#edit?…`. */
  hash?: string;
  width?: number;
  height?: number;
  dark?: boolean;
  webgpu?: boolean;
  /** Wait until the embedded model is loaded (default). */
  ready?: boolean;
}

/** Opens the page in a fresh profile. Null where there is no browser; in CI that is a failure. */
export async function openWeb({ hash = '', width = 1280, height = 900, dark = false, webgpu = true, ready = true }: OpenOptions = {}): Promise<OpenedPage | null> {
  const profile = mkdtempSync(join(tmpdir(), 'diffract-profile-'));
  const browser = await launchBrowser(profile, { webgpu });
  if (!browser) return null;
  const server = await serveFolder(await builtPage());
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on('pageerror', (error) => faults.push(`page: ${(error as Error).message}`));
  page.on('console', (message) => { if (message.type() === 'error') faults.push(`console: ${message.text()} ${message.location().url ?? ''}`); });
  await page.setViewport({ width, height });
  if (dark) await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  const close = async (): Promise<void> => {
    await browser.close();
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  };
  try {
    await page.goto(server.url + hash);
    if (ready) await page.waitForSelector('#loaded-model', { timeout: 60_000 });
  } catch (error) {
    await close();
    throw new Error(`the page did not open: ${(error as Error).message}; ${faults.join('; ')}`);
  }
  return { page, browser, server, url: server.url, faults, close };
}

/** The text of the first element that a selector finds, as it is shown. */
export function textOf(page: Page, selector: string): Promise<string> {
  return page.$eval(selector, (element) => (element as HTMLElement).innerText);
}

/** Waits until an element shows text that a pattern finds, and returns the text. */
export async function waitForText(page: Page, selector: string, pattern: RegExp, timeout = 60_000): Promise<string> {
  try {
    await page.waitForFunction((where, source, flags) => new RegExp(source, flags).test(document.querySelector<HTMLElement>(where)?.innerText ?? ''), { timeout }, selector, pattern.source, pattern.flags);
  } catch {
    throw new Error(`${selector} does not show ${pattern} after ${timeout / 1000} s but: ${(await textOf(page, selector).catch(() => 'nothing')).slice(0, 500)}`);
  }
  return textOf(page, selector);
}
