/** `diffract serve`: the page, on this machine. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { packageRoot } from '../node-adapter.mjs';
import { serveFolder } from './static-server.ts';
import { wholeNumber } from './terminal.ts';

interface Options { port: number; host: string; folder?: string }

export function register(program: Command): void {
  program.command('serve')
    .description('Serve the page on this machine: explore, edit, evaluate and train in a browser.')
    .option('--port <n>', 'port to listen on; 0 takes a free one', wholeNumber(0), 8080)
    .option('--host <address>', 'address to listen on; browsers have WebGPU on localhost and over https only', '127.0.0.1')
    .option('--folder <dir>', 'the built page (default: dist/web, which npm run build:web writes)')
    .action(run);
}

async function run({ port, host, folder = join(packageRoot(), 'dist', 'web') }: Options): Promise<void> {
  if (port > 65535) throw new UsageError(`--port ${port}: ports end at 65535`);
  if (!existsSync(join(folder, 'index.html'))) throw new UsageError(`${folder}: there is no page; npm run build:web builds it`);
  const server = await serveFolder(folder, { port, host });
  process.stdout.write(`Serving ${folder} at ${server.url} (Ctrl-C ends)\n`);
  await new Promise<void>((resolve) => { for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve); });
  server.close();
}
