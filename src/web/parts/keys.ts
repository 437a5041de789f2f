/** Keyboards in grids of buttons. */

/** Where an arrow key, Home or End leads in a grid whose places are numbered row by row; null for other keys. */
export function placeAfter(key: string, at: number, columns: number, count: number): number | null {
  const column = at % columns;
  switch (key) {
    case 'ArrowLeft': return column > 0 ? at - 1 : at;
    case 'ArrowRight': return column < columns - 1 && at + 1 < count ? at + 1 : at;
    case 'ArrowUp': return at >= columns ? at - columns : at;
    case 'ArrowDown': return at + columns < count ? at + columns : at;
    case 'Home': return at - column;
    case 'End': return Math.min(count, at - column + columns) - 1;
    default: return null;
  }
}
