/** What the page and its workers say to each other: plain data, nothing of the GPU. */
import type { Gpt2Config, WeightProcessing, WeightType } from '../model/index.ts';

/** Where a model's or dictionary's files come from. Whatever it names can be opened again, in another worker or after the device was lost. */
export type Origin =
  /** shipped with the page: a folder beside it */
  | { kind: 'embedded'; path: string }
  /** chosen or dropped by the user; paths are relative to the folder that was chosen */
  | { kind: 'files'; name: string; files: { path: string; file: File }[] }
  /** kept in the browser's private storage: a folder of it */
  | { kind: 'stored'; path: string }
  /** a hub's repository, `owner/name` with `@revision` or `/folder` if need be; its files are kept in the browser's private storage */
  | { kind: 'hub'; address: string; endpoint?: string };

export interface DeviceFacts {
  /** What the adapter calls itself. */
  name: string;
  /** A driver on the CPU: right, but slow. */
  software: boolean;
  /** Optional features that the device has and the engine uses. */
  features: string[];
  immediates: boolean;
  subgroupSize: number;
  /** Largest binding and largest buffer in bytes. */
  bindingBytes: number;
  bufferBytes: number;
}

/** Bytes of the engine's buffers on the device. */
export interface MemoryFacts { live: number; liveBuffers: number; pooled: number }

/** How a model's weights lie on the device, and what is done to them on loading. */
export interface ModelForm { weights: WeightType; processing: Partial<WeightProcessing> }

export interface ModelFacts extends ModelForm {
  name: string;
  origin: Origin;
  hash: string;
  config: Gpt2Config;
  parameters: number;
  /** Bytes of its weights on the device. */
  bytes: number;
  /** Null where the model cannot do the task: it has no tokenizer, or its tokenizer lacks the task's words; `taskProblem` says which. */
  task: TaskFacts | null;
  taskProblem: string | null;
  hooks: string[];
}

/** A file that something is loaded from; `kept` of its bytes need no download. */
export interface FileFacts { path: string; bytes: number; kept: number }

/** A model as its files describe it, before it is loaded. */
export interface ModelOutlook {
  name: string;
  origin: Origin;
  config: Gpt2Config;
  parameters: number;
  tokenizer: boolean;
  files: FileFacts[];
  forms: Record<WeightType, FormOutlook>;
}

/** What a model takes on the device if its matrices are stored in one form; `refusal` says, with numbers, why it cannot be. */
export interface FormOutlook {
  bytes: number;
  /** More, where processing gives the unembedding numbers of its own. */
  unembedBytes: number;
  largest: { name: string; bytes: number; windows: number };
  refusal: string | null;
}

/** A dictionary in a folder, before it is loaded. */
export interface DictionaryOutlook { origin: Origin; choice: DictionaryChoice; name: string; files: FileFacts[] }

/** Models and dictionaries in what a person named. */
export interface FoundFacts { models: Origin[]; dictionaries: DictionaryOutlook[] }

/** Something that the browser keeps for this page. `path` names it to `remove`. */
export interface StoredFacts {
  path: string;
  kind: 'hub' | 'model' | 'dictionary' | 'training' | 'evaluation';
  name: string;
  bytes: number;
  files: number;
  /** Bytes of downloads or copies that are not complete. */
  unfinished: number;
  /** What can be opened of it. */
  origin: Origin | null;
}

export interface TaskFacts {
  name: string;
  attributes: string[];
  positions: string[];
  /** Values of each attribute, in the order of their ids. */
  values: Record<string, string[]>;
  /** Published cross-sections of this model; null where they have to be found. */
  sections: { name: string; sites: string[] }[] | null;
}

/** What the files of a dictionary leave open. */
export interface DictionaryChoice {
  /** The file, where several dictionaries lie side by side in files without a fixed name, such as `ae.pt`. */
  file?: string;
  /** The site or hook where it is used: z@L0H3@end, blocks.0.attn.hook_z or blocks.0.attn.hook_z:3. */
  place?: string;
}

/** A dictionary that is loaded beside the model. */
export interface DictionaryFacts {
  /** What other calls name it by. */
  id: string;
  name: string;
  origin: Origin;
  variant: string;
  features: number;
  width: number;
  /** The task's site that it was made for, such as z@L0H3@end; null for one trained on text. */
  site: string | null;
  hook: string;
  head: number | null;
  choice: DictionaryChoice;
  /** What its files say of it. */
  about: Record<string, unknown>;
  /** Remarks on loading it. */
  notes: string[];
}

/** `done` of `total` steps or bytes, and a few words on the state. */
export type OnProgress = (done: number, total: number, note?: string) => void;

/** A word at its place in a prompt. */
export interface TokenFacts { id: number; text: string }

export interface Prediction { id: number; token: string; probability: number; logit: number }
