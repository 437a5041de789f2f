/** Layers and heads as a map: what each component adds to the logit difference, or how large its activation is. */
import { useRef } from 'preact/hooks';
import { LAYER_KINDS, type Effects, type SiteKindShown } from '../engine/explore-facts.ts';
import { Field, Select } from '../parts/basic.tsx';
import { figure, signed } from '../parts/format.ts';
import { dictionaries, model } from '../state.ts';
import { choose, fits, hasHead, type Choices } from './explore-state.ts';
import { placeAfter } from '../parts/keys.ts';
import { type Asked } from '../parts/asked.ts';

const KIND_NAMES: Record<SiteKindShown, string> = {
  q: 'q: queries', k: 'k: keys', v: 'v: values', z: 'z: outputs', pattern: 'pattern: attention weights',
  resid_pre: 'resid_pre: residual stream before the layer', attn_out: 'attn_out: all heads’ output', resid_mid: 'resid_mid: between attention and MLP', mlp_out: 'mlp_out: the MLP’s output', resid_post: 'resid_post: residual stream behind the layer',
};

interface Cell { label: string; kind: SiteKindShown; layer: number; head: number | null; value: number | null; says: string }

/** The columns of the map behind the heads. */
const [MLP, RESIDUAL] = ['MLP', 'resid'] as const;

