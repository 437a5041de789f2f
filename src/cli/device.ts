/** The device of a command, with the settings that its user asks for. */
import { Option } from 'commander';
import type { Gpu } from '../gpu/index.ts';
import { weightTypes } from '../model/index.ts';
import { openGpu } from '../node.ts';
import { note } from './terminal.ts';

/** For commander: every command that opens a device has it. */
export function tuningOption(): Option {
  return new Option('--tuning <file>', 'settings of kernels for this adapter, from npm run bench -- --tune (also: the variable DIFFRACT_TUNING)');
}

/** For commander: every command that loads a model has it. */
export function weightsOption(): Option {
  return new Option('--weights <type>', 'how weight matrices are stored: f16 takes half the memory and rounds them to 11 binary digits').choices(weightTypes).default('f32');
}

/** Opens the device; says on stderr why a tuning file is not used. Throws FileError for one that cannot be read. */
export async function openDevice(tuning?: string): Promise<Gpu> {
  const gpu = await openGpu(tuning === undefined ? {} : { tuning });
  if (gpu.tuning.reason) note(`the tuning file is not used: ${gpu.tuning.reason}`);
  return gpu;
}
