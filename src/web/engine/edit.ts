/**
 * The edit panel's side in the worker: one prompt, edited at some sites by a dictionary, beside the clean run, the true patch and the counterfactual.
 * A run resumes the clean one, and all sites of a cross-section are edited together in one pass, as in the paper's test of control.
 */
import type { Dictionary, Examples } from '../../dictionary/index.ts';
import { LexiconError, ShapeError, UsageError } from '../../errors.ts';
import { evaluationDefaults, findSections } from '../../evaluation/index.ts';
import { divergences, nextTokens, tokenText, type Edit, type Gpt2, type Run } from '../../model/index.ts';
import { checkSite, formatSite, hookOf, parseSite, positionsOf, type IoiPrompts, type IoiTask, type Prompts, type SiteAddress } from '../../task/index.ts';
import { matmul, Tensor } from '../../tensor/index.ts';
import type { ActiveFeature, EditAsked, EditShown, FeatureChange, Said, SectionFound, SiteEdited, TaskChange } from './edit-facts.ts';
import type { OnProgress } from '../protocol.ts';
import { readPrompt, tokensOf } from './explore-prompt.ts';
import type { OpenDictionary, Session } from './session.ts';

const SHOWN = 6;

/** A prompt with what the task knows of it, or why it is none of the task. */
interface Sentence { text: string; ids: number[]; own: { task: IoiTask; prompts: IoiPrompts } | null; why: LexiconError | null }

export class EditEngine {
  private found: Promise<SectionFound[]> | null = null;

  constructor(private readonly session: Session) {
    session.onDrop(() => { this.found = null; });
  }

  /** Runs the prompt clean, edited, patched, and its counterfactual. Rejects, in one line, with what does not go together. */
  show(asked: EditAsked): Promise<EditShown> {
    const { session } = this;
    return session.job('edit', async (signal) => {
      const sentence = this.read(asked);
      if (asked.by === 'hand') return this.byHand(sentence, asked);
      if (!sentence.own) throw sentence.why ?? new UsageError('this model cannot do the task; features can be changed by hand in any prompt');
      const { own } = sentence;
      const sites = sitesOf(asked.sites, session);
      // Codes are fitted before the scope is opened: reading and fitting wait for the device.
      const dictionaries = new Map<string, { dictionary: Dictionary; name: string } | string>();
      for (const site of sites) dictionaries.set(formatSite(site), asked.by === 'supervised' ? { dictionary: await session.data.supervised(site, signal), name: 'supervised' } : this.dictionaryOf(site, asked.dictionary));
      const { change, prompts: other } = counterfactualOf(own, asked.change);
      return this.compare(asked, sentence, own.prompts, other, change, sites, dictionaries);
    });
  }

  /** The task's cross-sections that are published for the model, or those that patching finds; the latter takes a while the first time. */
  sections(onProgress?: OnProgress): Promise<SectionFound[]> {
    const { session } = this;
    return (this.found ??= session.job('edit-sections', async (signal) => {
      const { model, task } = session;
      if (!task) throw new UsageError('cross-sections are of the task, which this model cannot do');
      const known = task.crossSections(model.config);
      if (known) return known.sections.map(({ name, sites, edits }) => ({ name, sites: sites.map(formatSite), attributes: [...new Set((edits ?? []).flat())] }));
      const { sections } = await findSections(model, task, { ...evaluationDefaults.discovery, seed: 0, extra: [] }, { signal, onProgress: (done, total) => onProgress?.(done, total) });
      return sections.map(({ name, sites, edits }) => ({ name, sites: sites.map(formatSite), attributes: [...new Set((edits ?? []).flat())] }));
    }).catch((error) => { this.found = null; throw error; }));
  }

  private read({ text, seed }: EditAsked): Sentence {
    const { model, ioi } = this.session;
    let why: LexiconError | null = null;
    if (ioi) {
      try {
        const sampled = text ?? ioi.sample({ count: 1, seed }).texts[0]!;
        const own = ioi.read(sampled);
        return { text: own.prompts.texts[0]!, ids: own.prompts.tokens[0]!, own, why };
      } catch (error) {
        if (!(error instanceof LexiconError)) throw error;
        why = error;
      }
    }
    const prompt = readPrompt(model, ioi, { text, seed, bos: null, first: null, second: null });
    return { text: prompt.text, ids: prompt.ids, own: null, why };
  }

