/** Prompts of the task with their activations, and supervised codes fitted to them: made when first asked for, kept while the model is there. */
import { SupervisedCodes, type Examples } from '../../dictionary/index.ts';
import { UsageError } from '../../errors.ts';
import { seedsOf, withEveryValue } from '../../evaluation/index.ts';
import { collectActivations, formatPlace, type ActivationPlace, type Prompts } from '../../task/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import type { Session } from './session.ts';

/** Prompts that codes are fitted to: about ten for each name of the embedded model. */
const PROMPTS = 1000;
/** Places whose activations are kept; the one that was used longest ago goes first. */
const KEPT = 24;

interface Kept { activations: Tensor; codes: SupervisedCodes | null }

export class TaskData {
  private sampled: Prompts | null = null;
  private readonly places = new Map<string, Kept>();

  constructor(private readonly session: Session) {
    session.onDrop(() => this.clear());
  }

  private clear(): void {
    this.sampled = null;
    for (const key of [...this.places.keys()]) this.forget(key);
  }

  /** The prompts: every value of every attribute occurs. UsageError for a model that cannot do the task. */
  get prompts(): Prompts {
    const { task } = this.session;
    if (!task) throw new UsageError(`${this.session.model.name} cannot do the task: it lacks a tokenizer or the task’s words`);
    return (this.sampled ??= withEveryValue(task, task.training(PROMPTS, seedsOf(0).training), seedsOf(0).interpretability));
  }

  /** Each prompt's value of each attribute. */
  get attributes(): Examples['attributes'] {
    return Object.fromEntries(Object.entries(this.prompts.attributes).map(([name, { ids }]) => [name, ids]));
  }

  /** Activations of the prompts at a place, [prompts, width]. They stay this object's, and may go when other places are asked for: use them at once. */
  async activations(place: ActivationPlace, signal?: AbortSignal): Promise<Tensor> {
    return (await this.at(place, signal)).activations;
  }

  /** Mean codes of the attributes at a place (arXiv 2405.08366, section 3). They stay this object's. */
  async supervised(place: ActivationPlace, signal?: AbortSignal): Promise<SupervisedCodes> {
    const kept = await this.at(place, signal);
    const spaces = Object.entries(this.prompts.attributes).map(([name, { values }]) => ({ name, values: values.length }));
    return (kept.codes ??= SupervisedCodes.fit({ activations: kept.activations, attributes: this.attributes }, { spaces }));
  }

  private async at(place: ActivationPlace, signal?: AbortSignal): Promise<Kept> {
    const key = formatPlace(place);
    const known = this.places.get(key);
    if (known) this.places.delete(key);
    const kept = known ?? { activations: (await collectActivations(this.session.model, this.prompts, [place], { signal }))[0]!, codes: null };
    this.places.set(key, kept);
    const oldest = this.places.keys().next().value!;
    if (this.places.size > KEPT) this.forget(oldest);
    return kept;
  }

  private forget(key: string): void {
    const { activations, codes } = this.places.get(key)!;
    activations.dispose();
    codes?.dispose();
    this.places.delete(key);
  }
}
