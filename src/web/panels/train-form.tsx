/** What is to be trained: the form of a new run, and what the run will be and take. */
import { useEffect, useState } from 'preact/hooks';
import { engine } from '../client.ts';
import type { TrainChoices } from '../engine/train.ts';
import type { TrainPlan, TrainSpec } from '../engine/train-spec.ts';
import { Field, Notice, Select, type Option } from '../parts/basic.tsx';
import { bytes, count } from '../parts/format.ts';
import type { ModelFacts } from '../protocol.ts';
import { dictionaries, epoch, model, paramsOf, setParams, type Params } from '../state.ts';
import { beginRun, isUnderWay } from './train-run.ts';

const KINDS = { z: 'z, output', v: 'v, value', k: 'k, key', q: 'q, query' };
/** Formats that the library reads text from. */
const TEXT_FILES = '.txt,.text,.jsonl,.ndjson,.json,.parquet,.bin,.gz';
/** What served well at the residual stream of the embedded model, and takes about a minute on a software adapter. Values of K are those of the task's narrow heads times `wider`. */
const ON_TEXT = { learningRate: 3e-3, batch: 128, tokens: 65_536, round: 4096, documents: 1000, length: 24, factor: 4, wider: 2 };
const ALLOWED_MB = 2000;
/** Milliseconds that a person may go on typing before the plan is made again. */
const PATIENCE = 150;

/** The form's values with defaults where the address says nothing. */
function specOf(params: Params, choices: TrainChoices, facts: ModelFacts): { spec: TrainSpec; isTask: boolean; isFile: boolean } {
  const isTask = facts.task !== null && params.on !== 'text';
  const isFile = params.text === 'file';
  const number = (name: string, otherwise: number): number => (params[name] === undefined || params[name] === '' ? otherwise : Number(params[name]));
  const variant = choices.variants.find(({ name }) => name === params.variant) ?? choices.variants.find(({ name }) => name === 'topk')!;
  const site = siteOf(params, facts);
  const hook = hookOf(params, choices);
  const width = hook.heads > 0 && params.hookHead ? hook.width / hook.heads : hook.width;
  const spec: TrainSpec = {
    place: isTask ? `${site.kind}@L${site.layer}H${site.head}@${site.position}` : `${hook.name}${hook.heads > 0 && params.hookHead ? `:${params.hookHead}` : ''}`,
    text: isTask ? null : isFile ? { kind: 'file', name: params.file ?? '' } : { kind: 'sampled', documents: number('documents', ON_TEXT.documents), length: number('length', Math.min(ON_TEXT.length, facts.config.context - 1)) },
    variant: variant.name, features: number('features', isTask ? choices.features : ON_TEXT.factor * width), sparsity: number('sparsity', variant.byK && !isTask ? ON_TEXT.wider * variant.value : variant.value),
    learningRate: number('lr', isTask ? variant.learningRate : ON_TEXT.learningRate), batch: number('batch', isTask ? choices.batch : ON_TEXT.batch), seed: number('seed', 0),
    prompts: number('prompts', 3000), epochs: number('epochs', choices.epochs), tokens: number('tokens', ON_TEXT.tokens), round: number('round', ON_TEXT.round), allowed: number('allowed', ALLOWED_MB) * 1e6,
  };
  return { spec, isTask, isFile };
}

/** The site in the address, or else one that is known to matter: of a dictionary that the page brings, or of the task's cross-sections. */
function siteOf(params: Params, { task, config }: ModelFacts): { kind: string; layer: string; head: string; position: string } {
  const brought = dictionaries.value.find(({ site, origin }) => origin.kind === 'embedded' && site?.startsWith('z@'))?.site;
  const known = brought ?? task?.sections?.flatMap(({ sites }) => sites).filter((site) => site.startsWith('z@')).at(-1) ?? `z@L${config.layers - 1}H0@${task?.positions.at(-1) ?? 'end'}`;
  const [, kind, layer, head, position] = /^(.)@L(\d+)H(\d+)@(.+)$/.exec(known)!;
  return { kind: params.kind ?? kind!, layer: params.layer ?? layer!, head: params.head ?? head!, position: params.position ?? position! };
}

function hookOf(params: Params, { hooks }: TrainChoices): TrainChoices['hooks'][number] {
  return hooks.find(({ name }) => name === params.hook) ?? hooks.find(({ name }) => name.endsWith('.1.hook_resid_post')) ?? hooks.find(({ usable }) => usable)!;
}

