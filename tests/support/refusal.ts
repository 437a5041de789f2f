import * as assert from 'uvu/assert';
import { FileError, type DiffractError } from '../../src/errors.ts';

/** The one line of the error that some work must end with. */
export async function refusal(work: () => unknown, type: new (message: string) => DiffractError = FileError): Promise<string> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, type);
    assert.not.match((error as Error).message, /\n/);
    return (error as Error).message;
  }
  return assert.unreachable('nothing was refused') as never;
}