export function SiteMap({ choices, kind, layer, head, effects, sizes, pair, position }: {
  choices: Choices; kind: SiteKindShown; layer: number; head: number; effects: Asked<Effects>; sizes: Asked<number[][]>; pair: string | null; position: string;
}) {
  const grid = useRef<HTMLTableElement>(null);
  const { config } = model.value!;
  const bySize = choices.by === 'size';
  const asked = bySize ? sizes : effects;
  const rows = bySize ? sizeRows(sizes.value, kind, config.layers, config.heads) : effectRows(effects.value, kind, config.layers, config.heads);
  const cells = rows.flatMap((row) => row.cells);
  const columns = rows[0]!.cells.length;
  const most = cells.reduce((a, { value }) => Math.max(a, Math.abs(value ?? 0)), 1e-9);
  // The accumulated stream would drown single components; it has a scale of its own.
  const streamMost = cells.reduce((a, one) => Math.max(a, isStream(one) ? Math.abs(one.value ?? 0) : 0), 1e-9);
  const partMost = cells.reduce((a, one) => Math.max(a, isStream(one) ? 0 : Math.abs(one.value ?? 0)), 1e-9);
  const strength = (one: Cell): number => Math.min(1, Math.abs(one.value ?? 0) / (bySize ? most : isStream(one) ? streamMost : partMost));
  const at = cells.findIndex((one) => one.layer === layer && (hasHead(kind) ? one.head === head : one.head === null && one.kind === kind));
  const focus = at < 0 ? 0 : at;
  const select = (one: Cell): void => choose({ layer: one.layer, ...(one.head === null ? { kind: one.kind } : { head: one.head, kind: hasHead(kind) ? kind : 'z' }) });
  const onKeyDown = (event: KeyboardEvent): void => {
    const next = placeAfter(event.key, focus, columns, cells.length);
    if (next === null || !cells[next]) return;
    event.preventDefault();
    select(cells[next]);
    grid.current?.querySelectorAll<HTMLButtonElement>('button')[next]?.focus();
  };
  const marked = (one: Cell): boolean => dictionaries.value.some((own) => (one.head === null
    ? fits(own, { kind: one.kind, layer: one.layer, head: null })
    : (['q', 'k', 'v', 'z'] as const).some((part) => fits(own, { kind: part, layer: one.layer, head: one.head }))));
  return (
    <>
      <div class="row">
        <Field id="explore-kind" label="Kind of site">
          {(id) => <Select id={id} value={kind} onChange={(value) => choose({ kind: value })} options={Object.entries(KIND_NAMES).map(([value, label]) => ({ value, label, group: hasHead(value as SiteKindShown) ? 'Of a head' : 'Of a layer' }))} />}
        </Field>
        <Field id="explore-by" label="Colour">
          {(id) => <Select id={id} value={choices.by} onChange={(value) => choose({ by: value === 'effect' ? null : value })} options={[
            { value: 'effect', label: 'direct effect on the logit difference' }, { value: 'size', label: kind === 'pattern' ? 'largest attention weight here' : 'length of the activation here' },
          ]} />}
        </Field>
      </div>
      {asked.error && <p class="field-error" role="alert">{asked.error}</p>}
      <div class={asked.current ? 'scroll' : 'scroll explore-stale'}>
        <table class={columns > 8 ? 'explore-map dense' : 'explore-map'} id="explore-map" ref={grid} role="grid" onKeyDown={onKeyDown} aria-describedby="explore-map-says">
          <caption class="visually-hidden">Sites by layer and head; arrow keys choose one</caption>
          <thead><tr><td />{rows[0]!.cells.map((one) => <th key={one.label} scope="col">{columnName(one)}</th>)}</tr></thead>
          <tbody>
            {rows.map((row, r) => (
              <tr key={row.name}>
                <th scope="row">{row.name}</th>
                {row.cells.map((one, c) => {
                  const index = r * columns + c;
                  return (
                    <td key={one.label}>
                      <button type="button" class={one.value !== null && one.value < 0 ? 'negative' : 'positive'} style={{ '--strength': strength(one) }} aria-pressed={index === at} tabIndex={index === focus ? 0 : -1}
                        aria-label={`${one.says}${one.value === null ? '' : `: ${bySize ? figure(one.value) : signed(one.value)}`}${marked(one) ? '; a dictionary is loaded here' : ''}`} title={one.says} onClick={() => select(one)}>
                        <span>{one.value === null ? '·' : bySize ? figure(one.value) : signed(one.value)}</span>{marked(one) && <i aria-hidden="true">◆</i>}
                      </button>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="muted hint" id="explore-map-says">{bySize ? sizeSays(kind, position) : effectSays(pair, effects.value)} {dictionaries.value.length > 0 && '◆ a dictionary is loaded for this site.'}</p>
    </>
  );
}

function effectSays(pair: string | null, effects: Effects | null): string {
  if (!pair) return 'Choose two tokens to compare, and the map shows what each component adds to their logit difference.';
  const rest = effects ? ` Embeddings ${signed(effects.embed + effects.posEmbed)}, attention biases ${signed(effects.attentionBias.reduce((a, b) => a + b, 0))}, constant ${signed(effects.constant)}; all together ${signed(effects.total)}.` : '';
  return `What each head and MLP adds by itself to logit(${pair.split('\n')[0]}) − logit(${pair.split('\n')[1]}) at the last token, the final norm’s scale held; ${RESIDUAL} is the sum so far, coloured by itself.${rest}`;
}

function sizeSays(kind: SiteKindShown, position: string): string {
  return kind === 'pattern' ? `The largest weight that ${position} gives to any but the first token.` : `Length (L2 norm) of ${kind} at ${position}.`;
}

function columnName({ head, kind }: Cell): string {
  if (head !== null) return `H${head}`;
  return kind === 'mlp_out' ? MLP : kind.startsWith('resid') ? RESIDUAL : 'attn';
}

function isStream({ head, kind }: Cell): boolean {
  return head === null && kind === 'resid_post';
}

/** Heads, the MLP, and the residual stream so far. */
function effectRows(effects: Effects | null, kind: SiteKindShown, layers: number, heads: number): { name: string; cells: Cell[] }[] {
  let stream = effects ? effects.embed + effects.posEmbed : 0;
  const last = (LAYER_KINDS as readonly string[]).includes(kind) && kind !== 'mlp_out' ? kind : 'resid_post';
  return Array.from({ length: layers }, (_, layer) => {
    const [before, attention, mlp] = [stream, effects ? effects.heads[layer]!.reduce((a, b) => a + b, effects.attentionBias[layer]!) : 0, effects?.mlps[layer] ?? 0];
    stream += attention + mlp;
    const streams: Record<string, number> = { resid_pre: before, attn_out: attention, resid_mid: before + attention, resid_post: stream };
    const cells = Array.from({ length: heads }, (_, head): Cell => ({ label: `L${layer}H${head}`, kind, layer, head, value: effects?.heads[layer]![head] ?? null, says: `L${layer}H${head}` }));
    cells.push({ label: `L${layer} mlp`, kind: 'mlp_out', layer, head: null, value: effects ? mlp : null, says: `MLP of layer ${layer}` });
    cells.push({ label: `L${layer} resid`, kind: last, layer, head: null, value: effects ? streams[last]! : null, says: `${last} of layer ${layer}` });
    return { name: `L${layer}`, cells };
  });
}

function sizeRows(sizes: number[][] | null, kind: SiteKindShown, layers: number, heads: number): { name: string; cells: Cell[] }[] {
  return Array.from({ length: layers }, (_, layer) => ({
    name: `L${layer}`,
    cells: hasHead(kind)
      ? Array.from({ length: heads }, (_, head): Cell => ({ label: `L${layer}H${head}`, kind, layer, head, value: sizes?.[layer]?.[head] ?? null, says: `${kind} of L${layer}H${head}` }))
      : [{ label: `L${layer}`, kind, layer, head: null, value: sizes?.[layer]?.[0] ?? null, says: `${kind} of layer ${layer}` }],
  }));
}