export function TrainForm() {
  const params = paramsOf('train').value;
  const facts = model.value;
  const [choices, setChoices] = useState<TrainChoices | null>(null);
  const [file, setFile] = useState<File | null>(null);
  useEffect(() => {
    if (facts) void engine().train.choices().then(setChoices, () => setChoices(null));
  }, [epoch.value]);
  const form = facts && choices && choices.hooks.length > 0 ? specOf(params, choices, facts) : null;
  const { plan, problem } = usePlan(form && (!form.isFile || form.isTask || file) ? form.spec : null);
  if (!facts || !form) return <p class="muted">The form appears when a model is loaded.</p>;
  const { spec, isTask, isFile } = form;
  return (
    <form class="train-form" id="train-form" onSubmit={(event) => { event.preventDefault(); if (plan) void beginRun(spec, !isTask && isFile && file ? file : undefined); }}>
      <fieldset class="choice">
        <legend>Learn activations on</legend>
        <label class="check"><input type="radio" name="train-on" id="train-on-task" checked={isTask} disabled={!facts.task} onChange={() => setParams('train', { ...FRESH, on: undefined })} />prompts of the task, at one of its sites</label>
        <label class="check"><input type="radio" name="train-on" id="train-on-text" checked={!isTask} onChange={() => setParams('train', { ...FRESH, on: 'text' })} />text, at any hook</label>
      </fieldset>
      {!facts.task && facts.taskProblem && <p class="muted hint">{facts.taskProblem}</p>}
      {isTask ? <SiteFields facts={facts} params={params} spec={spec} /> : <TextFields choices={choices!} params={params} spec={spec} isFile={isFile} onFile={(chosen) => { setFile(chosen); setParams('train', { file: chosen?.name }); }} />}
      <KindFields choices={choices!} spec={spec} />
      <details open={MORE.some((name) => params[name] !== undefined)}>
        <summary>More settings</summary>
        <div class="train-more">
          <Amount name="lr" label="Learning rate" value={spec.learningRate} step="any" least="0" />
          <Amount name="batch" label="Examples a step" value={spec.batch} />
          {!isTask && <Amount name="round" label="Tokens shuffled together" value={spec.round} />}
          <Amount name="seed" label="Seed" value={spec.seed} least="0" />
          <Amount name="allowed" label="Memory allowed (MB)" value={spec.allowed / 1e6} />
        </div>
      </details>
      <div id="train-plan" role="status">
        {plan && <p class="train-plan">{planInWords(plan, isTask)}</p>}
        {problem && <Notice kind="error" id="train-problem">{problem}</Notice>}
        {!isTask && isFile && !file && <p class="train-plan muted">Choose a file of text.</p>}
      </div>
      <div><button class="primary" id="train-start" type="submit" disabled={!plan || isUnderWay()}>Train</button></div>
    </form>
  );
}

/** Settings that another kind of data, or of dictionary, has its own defaults for. */
const FRESH = { features: undefined, sparsity: undefined, lr: undefined, batch: undefined };
const MORE = ['lr', 'batch', 'round', 'seed', 'allowed'];

function planInWords({ examples, epochs, steps, width, total, memory, checkpoint }: TrainPlan, isTask: boolean): string {
  const largest = [...memory].sort((a, b) => b.bytes - a.bytes).slice(0, 3).map((one) => `${one.name} ${bytes(one.bytes)}`).join(', ');
  const what = isTask ? `${epochs} passes over ${count(examples)} activations` : `${epochs} rounds of ${count(examples)} activations`;
  return `${steps.toLocaleString('en')} steps: ${what} of width ${width}. It takes ${bytes(total)} on a device of its own (${largest}, …); a checkpoint, about ${bytes(checkpoint)}, is put by every few seconds.`;
}

interface Made { plan: TrainPlan | null; problem: string | null }

const NOTHING: Made = { plan: null, problem: null };

/** The plan of a run, made again when its settings or the model change; none until it is that of these settings. */
function usePlan(spec: TrainSpec | null): Made {
  const [made, setMade] = useState<Made & { of: string | null }>({ ...NOTHING, of: null });
  const of = spec && JSON.stringify([epoch.value, spec]);
  useEffect(() => {
    if (!spec) return;
    let current = true;
    const timer = setTimeout(async () => {
      try {
        const plan = await engine().train.plan(spec);
        if (current) setMade({ of, plan, problem: null });
      } catch (error) {
        if (current) setMade({ of, plan: null, problem: (error as Error).name === 'DeviceLostError' ? null : (error as Error).message });
      }
    }, PATIENCE);
    return () => { current = false; clearTimeout(timer); };
  }, [of]);
  return made.of === of ? made : NOTHING;
}

