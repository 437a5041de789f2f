/** Files that a person chooses or drops, as the page opens them. */
import type { Origin } from '../protocol.ts';
import { open } from './models-state.ts';

type Chosen = (Origin & { kind: 'files' })['files'];

/** Opens what was chosen in an input; of a folder, its name is the first part of each path. */
export async function openChosen(list: FileList | null): Promise<void> {
  const files = [...(list ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  if (files.length > 0) await openFiles(files);
}

/** Opens what was dropped: files, folders, or some of both. The entries have to be asked for before the event is over. */
export async function openDropped(data: DataTransfer): Promise<void> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const files: Chosen = [];
  for (const entry of entries) await walk(entry, files);
  if (files.length > 0) await openFiles(files);
}

async function openFiles(files: Chosen): Promise<void> {
  const tops = [...new Set(files.map(({ path }) => path.split('/')[0]!))];
  await open({ kind: 'files', name: '', files }, tops.length === 1 ? tops[0]! : `${files.length} files`);
}

async function walk(entry: FileSystemEntry, files: Chosen): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    files.push({ path: entry.fullPath.replace(/^\//, ''), file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // It gives at most a hundred at a time, and none at the end.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const one of some) await walk(one, files);
  }
}
