/**
 * The explore panel's side in the worker. Each kind of question is a job of its own, so that of those that wait only the newest is answered; what
 * crosses are top predictions and chosen tokens, never whole logits.
 */
import { directEffects } from '../../evaluation/index.ts';
import type { Answer, Attention, Effects, Interpretations, Interpreting, LensRow, PageShown, PromptAsked, SiteFeatures, SiteKindShown } from './explore-facts.ts';
import { FeatureViews, type FeaturesAsked } from './explore-features.ts';
import { answerOf, readPrompt } from './explore-prompt.ts';
import { attentionOf, lensAt, sizesAt } from './explore-site.ts';
import type { Session } from './session.ts';

export class ExploreEngine {
  private readonly views: FeatureViews;

  constructor(private readonly session: Session) {
    this.views = new FeatureViews(session);
  }

  /** Tokens, likeliest next tokens and the logit difference of a prompt: one run. Rejects with what is wrong with the prompt. */
  predict(asked: PromptAsked): Promise<Answer> {
    const { session } = this;
    return session.job('explore-predict', async () => {
      const { model, ioi } = session;
      const prompt = readPrompt(model, ioi, asked);
      const run = model.run([prompt.ids]);
      try {
        return answerOf(model, prompt, await run.logits!.read(), asked);
      } finally {
        run.dispose();
      }
    });
  }

  /** Direct effects of every component on logit(first) − logit(second) behind the last token. */
  effects(ids: readonly number[], first: number, second: number): Promise<Effects> {
    const { session } = this;
    return session.job('explore-effects', async () => (await directEffects(session.model, [ids], { first: [first], second: [second] }))[0]!);
  }

  /** Sizes of the activations of a kind at a position: [layers][heads or 1]. */
  sizes(ids: readonly number[], kind: SiteKindShown, position: number): Promise<number[][]> {
    const { session } = this;
    return session.job('explore-sizes', () => sizesAt(session.model, ids, kind, position));
  }

  attention(ids: readonly number[], layer: number, head: number, position: number, pair: [number, number] | null): Promise<Attention> {
    const { session } = this;
    return session.job('explore-attention', () => attentionOf(session.model, ids, { layer, head, position, pair }));
  }

  /** Likeliest tokens behind a position by the logit lens, layer by layer. */
  lens(ids: readonly number[], kind: SiteKindShown, position: number): Promise<LensRow[]> {
    const { session } = this;
    return session.job('explore-lens', () => lensAt(session.model, ids, kind, position));
  }

  features(asked: FeaturesAsked): Promise<SiteFeatures> {
    return this.session.job('explore-features', (signal) => this.views.at(asked, signal));
  }

  /** What features stand for on the task's prompts. The first question about a dictionary at a position takes a while. */
  interpretations(asked: Interpreting, features: readonly number[]): Promise<Interpretations> {
    return this.session.job('explore-interpretations', (signal) => this.views.interpretations(asked, features, signal));
  }

  page(asked: Interpreting, feature: number): Promise<PageShown> {
    return this.session.job('explore-page', (signal) => this.views.page(asked, feature, signal));
  }
}
