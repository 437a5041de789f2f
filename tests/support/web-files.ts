/** Folders of files that tests of the page choose, drop or serve. */
import { cpSync, ftruncateSync, mkdirSync, openSync, closeSync, readFileSync, readdirSync, writeFileSync, writeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ElementHandle, Page } from 'puppeteer-core';
import { IOI_MINI } from './models.ts';

export const SAES = `${IOI_MINI}-saes`;

/** A folder that goes when the process ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'diffract-files-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes files below a folder. */
export function writeFiles(folder: string, files: Readonly<Record<string, Uint8Array | string>>): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

export function copyOf(from: string, to: string): string {
  cpSync(from, to, { recursive: true });
  return to;
}

/** The files directly in a folder, by name. */
export function filesIn(folder: string): Record<string, Uint8Array> {
  return Object.fromEntries(readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]));
}

/** A model whose embedding has so many rows: its file has a header and, where the data would be, a hole. */
export function hugeModel(folder: string, vocabulary: number, width: number): string {
  const shapes: [string, number[]][] = [['wte.weight', [vocabulary, width]], ['wpe.weight', [8, width]]];
  for (const norm of ['h.0.ln_1', 'h.0.ln_2', 'ln_f']) shapes.push([`${norm}.weight`, [width]], [`${norm}.bias`, [width]]);
  for (const [name, from, to] of [['attn.c_attn', 1, 3], ['attn.c_proj', 1, 1], ['mlp.c_fc', 1, 4], ['mlp.c_proj', 4, 1]] as const) {
    shapes.push([`h.0.${name}.weight`, [from * width, to * width]], [`h.0.${name}.bias`, [to * width]]);
  }
  let at = 0;
  const header = JSON.stringify(Object.fromEntries(shapes.map(([name, shape]) => {
    const begin = at;
    at += 4 * shape.reduce((a, b) => a * b, 1);
    return [name, { dtype: 'F32', shape, data_offsets: [begin, at] }];
  })));
  writeFiles(folder, { 'config.json': JSON.stringify({ model_type: 'gpt2', n_layer: 1, n_head: 4, n_embd: width, n_positions: 8, vocab_size: vocabulary }) });
  const file = openSync(join(folder, 'model.safetensors'), 'w');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeSync(file, Buffer.concat([length, Buffer.from(header)]));
  ftruncateSync(file, 8 + header.length + at);
  closeSync(file);
  return folder;
}

/** Has a person choose files, or a folder where the input is for one. */
export async function choose(page: Page, selector: string, ...paths: string[]): Promise<void> {
  const input = (await page.waitForSelector(selector)) as ElementHandle<HTMLInputElement>;
  await input.uploadFile(...paths);
}

/** Drops files and folders of this machine in the middle of an element, as a person would with a mouse. */
export async function drop(page: Page, selector: string, ...paths: string[]): Promise<void> {
  const element = (await page.waitForSelector(selector))!;
  const { x, y } = await page.evaluate((one) => {
    one.scrollIntoView();
    const { left, top, width, height } = one.getBoundingClientRect();
    return { x: left + width / 2, y: Math.min(top + height / 2, top + 100) };
  }, element);
  const session = await page.createCDPSession();
  const data = { items: [], files: paths, dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) await session.send('Input.dispatchDragEvent', { type, x, y, data });
  await session.detach();
}
