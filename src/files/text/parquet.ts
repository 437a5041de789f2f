/** Rows of a parquet file, read by row group and column, through hyparquet. */
import type { AsyncBuffer, RowGroup } from 'hyparquet';
import type { parquetHeader } from 'hyparquet/src/column.js';
import { FileError } from '../../errors.ts';
import { fileName, oneLine, type FileSource } from '../source.ts';
import { checkPlace, contentOf, fieldOf, type DocumentOptions, type Found, type Place } from './documents.ts';

export async function* parquetRows(source: FileSource, path: string, { row: first }: Place, { field }: DocumentOptions): AsyncGenerator<Found> {
  const file = fileName(source, path);
  // Loaded where a parquet file is read at all.
  const [{ parquetMetadataAsync, parquetReadObjects, parquetSchema }, { compressors }, { parquetHeader }] = await Promise.all([
    import('hyparquet'), import('hyparquet-compressors'), import('hyparquet/src/column.js'),
  ]);
  const buffer = bufferOf(source, path, await source.size(path));
  const { metadata, columns, groups } = await told(file, async () => {
    const found = await parquetMetadataAsync(buffer);
    return { metadata: found, columns: parquetSchema(found).children.map(({ element }) => element.name), groups: found.row_groups.map(rowsOf) };
  });
  const column = fieldOf(columns, field, file);
  checkPlace(file, groups.reduce((sum, rows) => sum + rows, 0), { row: first });
  let start = 0;
  for (const [i, group] of groups.entries()) {
    const end = start + group;
    if (end > first) {
      const from = Math.max(first, start);
      const rows = await told(file, async () => {
        await checkPages(buffer, metadata.row_groups[i]!, column, parquetHeader);
        return parquetReadObjects({ file: buffer, metadata, compressors, columns: [column], rowStart: from, rowEnd: end });
      });
      if (rows.length !== end - from) throw new FileError(`${file}: rows ${from} to ${end} are ${rows.length} rows`);
      for (const [i, row] of rows.entries()) yield { content: contentOf(row[column], `${file}: row ${from + i}`) };
    }
    start = end;
  }
}

/** The file for the library. What was read last is kept, as a column is looked through before it is read. */
function bufferOf(source: FileSource, path: string, byteLength: number): AsyncBuffer {
  let kept = { start: 0, end: 0, bytes: new ArrayBuffer(0) };
  return {
    byteLength,
    async slice(begin, behind = byteLength) {
      const start = begin < 0 ? Math.max(0, byteLength + begin) : begin;
      const end = Math.min(behind, byteLength);
      if (start !== kept.start || end !== kept.end) kept = { start, end, bytes: (await source.range(path, start, end)).buffer as ArrayBuffer };
      return kept.bytes;
    },
  };
}

function rowsOf({ num_rows }: RowGroup): number {
  const rows = Number(num_rows);
  if (!Number.isSafeInteger(rows) || rows < 0) throw new Error(`a row group of ${rows} rows`);
  return rows;
}

/**
 * Goes through the headers of a column's pages before the library believes them: one that was damaged may ask for a billion values, which
 * would be hours and all memory in place of an error.
 */
async function checkPages(buffer: AsyncBuffer, group: RowGroup, column: string, headerAt: typeof parquetHeader): Promise<void> {
  for (const { meta_data: chunk } of group.columns) {
    if (chunk?.path_in_schema[0] !== column) continue;
    const start = Number(chunk.dictionary_page_offset || chunk.data_page_offset);
    const reader = { view: new DataView(await buffer.slice(start, start + Number(chunk.total_compressed_size))), offset: 0 };
    let values = 0;
    while (values < chunk.num_values && reader.offset < reader.view.byteLength - 1) {
      const page = headerAt(reader);
      const { dictionary_page_header: dictionary, data_page_header: plain, data_page_header_v2: second } = page;
      const own = (plain ?? second)?.num_values ?? 0;
      // Of the second version of pages: levels stand before the values, within the page.
      const levels = second ? second.repetition_levels_byte_length + second.definition_levels_byte_length : 0;
      const sound = (plain || second || dictionary) && levels <= page.compressed_page_size
        && sizes(levels, own, page.compressed_page_size, page.uncompressed_page_size - levels, own - (second?.num_nulls ?? 0), second?.num_rows ?? 0)
        // A word of a dictionary is a byte at least.
        && (!dictionary || sizes(dictionary.num_values, page.uncompressed_page_size - dictionary.num_values));
      reader.offset += page.compressed_page_size;
      values += own;
      if (!sound || reader.offset > reader.view.byteLength) throw new Error(`a page of column ${column} has a header that cannot be right`);
    }
    if (BigInt(values) !== chunk.num_values) throw new Error(`column ${column} has ${values} of ${chunk.num_values} values`);
  }
}

function sizes(...numbers: readonly number[]): boolean {
  return numbers.every((number) => Number.isInteger(number) && number >= 0);
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
