/** Rows of a parquet file, read by row group and column, through hyparquet. */
import type { AsyncBuffer, FileMetaData } from 'hyparquet';
import { FileError } from '../../errors.ts';
import { fileName, oneLine, type FileSource } from '../source.ts';
import { checkPlace, contentOf, fieldOf, type DocumentOptions, type Found, type Place } from './documents.ts';

export async function* parquetRows(source: FileSource, path: string, { row: first }: Place, { field }: DocumentOptions): AsyncGenerator<Found> {
  const file = fileName(source, path);
  // Loaded where a parquet file is read at all.
  const [{ parquetMetadataAsync, parquetReadObjects, parquetSchema }, { compressors }] = await Promise.all([import('hyparquet'), import('hyparquet-compressors')]);
  const buffer: AsyncBuffer = {
    byteLength: await source.size(path),
    slice: async (start, end = buffer.byteLength) => {
      const from = start < 0 ? Math.max(0, buffer.byteLength + start) : start;
      return (await source.range(path, from, Math.min(end, buffer.byteLength))).buffer as ArrayBuffer;
    },
  };
  const metadata = await told(file, () => parquetMetadataAsync(buffer));
  const column = fieldOf(parquetSchema(metadata).children.map(({ element }) => element.name), field, file);
  const groups = groupsOf(metadata);
  checkPlace(file, groups.reduce((sum, rows) => sum + rows, 0), { row: first });
  let start = 0;
  for (const group of groups) {
    const end = start + group;
    if (end > first) {
      const from = Math.max(first, start);
      const rows = await told(file, () => parquetReadObjects({ file: buffer, metadata, compressors, columns: [column], rowStart: from, rowEnd: end }));
      if (rows.length !== end - from) throw new FileError(`${file}: rows ${from} to ${end} are ${rows.length} rows`);
      for (const [i, row] of rows.entries()) yield { content: contentOf(row[column], `${file}: row ${from + i}`) };
    }
    start = end;
  }
}

/** Rows of each row group. */
function groupsOf({ row_groups }: FileMetaData): number[] {
  return row_groups.map(({ num_rows }) => Number(num_rows));
}

/** Runs the library's work; what it throws becomes a FileError that names the file. */
async function told<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    throw new FileError(`${file}: not a parquet file that can be read: ${oneLine((cause as Error).message)}`, { cause });
  }
}
