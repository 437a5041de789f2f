/**
 * Errors of the device, brought to the call that waits for the work they spoil. Every batch of recorded work runs inside three error
 * scopes; what they caught reaches the next read or wait. A lost device rejects everything at once.
 */
import { DeviceLostError, GpuOutOfMemoryError, GpuValidationError, DiffractError } from '../errors.ts';

const FILTERS = ['internal', 'out-of-memory', 'validation'] as const;

export class Faults {
  /** What each batch, and each pipeline made in passing, came to; in order. */
  private pending: Promise<DiffractError | null>[] = [];
  private open = false;
  private lostError: DeviceLostError | null = null;
  private readonly lost: Promise<never>;
  private readonly device: GPUDevice;

  constructor(device: GPUDevice) {
    this.device = device;
    this.lost = device.lost.then((info) => {
      const reason = info.reason === 'destroyed' ? 'it was closed' : info.message || 'no reason given';
      this.lostError = new DeviceLostError(`the GPU device is lost: ${oneLine(reason)}`);
      throw this.lostError;
    });
    this.lost.catch(() => {});
    device.addEventListener?.('uncapturederror', (event) => {
      event.preventDefault?.();
      this.add(Promise.resolve(asError((event as GPUUncapturedErrorEvent).error)));
    });
  }

  /** Throws if the device is lost. */
  check(): void {
    if (this.lostError) throw this.lostError;
  }

  begin(): void {
    if (this.open) return;
    this.open = true;
    for (const filter of FILTERS) this.device.pushErrorScope(filter);
  }

  /** Closes the batch's scopes. Out of memory outranks the validation errors that follow from it. */
  end(): void {
    if (!this.open) return;
    this.open = false;
    const validation = this.device.popErrorScope();
    const memory = this.device.popErrorScope();
    const internal = this.device.popErrorScope();
    this.add(Promise.all([memory, internal, validation]).then((found) => {
      const first = found.find((e) => e !== null);
      return first ? asError(first) : null;
    }, () => null));
  }

  add(outcome: Promise<DiffractError | null>): void {
    this.pending.push(outcome);
  }

  /** Waits for `work` and for the outcome of all batches so far. Rejects with the first fault, which is then forgotten; never hangs on a lost device. */
  async settle<T>(work: Promise<T>): Promise<T> {
    this.check();
    const outcomes = this.pending;
    this.pending = [];
    work.catch(() => {});
    const checked = (async () => {
      for (const error of await Promise.all(outcomes)) if (error) throw error;
      return work;
    })();
    try {
      return await Promise.race([checked, this.lost]);
    } catch (error) {
      // A map that fails because the device went away must say so: the loss may be reported a moment later than the failed map.
      if (!(error instanceof DiffractError)) await Promise.race([this.lost, new Promise((resolve) => setTimeout(resolve, 50))]);
      throw error;
    }
  }
}

function asError(error: GPUError): DiffractError {
  const text = oneLine(error.message);
  const kind = error.constructor?.name ?? '';
  return kind === 'GPUOutOfMemoryError' ? new GpuOutOfMemoryError(`the GPU is out of memory: ${text}`) : new GpuValidationError(`the GPU refused the work: ${text}`);
}

function oneLine(text: string): string {
  return text.trim().split('\n').map((line) => line.trim()).filter(Boolean).slice(0, 3).join(' ');
}
