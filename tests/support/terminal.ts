/** A terminal that remembers what stood on it: for tests of what is drawn again in place. */
import { Writable } from 'node:stream';

export class FakeTerminal extends Writable {
  readonly isTTY = true;
  columns: number;
  rows: number;
  /** What stood on it after each write that was no mere movement. */
  readonly seen: string[] = [];
  private lines: string[] = [''];
  private row = 0;
  private column = 0;

  constructor(columns: number, rows: number) {
    super({ decodeStrings: false });
    this.columns = columns;
    this.rows = rows;
  }

  /** What stands on it, without empty lines at its end. */
  screen(): string {
    return this.lines.join('\n').trimEnd();
  }

  /** Makes it narrower: what stands there is wrapped. */
  resize(columns: number): void {
    const before = this.lines.slice(0, this.row);
    this.columns = columns;
    this.lines = before.flatMap((line) => (line === '' ? [''] : line.match(new RegExp(`.{1,${columns}}`, 'g'))!)).concat('');
    this.row = this.lines.length - 1;
  }

  override _write(chunk: string, _encoding: string, done: () => void): void {
    for (const part of chunk.split(/(\x1b\[\d*[A-Z]|\n)/)) this.take(part);
    if (!chunk.startsWith('\x1b')) this.seen.push(this.screen());
    done();
  }

  private take(part: string): void {
    const [, count, what] = /^\x1b\[(\d*)([A-Z])$/.exec(part) ?? [];
    if (part === '\n') {
      this.row++;
      this.column = 0;
      this.lines[this.row] ??= '';
    } else if (what === 'A') this.row -= Number(count);
    else if (what === 'G') this.column = Number(count) - 1;
    else if (what === 'J') this.lines = [...this.lines.slice(0, this.row), this.lines[this.row]!.slice(0, this.column)];
    else if (what !== undefined) throw new Error(`what is ${JSON.stringify(part)}?`);
    else this.print(part);
    if (this.row < 0) throw new Error('above the first line');
  }

  private print(text: string): void {
    const line = this.lines[this.row]!.padEnd(this.column);
    this.lines[this.row] = line.slice(0, this.column) + text + line.slice(this.column + text.length);
    this.column += text.length;
    // One that is full goes on in the next.
    for (; this.lines[this.row]!.length > this.columns; this.row++) {
      const full = this.lines[this.row]!;
      this.lines.splice(this.row, 1, full.slice(0, this.columns), full.slice(this.columns));
      this.column = full.length - this.columns;
    }
  }
}
