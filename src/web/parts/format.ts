/** Numbers as people read them. */

/** 1,870,560 bytes as 1.9 MB. */
export function bytes(value: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let [size, unit] = [value, 0];
  while (size >= 1000 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return `${unit === 0 ? size : size.toPrecision(3)} ${units[unit]}`;
}

/** 924,936 as 925 k. */
export function count(value: number): string {
  if (value < 10_000) return String(value);
  return value < 1e6 ? `${(value / 1e3).toPrecision(3)} k` : `${(value / 1e6).toPrecision(3)} M`;
}

/** A share as a percentage with three digits. */
export function percent(share: number): string {
  const value = 100 * share;
  return `${value >= 99.95 ? '100' : value >= 10 ? value.toFixed(1) : value.toFixed(2)} %`;
}

/** A number of any size with three digits. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  return Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

/** A token so that its spaces and line ends can be seen. */
export function visible(text: string): string {
  return text.replace(/ /g, '·').replace(/\n/g, '⏎').replace(/\t/g, '⇥') || '∅';
}

/** With its sign, and three digits; without one where nothing is left of it. */
export function signed(value: number): string {
  const size = Math.abs(value);
  const digits = size >= 100 ? size.toFixed(0) : size >= 10 ? size.toFixed(1) : size.toFixed(2);
  return Number(digits) === 0 ? digits : `${value < 0 ? '−' : '+'}${digits}`;
}
