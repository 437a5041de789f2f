/** @jax-js/jax is compiled for ES2025; Node 20 lacks iterator helpers and the set methods. Only what is missing is added. */
type Fill = Record<string, (this: never, ...args: never[]) => unknown>;

const iterators = {
  * map(this: Iterable<unknown>, f: (x: unknown, i: number) => unknown) { let i = 0; for (const x of this) yield f(x, i++); },
  * filter(this: Iterable<unknown>, f: (x: unknown, i: number) => unknown) { let i = 0; for (const x of this) if (f(x, i++)) yield x; },
  * flatMap(this: Iterable<unknown>, f: (x: unknown, i: number) => Iterable<unknown>) { let i = 0; for (const x of this) yield* f(x, i++); },
  * take(this: Iterable<unknown>, count: number) { if (count > 0) for (const x of this) { yield x; if (--count <= 0) return; } },
  * drop(this: Iterable<unknown>, count: number) { for (const x of this) if (count-- <= 0) yield x; },
  toArray(this: Iterable<unknown>) { return [...this]; },
  forEach(this: Iterable<unknown>, f: (x: unknown, i: number) => void) { let i = 0; for (const x of this) f(x, i++); },
  some(this: Iterable<unknown>, f: (x: unknown, i: number) => unknown) { let i = 0; for (const x of this) if (f(x, i++)) return true; return false; },
  every(this: Iterable<unknown>, f: (x: unknown, i: number) => unknown) { let i = 0; for (const x of this) if (!f(x, i++)) return false; return true; },
  find(this: Iterable<unknown>, f: (x: unknown, i: number) => unknown) { let i = 0; for (const x of this) if (f(x, i++)) return x; return undefined; },
  reduce(this: Iterable<unknown>, f: (sum: unknown, x: unknown) => unknown, ...start: unknown[]) {
    return start.length ? [...this].reduce(f, start[0]) : [...this].reduce(f);
  },
};

const sets = {
  union(this: Set<unknown>, other: ReadonlySet<unknown>) { return new Set([...this, ...other.keys()]); },
  intersection(this: Set<unknown>, other: ReadonlySet<unknown>) { return new Set([...this].filter((x) => other.has(x))); },
  difference(this: Set<unknown>, other: ReadonlySet<unknown>) { return new Set([...this].filter((x) => !other.has(x))); },
  symmetricDifference(this: Set<unknown>, other: ReadonlySet<unknown>) { return new Set([...[...this].filter((x) => !other.has(x)), ...[...other.keys()].filter((x) => !this.has(x))]); },
  isSubsetOf(this: Set<unknown>, other: ReadonlySet<unknown>) { return [...this].every((x) => other.has(x)); },
  isSupersetOf(this: Set<unknown>, other: ReadonlySet<unknown>) { return [...other.keys()].every((x) => this.has(x)); },
  isDisjointFrom(this: Set<unknown>, other: ReadonlySet<unknown>) { return ![...this].some((x) => other.has(x)); },
};

function fill(target: object, methods: object): void {
  for (const [name, value] of Object.entries(methods as Fill)) if (!(name in target)) Object.defineProperty(target, name, { value, configurable: true, writable: true });
}

export function addIteratorHelpers(): void {
  fill(Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as object, iterators);
  fill(Set.prototype, sets);
  fill(Promise, {
    withResolvers() {
      let resolve: unknown;
      let reject: unknown;
      const promise = new Promise((a, b) => { resolve = a; reject = b; });
      return { promise, resolve, reject };
    },
  });
  if (!Reflect.has(Symbol, 'dispose')) Object.defineProperty(Symbol, 'dispose', { value: Symbol('Symbol.dispose') });
}
