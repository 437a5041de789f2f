/**
 * Greater-than (Hanna et al., arXiv 2305.00586, as arXiv 2405.08366's released code evaluates it): "The war lasted from the year 1703 to the
 * year 17" is to be continued with a year after 03. One attribute, YY. Only models that read years as "17" and two more digits, each one
 * token, can be asked: GPT-2's vocabulary does.
 */
import { LexiconError } from '../errors.ts';
import { gatherElements, mul, softmax, sumRows, Tensor } from '../tensor/index.ts';
import type { TaskTokenizer } from './lexicon.ts';
import type { Prompts } from './prompts.ts';
import { isGpt2SmallShape, type KnownSections, type ModelShape } from './task.ts';
import type { TemplateTaskFile } from './task-file.ts';
import { TemplateTask } from './template-task.ts';

/** Things that last: 120 nouns, each one token of GPT-2's vocabulary after a space. */
export const GREATER_THAN_NOUNS: readonly string[] = (
  'war battle siege conflict fight struggle crisis drought famine plague epidemic storm flood fire winter summer voyage journey expedition '
  + 'mission campaign crusade quest hunt pursuit search trial debate dispute quarrel argument controversy scandal investigation inquiry hearing '
  + 'negotiation treaty truce alliance peace pact agreement contract marriage engagement wedding romance affair friendship partnership '
  + 'reign rule regime dynasty empire monarchy republic occupation invasion rebellion revolt uprising revolution coup riot protest strike '
  + 'boycott blockade embargo ban tax policy program project plan experiment study survey construction restoration renovation repair work '
  + 'production tour exhibition festival tournament competition contest race game season career leadership education course training '
  + 'imprisonment exile sentence captivity absence silence recession depression panic boom growth decline trade business investment migration settlement '
  + 'custom tradition era'
).split(' ');

/** 01 to 19. */
export const GREATER_THAN_YEARS: readonly string[] = Array.from({ length: 19 }, (_, i) => twoDigits(i + 1));
/** Values of scored prompts; the others are those of counterfactuals. */
const SCORED_YEARS = 9;

export interface GreaterThanOptions {
  /** Released behaviour `greater-than-years`: counterfactual years are drawn from all 19, that of the prompt included. */
  allYears?: boolean;
  prependBos?: boolean;
}

export class GreaterThanTask extends TemplateTask {
  /** Tokens of 00 to 99. */
  readonly years: Uint32Array;

  /** Throws LexiconError if the tokenizer does not read years, nouns and all as this task needs them. */
  constructor(tokenizer: TaskTokenizer, options: GreaterThanOptions = {}) {
    super(tokenizer, greaterThanFile(options), 'greater-than', { mayRepeat: options.allYears });
    this.years = Uint32Array.from({ length: 100 }, (_, year) => {
      const id = tokenizer.single(twoDigits(year));
      if (id === null) throw new LexiconError(`greater-than: the year "${twoDigits(year)}" is not a single token of the model's tokenizer`);
      return id;
    });
    // The last two digits of a year follow a token of the first two, in the question as in the answer.
    if (tokenizer.single(' 17') === null) throw new LexiconError('greater-than: " 17" is not a single token of the model\'s tokenizer');
  }

  /** The seven heads of the released code, joint, for GPT-2 Small. */
  override crossSections(model: ModelShape): KnownSections | null {
    if (!isGpt2SmallShape(model)) return null;
    const heads = [[5, 1], [5, 5], [6, 1], [6, 9], [7, 10], [8, 8], [8, 11]] as const;
    return {
      origin: 'published',
      sections: [{ name: 'greater-than out', sites: heads.map(([layer, head]) => ({ kind: 'z', layer, head, position: 'end' })), edits: [['YY']] }],
    };
  }

  /**
   * Σ p(y) over years y > YY − Σ p(y) over y ≤ YY, y from 00 to 99 and p over the whole vocabulary: [n]. The released code's scalar metric,
   * which stands there unfinished. `logits` [n, vocabulary] are those after each prompt.
   */
  probabilityDifference(logits: Tensor, prompts: Prompts): Tensor {
    const { gpu } = logits;
    const signs = new Float32Array(100 * prompts.count);
    const years = new Uint32Array(100 * prompts.count);
    for (let i = 0; i < prompts.count; i++) {
      years.set(this.years, 100 * i);
      for (let year = 0; year < 100; year++) signs[100 * i + year] = year > this.year(prompts, i) ? 1 : -1;
    }
    return gpu.scope(() => sumRows(mul(
      gatherElements(softmax(logits), Tensor.from(gpu, years, [prompts.count, 100])), Tensor.from(gpu, signs, [prompts.count, 100]),
    )));
  }

  /** Share of prompts whose most likely next token is a year after YY. `predictions` are token ids, one per prompt. */
  yearAccuracy(predictions: ArrayLike<number>, prompts: Prompts): number {
    let right = 0;
    for (let i = 0; i < prompts.count; i++) if (this.years.indexOf(predictions[i]!) > this.year(prompts, i)) right++;
    return right / prompts.count;
  }

  private year(prompts: Prompts, i: number): number {
    const { values, ids } = prompts.attributes.YY!;
    return Number(values[ids[i]!]);
  }
}

/**
 * The task as a task file has it. For logit differences, right is the year after YY and wrong the year before: the nearest on either side
 * and equally far.
 */
export function greaterThanFile({ allYears = false, prependBos = true }: GreaterThanOptions = {}): TemplateTaskFile {
  const neighbours = (step: number) => Object.fromEntries(GREATER_THAN_YEARS.map((year) => [year, twoDigits(Number(year) + step)]));
  return {
    name: 'greater-than',
    prependBos,
    templates: [{ text: 'The [noun] lasted from the year 17[YY] to the year 17' }],
    slots: {
      noun: { values: [...GREATER_THAN_NOUNS], multiToken: false },
      YY: {
        values: [...GREATER_THAN_YEARS], evaluation: GREATER_THAN_YEARS.slice(0, SCORED_YEARS), multiToken: false,
        ...(allYears ? {} : { counterfactual: GREATER_THAN_YEARS.slice(SCORED_YEARS) }),
      },
    },
    distinct: [],
    attributes: ['YY'],
    positions: { yy: { slot: 'YY', mention: 1, offset: 0 } },
    answers: { correct: { slot: 'YY', tokens: neighbours(1) }, incorrect: { slot: 'YY', tokens: neighbours(-1) } },
  };
}

function twoDigits(year: number): string {
  return String(year).padStart(2, '0');
}