  private dictionaryOf(site: SiteAddress, wanted: string | null): { dictionary: Dictionary; name: string } | string {
    const fitting = [...this.session.dictionaries.values()].filter(({ facts }) => facts.hook === hookOf(site) && facts.head === site.head && (facts.site === null || facts.site === formatSite(site)));
    const chosen = fitting.find(({ facts }) => facts.id === wanted) ?? fitting[0];
    return chosen ? { dictionary: chosen.loaded.dictionary, name: chosen.facts.name } : 'no dictionary that is loaded reads it';
  }

  private async compare(
    asked: Extract<EditAsked, { by: 'supervised' | 'sae' }>, sentence: Sentence, prompts: IoiPrompts, other: IoiPrompts, change: NonNullable<EditShown['change']>,
    sites: readonly SiteAddress[], dictionaries: ReadonlyMap<string, { dictionary: Dictionary; name: string } | string>,
  ): Promise<EditShown> {
    const { model } = this.session;
    const captures = (of: Prompts) => sites.map((site) => ({ hook: hookOf(site), head: site.head, positions: positionsOf(of, site.position) }));
    const attributes = [...(change.io ? ['IO'] : []), ...(change.s ? ['S'] : []), ...(change.swap ? ['Pos'] : [])];
    const left: EditShown['left'] = [];
    const runs: Run[] = [];
    const made: Tensor[] = [];
    const run = (one: Run): Run => { runs.push(one); return one; };
    try {
      const clean = run(model.run(prompts.tokens, { keep: true, captures: captures(prompts) }));
      const counterfactual = run(model.run(other.tokens, { captures: captures(other) }));
      const changes: { edit: Edit; site: SiteAddress; from: Tensor; name: string; removed: Tensor }[] = [];
      for (const [i, site] of sites.entries()) {
        const found = dictionaries.get(formatSite(site))!;
        if (typeof found === 'string') {
          left.push({ site: formatSite(site), why: found });
          continue;
        }
        const source = examplesOf(prompts, clean.captured[i]!);
        const target = examplesOf(other, counterfactual.captured[i]!);
        const { activations, weightRemoved, changed } = asked.by === 'supervised'
          ? found.dictionary.edit(source, target, { attributes, k: 0, method: asked.method })
          : found.dictionary.edit(source, target, { attributes, k: asked.k, features: asked.features });
        made.push(activations, weightRemoved, ...(changed ? [changed] : []));
        changes.push({ edit: { hook: hookOf(site), head: site.head, positions: positionsOf(prompts, site.position), values: activations }, site, from: clean.captured[i]!, name: found.name, removed: weightRemoved });
      }
      if (changes.length === 0) throw new UsageError(`nothing can be edited: ${left.map(({ site, why }) => `${site}: ${why}`).join('; ')}`);
      const edited = run(model.run(prompts.tokens, { resume: clean, edits: changes.map(({ edit }) => edit) }));
      const patched = run(model.run(prompts.tokens, { resume: clean, edits: changes.map(({ edit, site }) => ({ ...edit, values: counterfactual.captured[sites.indexOf(site)]! })) }));
      const logits = await Promise.all([clean, edited, patched, counterfactual].map((one) => one.logits!.read()));
      const say = (i: number): Said => said(model, logits[0]!, logits[i]!, [prompts, other]);
      const rows: SiteEdited[] = [];
      for (const { edit, site, from, name, removed } of changes) rows.push({ site: formatSite(site), dictionary: name, weightRemoved: finite((await removed.read())[0]!), moved: await movedBy(from, edit.values) });
      return {
        text: sentence.text, tokens: tokensOf(model, sentence.ids), task: taskOf(prompts), change, counterfactualText: other.texts[0]!,
        clean: say(0), edited: say(1), patched: say(2), counterfactual: say(3), sites: rows, left, active: [], token: null,
      };
    } finally {
      for (const tensor of made) tensor.dispose();
      for (const one of runs) {
        for (const tensor of one.captured) tensor.dispose();
        one.dispose();
      }
    }
  }