/** A number that the address holds where it is not the default. */
function Amount({ name, label, value, step = '1', least = '1' }: { name: string; label: string; value: number; step?: string; least?: string }) {
  const typed = paramsOf('train').value[name];
  return (
    <Field id={`train-${name}`} label={label}>
      {(id) => <input type="number" id={id} min={least} step={step} value={typed ?? String(value)} onInput={(event) => setParams('train', { [name]: event.currentTarget.value })}
        onBlur={(event) => { if (!event.currentTarget.value) setParams('train', { [name]: undefined }); }} />}
    </Field>
  );
}

/** A choice that the address holds. */
function Choice({ name, label, value, options, onChange = (chosen) => setParams('train', { [name]: chosen }) }: { name: string; label: string; value: string; options: readonly Option[]; onChange?: (value: string) => void }) {
  return <Field id={`train-${name}`} label={label}>{(id) => <Select id={id} value={value} options={options} onChange={onChange} />}</Field>;
}

function numbersTo(n: number): Option[] {
  return Array.from({ length: n }, (_, i) => ({ value: String(i), label: String(i) }));
}

function SiteFields({ facts, params, spec }: { facts: ModelFacts; params: Params; spec: TrainSpec }) {
  const site = siteOf(params, facts);
  return (
    <fieldset>
      <legend>Site</legend>
      <Choice name="kind" label="Activation" value={site.kind} options={Object.entries(KINDS).map(([value, label]) => ({ value, label }))} />
      <Choice name="layer" label="Layer" value={site.layer} options={numbersTo(facts.config.layers)} />
      <Choice name="head" label="Head" value={site.head} options={numbersTo(facts.config.heads)} />
      <Choice name="position" label="Position" value={site.position} options={facts.task!.positions.map((name) => ({ value: name, label: name }))} />
      <Amount name="prompts" label="Prompts" value={spec.prompts} least="2" />
      <Amount name="epochs" label="Passes" value={spec.epochs} />
    </fieldset>
  );
}

function TextFields({ choices, params, spec, isFile, onFile }: { choices: TrainChoices; params: Params; spec: TrainSpec; isFile: boolean; onFile: (file: File | null) => void }) {
  const hook = hookOf(params, choices);
  return (
    <fieldset>
      <legend>Hook and text</legend>
      <Choice name="hook" label="Hook" value={hook.name} onChange={(name) => setParams('train', { hook: name, hookHead: undefined, features: undefined })}
        options={choices.hooks.map(({ name, usable }) => ({ value: name, label: name, group: usable ? 'for the other panels too' : 'to download' }))} />
      {hook.heads > 0 && <Choice name="hookHead" label="Head" value={params.hookHead ?? ''} options={[{ value: '', label: 'all together' }, ...numbersTo(hook.heads)]} onChange={(head) => setParams('train', { hookHead: head || undefined, features: undefined })} />}
      <Choice name="text" label="Text" value={isFile ? 'file' : 'sampled'} options={[{ value: 'sampled', label: 'that the model writes' }, { value: 'file', label: 'of a file' }]} />
      {isFile
        ? <Field id="train-file" label="File (.txt, .jsonl, …)" hint="A copy is kept until the run is finished, so that it can go on later.">{(id) => <input type="file" id={id} accept={TEXT_FILES} onChange={(event) => onFile(event.currentTarget.files?.[0] ?? null)} />}</Field>
        : <>
          <Amount name="documents" label="Documents" value={(spec.text as { documents: number }).documents} />
          <Amount name="length" label="Tokens of each" value={(spec.text as { length: number }).length} least="2" />
        </>}
      <Amount name="tokens" label="Tokens to train on" value={spec.tokens} />
    </fieldset>
  );
}

function KindFields({ choices, spec }: { choices: TrainChoices; spec: TrainSpec }) {
  const { byK } = choices.variants.find(({ name }) => name === spec.variant)!;
  return (
    <fieldset>
      <legend>Dictionary</legend>
      <Choice name="variant" label="Variant" value={spec.variant} options={choices.variants.map(({ name }) => ({ value: name, label: name }))} onChange={(variant) => setParams('train', { variant, sparsity: undefined, lr: undefined })} />
      <Amount name="features" label="Features" value={spec.features} />
      <Amount name="sparsity" label={byK ? 'K, active features' : 'λ, weight of sparsity'} value={spec.sparsity} step="any" least={byK ? '1' : '0'} />
    </fieldset>
  );
}
