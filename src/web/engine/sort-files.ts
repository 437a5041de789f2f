/** Which models and dictionaries lie in a folder, told from the names of its files alone. */

export interface FoundModel { folder: string }
/** `file` where the folder's layout has no fixed name for it. */
export interface FoundDictionary { folder: string; file?: string }
export interface SortedFiles { models: FoundModel[]; dictionaries: FoundDictionary[] }

const MODEL_WEIGHTS = /^(model\.safetensors(\.index\.json)?|pytorch_model\.bin)$/;
/** Names that weights of dictionaries have in layouts with fixed names. */
const DICTIONARY_WEIGHTS = ['sae_weights.safetensors', 'sae.safetensors', 'ae.pt'];

/** What lies beside tensors and says what they are; a dictionary may need any of it. */
const DESCRIPTION = /\.(json|ya?ml)$/;
const BESIDE = ['sparsity.safetensors'];

/** The folder of a path, '' at the top, and its last part. */
function splitPath(path: string): [folder: string, name: string] {
  const at = path.lastIndexOf('/');
  return at < 0 ? ['', path] : [path.slice(0, at), path.slice(at + 1)];
}

/**
 * Sorts the paths of files: a folder with weights under a model's name is a model; one with cfg.json, or with weights under a fixed name, is a dictionary;
 * other .pt files are a dictionary each. Files inside a dictionary's folder, such as checkpoints, belong to it.
 */
export function sortFiles(paths: readonly string[]): SortedFiles {
  const folders = new Map<string, Set<string>>();
  for (const path of paths) {
    const [folder, name] = splitPath(path);
    folders.set(folder, (folders.get(folder) ?? new Set()).add(name));
  }
  const found: SortedFiles = { models: [], dictionaries: [] };
  for (const [folder, names] of [...folders].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const inside = found.dictionaries.some((one) => one.file === undefined && one.folder !== '' && folder.startsWith(`${one.folder}/`));
    if (inside) continue;
    const all = [...names];
    if (names.has('cfg.json') || DICTIONARY_WEIGHTS.some((name) => names.has(name))) found.dictionaries.push({ folder });
    else if (all.some((name) => MODEL_WEIGHTS.test(name))) found.models.push({ folder });
    else for (const name of all.filter((one) => one.endsWith('.pt')).sort()) found.dictionaries.push({ folder, file: name });
  }
  return found;
}

/** Those of a folder's files that a dictionary is read from; `paths` are relative to the folder. */
export function dictionaryFiles(paths: readonly string[], file?: string): string[] {
  const weights = file === undefined ? DICTIONARY_WEIGHTS : [file];
  return paths.filter((path) => weights.includes(path) || BESIDE.includes(path) || (!path.includes('/') && DESCRIPTION.test(path)));
}

/** Those of a folder's files that a model is read from; `paths` are relative to the folder. */
export function modelFiles(paths: readonly string[]): string[] {
  const sharded = !paths.includes('model.safetensors');
  return paths.filter((path) => ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'ioi.json'].includes(path)
    || (sharded ? /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/.test(path) : path === 'model.safetensors'));
}
