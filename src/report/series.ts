/** Which dictionaries the results hold, in which order they are shown, and how each of them looks. */
import type { Results } from '../evaluation/index.ts';
import { look, type Look } from './theme.ts';

export interface Series {
  /** Names of dictionaries: supervised first, then SAEs by variant and growing sparsity penalty. */
  names: string[];
  /** 'supervised' or the SAE variants, in the same order. Rows of the control test carry these: each site uses its best SAE of the variant. */
  variants: string[];
  /** Look of every name and of every variant; a variant looks like its first dictionary. */
  looks: Map<string, Look>;
  variantOf(name: string): string;
}

export function seriesOf(results: Results): Series {
  const { approximation, control, interpretability } = results.tests;
  const known = new Map(results.dictionaries.map(({ name, variant, lambda }) => [name, { variant, lambda: lambda ?? 0 }]));
  // A name that no dictionary has is a variant.
  const variantOf = (name: string) => known.get(name)?.variant ?? name;
  const found = [...new Set([...known.keys(), ...approximation.map((row) => row.dictionary), ...interpretability.map((row) => row.dictionary)])];
  const all = [...new Set([...found.map(variantOf), ...control.map((row) => row.dictionary)])];
  const variants = [...all.filter((name) => name.startsWith('supervised')), ...all.filter((name) => !name.startsWith('supervised'))];
  const names = variants.flatMap((variant) => found.filter((name) => variantOf(name) === variant)
    .sort((a, b) => (known.get(a)?.lambda ?? 0) - (known.get(b)?.lambda ?? 0)));
  const looks = new Map<string, Look>();
  // The first colour belongs to supervised dictionaries, whether or not there are any.
  let next = variants[0]?.startsWith('supervised') ? 0 : 1;
  for (const variant of variants) {
    const own = names.filter((name) => variantOf(name) === variant);
    for (const name of own.length ? own : [variant]) looks.set(name, look(next++));
    if (own.length) looks.set(variant, looks.get(own[0]!)!);
  }
  return { names, variants, looks, variantOf };
}
