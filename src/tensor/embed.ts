/** Token and position embeddings. Tables beyond the binding limit are visited window by window. */
import addPositionsSource from '../../kernels/add-positions.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { gatherRows } from './index-ops.ts';
import { showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const ELEMENTS_PER_GROUP = 256; // WORKGROUP · STEP of the kernel
const kernel = defineKernel('add-positions', addPositionsSource);

/** Rows of wte [vocabulary, width] by tokens u32 [...]: [..., width]. Ids past the vocabulary give zeros; check them before. */
export function embed(tokens: Tensor, wte: Tensor): Tensor {
  if (wte.shape.length !== 2) throw new ShapeError(`embed: the table must be [vocabulary, width], not ${showShape(wte.shape)}`);
  const rows = gatherRows(wte, tokens);
  const out = rows.reshape([...tokens.shape, wte.shape[1]!]);
  rows.dispose();
  return out;
}

/** x [batch, length, width] + rows start … start + length − 1 of wpe [positions, width]. Throws ShapeError past the last position. */
export function addPositions(x: Tensor, wpe: Tensor, start: number): Tensor {
  const [batch = 0, length = 0, width = 0] = x.shape;
  if (x.shape.length !== 3 || width !== wpe.shape[1]) throw new ShapeError(`addPositions: ${showShape(x.shape)} does not fit a table ${showShape(wpe.shape)}`);
  return positions(wpe, batch, length, start, x);
}

/** Rows start … start + length − 1 of wpe [positions, width] for each of `batch` prompts: [batch, length, width]. */
export function positionEmbedding(wpe: Tensor, batch: number, length: number, start: number): Tensor {
  return positions(wpe, batch, length, start, null);
}

function positions(wpe: Tensor, batch: number, length: number, start: number, x: Tensor | null): Tensor {
  const { gpu } = wpe;
  const [count = 0, width = 0] = wpe.shape;
  if (start < 0 || start + length > count) throw new ShapeError(`positions ${start} to ${start + length} are not in a table of ${count}`);
  const out = Tensor.empty(gpu, [batch, length, width]);
  if (out.size === 0) return out;
  for (const table of rowWindows(gpu, count, [width * 4])) {
    if (table.start >= start + length || table.start + table.count <= start) continue;
    const rowsOfTable = windowOf(wpe, table, width * 4);
    for (const window of rowWindows(gpu, batch * length, [width * 4])) {
      gpu.dispatch({
        kernel, constants: { HAS_X: x ? 1 : 0 },
        params: { rows: window.count, width, firstRow: window.start, length, start, windowStart: table.start, windowRows: table.count },
        groups: Math.ceil((window.count * width) / ELEMENTS_PER_GROUP),
        bindings: [x ? windowOf(x, window, width * 4) : rowsOfTable, rowsOfTable, windowOf(out, window, width * 4)],
      });
    }
  }
  return out;
}