  private async byHand(sentence: Sentence, asked: Extract<EditAsked, { by: 'hand' }>): Promise<EditShown> {
    const { model } = this.session;
    const open = this.session.dictionary(asked.dictionary);
    const { facts } = open;
    const token = tokenOf(sentence, asked.token, open);
    const prompts = sentence.own?.prompts ?? null;
    const capture = { hook: facts.hook, ...(facts.head === null ? {} : { head: facts.head }), positions: [token] };
    const clean = model.run([sentence.ids], { keep: true, captures: [capture] });
    let edited: Run | null = null;
    let values: Tensor | null = null;
    try {
      const from = clean.captured[0]!;
      const { codes, contributions } = await this.codesOf(open.loaded.dictionary, from);
      values = byChanges(open.loaded.dictionary, from, codes, asked.changes);
      edited = model.run([sentence.ids], { resume: clean, edits: [{ ...capture, values }] });
      const [before, after] = await Promise.all([clean.logits!.read(), edited.logits!.read()]);
      const active = [...codes.keys()].filter((feature) => codes[feature] !== 0)
        .map((feature): ActiveFeature => ({ feature, code: codes[feature]!, contribution: finite(contributions[feature]!) ?? 0 }))
        .sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution) || a.feature - b.feature);
      const say = (logits: Float32Array): Said => said(model, before, logits, prompts ? [prompts] : []);
      return {
        text: sentence.text, tokens: tokensOf(model, sentence.ids), task: prompts && taskOf(prompts), change: null, counterfactualText: null,
        clean: say(before), edited: say(after), patched: null, counterfactual: null, left: [], token, active: active.slice(0, 64),
        sites: [{ site: facts.site ?? `${facts.hook}${facts.head === null ? '' : `:${facts.head}`}`, dictionary: facts.name, weightRemoved: null, moved: await movedBy(from, values) }],
      };
    } finally {
      values?.dispose();
      edited?.dispose();
      for (const tensor of clean.captured) tensor.dispose();
      clean.dispose();
    }
  }

  private async codesOf(dictionary: Dictionary, activations: Tensor): Promise<{ codes: Float32Array; contributions: Float32Array }> {
    const [codes, contributions] = activations.gpu.scope(() => {
      const examples: Examples = { activations, attributes: {} };
      const encoded = dictionary.encode(examples);
      return [dictionary.additions?.(examples) ?? encoded, dictionary.contributions(encoded)] as const;
    });
    try {
      return { codes: await codes.read() as Float32Array, contributions: await contributions.read() as Float32Array };
    } finally {
      codes.dispose();
      contributions.dispose();
    }
  }
}

/** The written sites; UsageError for an empty list, UnknownSiteError for one that the model or task does not have. */
function sitesOf(written: readonly string[], { model, task }: Session): SiteAddress[] {
  if (written.length === 0) throw new UsageError('choose a site or a cross-section to edit at');
  return written.map((text) => {
    const site = parseSite(text, task?.positions);
    checkSite(site, model.config);
    return site;
  });
}

/** The prompt about other people. Where nothing is said, S becomes the first name of those for counterfactuals that is not in the prompt. */
function counterfactualOf({ task, prompts }: NonNullable<Sentence['own']>, { io, s, swap }: TaskChange): { change: NonNullable<EditShown['change']>; prompts: IoiPrompts } {
  const { names } = task.grammar;
  const own = prompts.details[0]!;
  const usual = s === null && io === null && !swap ? names.slice(task.splits.counterfactualS[0]).find((name) => name !== names[own.io] && name !== names[own.s]) : undefined;
  const newS = s ?? usual;
  const other = task.rewrite(prompts, { swap, ...(newS === undefined ? {} : { s: newS }), ...(io === null ? {} : { io }) });
  const after = other.details[0]!;
  return { prompts: other, change: { io: after.io === own.io ? '' : names[after.io]!, s: after.s === own.s ? '' : names[after.s]!, swap, names: [names[after.io]!, names[after.s]!] } };
}

