/** Scopes of disposable things: what is made inside and not returned is disposed at the end. */
export interface Disposable { dispose(): void }

export class Scopes {
  private readonly stack: Set<Disposable>[] = [];
  private readonly home = new WeakMap<Disposable, Set<Disposable>>();

  add(item: Disposable): void {
    const top = this.stack.at(-1);
    if (!top) return;
    top.add(item);
    this.home.set(item, top);
  }

  remove(item: Disposable): void {
    this.home.get(item)?.delete(item);
    this.home.delete(item);
  }

  run<T>(fn: () => T): T {
    const scope = new Set<Disposable>();
    this.stack.push(scope);
    let result: T;
    try {
      result = fn();
    } catch (error) {
      this.close(scope, undefined);
      throw error;
    }
    if (result instanceof Promise) {
      return result.then((value) => {
        this.close(scope, value);
        return value;
      }, (error) => {
        this.close(scope, undefined);
        throw error;
      }) as T;
    }
    this.close(scope, result);
    return result;
  }

  /** What is returned moves to the enclosing scope; the rest is disposed. */
  private close(scope: Set<Disposable>, result: unknown): void {
    this.stack.splice(this.stack.lastIndexOf(scope), 1);
    const outer = this.stack.at(-1);
    for (const item of reachable(result)) {
      if (!scope.delete(item)) continue;
      this.home.delete(item);
      if (outer) {
        outer.add(item);
        this.home.set(item, outer);
      }
    }
    for (const item of [...scope]) item.dispose();
  }
}

/** Disposable things inside a value: itself, elements of arrays and Maps, fields of objects. */
function reachable(value: unknown, found = new Set<Disposable>(), seen = new Set<unknown>()): Set<Disposable> {
  if (typeof value !== 'object' || value === null || seen.has(value) || ArrayBuffer.isView(value)) return found;
  seen.add(value);
  if ('dispose' in value && typeof value.dispose === 'function') found.add(value as Disposable);
  // A tensor's own fields hold no other tensors, and walking into the device would not end.
  if ('storage' in value || 'device' in value) return found;
  const inner = value instanceof Map || Array.isArray(value) || value instanceof Set ? value.values() : Object.values(value);
  for (const item of inner) reachable(item, found, seen);
  return found;
}
