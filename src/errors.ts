/**
 * Errors that a user can cause or must know of. Each says what was wrong with what, and what to do, in one line.
 * The command line prints the message and exits with `exitCode`. Names are spelled out because minified code keeps none of its own.
 */
export class DiffractError extends Error {
  static override readonly name: string = 'DiffractError';
  readonly exitCode: number = 2;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A flag or argument is missing, unknown or out of range. */
export class UsageError extends DiffractError { static override readonly name: string = 'UsageError'; }
/** A file is missing, broken or cannot be written; the message names file, tensor and byte. */
export class FileError extends DiffractError { static override readonly name: string = 'FileError'; }
/** A model's configuration asks for something that GPT-2 does not have. */
export class ConfigError extends DiffractError { static override readonly name: string = 'ConfigError'; }
/** Tensors whose shapes or types do not fit an operation. */
export class ShapeError extends DiffractError { static override readonly name: string = 'ShapeError'; }
/** A hook or site name that the model does not have. */
export class UnknownSiteError extends DiffractError { static override readonly name: string = 'UnknownSiteError'; }
/** A token id out of range, or a prompt that does not fit the context. */
export class TokenError extends DiffractError { static override readonly name: string = 'TokenError'; }
/** A word list that does not fit the tokenizer or the task. */
export class LexiconError extends DiffractError { static override readonly name: string = 'LexiconError'; }
/** More memory than the adapter allows; refused before anything is allocated. */
export class LimitError extends DiffractError { static override readonly name: string = 'LimitError'; }
/** NaN or infinity where numbers are needed. */
export class NumberError extends DiffractError { static override readonly name: string = 'NumberError'; }
/** A kernel that does not compile. */
export class ShaderError extends DiffractError { static override readonly name: string = 'ShaderError'; }
/** No adapter, or one that lacks what the engine needs. */
export class AdapterError extends DiffractError { static override readonly name: string = 'AdapterError'; }
/** The device refused recorded work as invalid. */
export class GpuValidationError extends DiffractError { static override readonly name: string = 'GpuValidationError'; }
/** The device has no memory left for a buffer. */
export class GpuOutOfMemoryError extends DiffractError { static override readonly name: string = 'GpuOutOfMemoryError'; }
/** The device is gone; nothing that lived on it can be read any more. */
export class DeviceLostError extends DiffractError {
  static override readonly name: string = 'DeviceLostError';
  override readonly exitCode: number = 3;
}
