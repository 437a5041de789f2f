/** Small pieces that all panels use. */
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

/** A word to the user, next to what it is about. Errors and warnings are read out as they come. */
export function Notice({ kind, id, children }: { kind: 'error' | 'warning' | 'note'; id?: string; children: ComponentChildren }) {
  return <div class={`notice ${kind}`} id={id} role={kind === 'error' ? 'alert' : 'status'}>{children}</div>;
}

/** A bar with words. `total` 0 for work of unknown length. */
export function Progress({ id, label, done, total, note = '', onCancel }: { id?: string; label: string; done: number; total: number; note?: string; onCancel?: () => void }) {
  const name = useId();
  return (
    <div class="progress" id={id}>
      <label for={name}>{label}{total > 0 && ` ${Math.floor((100 * done) / total)} %`}</label>
      {total > 0 ? <progress id={name} value={done} max={total} /> : <progress id={name} />}
      <span class="muted note">{note}</span>
      {onCancel && <button type="button" onClick={onCancel}>Cancel</button>}
    </div>
  );
}

/** A labelled control. `id` where others must find it. */
export function Field({ id: given, label, hint, error, children, wide }: { id?: string; label: string; hint?: string; error?: string | null; children: (id: string) => ComponentChildren; wide?: boolean }) {
  const own = useId();
  const id = given ?? own;
  return (
    <div class={wide ? 'field wide' : 'field'}>
      <label for={id}>{label}</label>
      {children(id)}
      {hint && <span class="hint muted">{hint}</span>}
      {error && <span class="field-error" role="alert">{error}</span>}
    </div>
  );
}

export interface Option { value: string; label: string; group?: string }

/** A choice of one. */
export function Select({ id, value, options, onChange }: { id: string; value: string; options: readonly Option[]; onChange: (value: string) => void }) {
  const groups = [...new Set(options.map(({ group }) => group))];
  const item = ({ value: own, label }: Option) => <option key={own} value={own} selected={own === value}>{label}</option>;
  return (
    <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      {groups.map((group) => (group === undefined ? options.filter((one) => one.group === undefined).map(item) : <optgroup key={group} label={group}>{options.filter((one) => one.group === group).map(item)}</optgroup>))}
    </select>
  );
}

/** Offers bytes or text as a file to save. */
export function saveAs(name: string, content: BlobPart, type: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