function examplesOf(prompts: Prompts, activations: Tensor): Examples {
  return { activations, attributes: Object.fromEntries(Object.entries(prompts.attributes).map(([name, { ids }]) => [name, ids])) };
}

function taskOf(prompts: Prompts): EditShown['task'] {
  return {
    positions: Object.fromEntries(Object.entries(prompts.positions).map(([name, list]) => [name, list[0]!])),
    attributes: Object.fromEntries(Object.entries(prompts.attributes).map(([name, { values, ids }]) => [name, { value: values[ids[0]!]!, id: ids[0]! }])),
  };
}

/** From logits [vocabulary] to what is shown of them: top predictions, differences for the people of each table, KL from the clean ones. */
function said(model: Gpt2, clean: Float32Array, logits: Float32Array, tables: readonly Prompts[]): Said {
  const [own, other] = tables.map(({ correct, incorrect }) => logits[correct[0]!]! - logits[incorrect[0]!]!);
  return {
    predictions: nextTokens(model, logits, SHOWN)[0]!.map(({ id, probability, logit }) => ({ id, token: tokenText(model, id), probability, logit })),
    difference: own ?? null, otherDifference: other ?? null, divergence: divergences(model, clean, logits)[0]!,
  };
}

/** The token that features are changed at. */
function tokenOf({ ids, own }: Sentence, wanted: number | null, { facts }: OpenDictionary): number {
  if (wanted !== null) {
    if (wanted < ids.length) return wanted;
    throw new UsageError(`there is no token ${wanted}: the prompt has the tokens 0 to ${ids.length - 1}`);
  }
  const position = facts.site?.split('@')[2];
  return (position && own ? own.prompts.positions[position]?.[0] : undefined) ?? ids.length - 1;
}

/** a + Σ_j Δ_j d_j, with Δ_j = −code_j for a feature that is removed, (s − 1)·code_j for one that is scaled, and the value itself for one that is added. */
function byChanges(dictionary: Dictionary, activations: Tensor, codes: Float32Array, changes: readonly FeatureChange[]): Tensor {
  const deltas = changes.map(({ feature, how, value }) => {
    if (!Number.isInteger(feature) || feature < 0 || feature >= dictionary.features) throw new ShapeError(`there is no feature ${feature}: the dictionary has the features 0 to ${dictionary.features - 1}`);
    if (!Number.isFinite(value)) throw new UsageError(`feature ${feature}: ${how} needs a number`);
    return how === 'remove' ? -codes[feature]! : how === 'scale' ? (value - 1) * codes[feature]! : value;
  });
  if (changes.length === 0) return activations.clone();
  const { gpu } = activations;
  return gpu.scope(() => {
    const chosen = changes.map(({ feature }) => feature);
    const directions = dictionary.directions?.(chosen) ?? directionsOf(dictionary, chosen, gpu);
    return matmul(Tensor.from(gpu, Float32Array.from(deltas), [1, deltas.length]), directions, { bias: activations.reshape([activations.size]) });
  });
}

function directionsOf(dictionary: Dictionary, chosen: readonly number[], gpu: Gpt2['gpu']): Tensor {
  const codes = new Float32Array((chosen.length + 1) * dictionary.features);
  chosen.forEach((feature, row) => { codes[row * dictionary.features + feature] = 1; });
  const decoded = dictionary.decode(Tensor.from(gpu, codes, [chosen.length + 1, dictionary.features]));
  const minus = new Float32Array(chosen.length * (chosen.length + 1));
  chosen.forEach((_, row) => { minus[row * (chosen.length + 1) + row] = 1; minus[row * (chosen.length + 1) + chosen.length] = -1; });
  return matmul(Tensor.from(gpu, minus, [chosen.length, chosen.length + 1]), decoded);
}

/** ‖to − from‖ / ‖from‖ of one row. */
async function movedBy(from: Tensor, to: Tensor): Promise<number> {
  const [before, after] = [await from.read(), await to.read()];
  let [change, length] = [0, 0];
  for (let i = 0; i < before.length; i++) {
    change += (after[i]! - before[i]!) ** 2;
    length += before[i]! ** 2;
  }
  return Math.sqrt(change / Math.max(length, Number.MIN_VALUE));
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
