#!/usr/bin/env node
/** The command line. Exit codes: 0 done, 1 a fault of ours (or a failed check), 2 bad input, 3 the GPU device was lost, 130 stopped by Ctrl-C, 143 by SIGTERM. */
import { Command, CommanderError } from 'commander';
import { register as activations } from './activations.ts';
import { register as demo } from './demo.ts';
import { register as doctor } from './doctor.ts';
import { register as evaluate } from './eval.ts';
import { register as report } from './report.ts';
import { register as reproduce } from './reproduce.ts';
import { register as run } from './run.ts';
import { register as sample } from './sample.ts';
import { register as serve } from './serve.ts';
import { register as sites } from './sites.ts';
import { register as toy } from './toy.ts';
import { register as train } from './train.ts';
import { register as verify } from './verify.ts';
import { reportError, written } from './terminal.ts';

declare const DIFFRACT_VERSION: string;

// A reader that has seen enough, such as head, is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(process.exitCode ?? 0);
});

const program = new Command('diffract')
  .description('Runs GPT-2 and feature dictionaries on WebGPU, and judges the dictionaries by how well they approximate, control and explain the model.')
  .version(DIFFRACT_VERSION)
  .showHelpAfterError('(see --help)')
  .exitOverride();

for (const register of [demo, evaluate, sites, train, activations, run, sample, toy, reproduce, report, serve, verify, doctor]) register(program);
// Commands made before exitOverride was inherited would end the process themselves.
for (const command of program.commands) command.exitOverride().showHelpAfterError('(see --help)');

try {
  await program.parseAsync();
} catch (error) {
  // Commander has printed its message already; its own code is 0 for --help and --version.
  process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 2) : reportError(error);
}
await written();
// Dawn's threads would keep the process alive.
process.exit(process.exitCode ?? 0);
