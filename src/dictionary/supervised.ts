/**
 * Supervised dictionaries (arXiv 2405.08366, section 3):  â(p) = ā + Σ_t u_{t = v_t(p)},  one feature active per term, with code 1.
 *
 * Terms come from a parametrization, codes u from a method (code-fit.ts). Mean codes of a term do not depend on which other terms there are,
 * and go to zero where the activation does not carry the term; terms that share signal are counted twice, which least squares avoids.
 *
 * An edit swaps the features of every term that the edited attributes occur in: with (IO, Pos) and (S, Pos) an edit of Pos swaps both.
 */
import { ShapeError } from '../errors.ts';
import { add, gatherRows, matmul, mul, reciprocalRows, scaleRows, sub, sumRows, Tensor } from '../tensor/index.ts';
import { Design, fitCodes, type AdamCodesOptions, type CodeMethod, type Decompose } from './code-fit.ts';
import type { CodeEdit, Dictionary, EditOptions, EditResult, Examples } from './dictionary.ts';
import { bindTerms, dependsOn, independent, termIds, type AttributeSpace, type Parametrization, type Term } from './parametrization.ts';

export interface FitOptions {
  /** The columns that the examples' labels may be taken from. */
  spaces: readonly AttributeSpace[];
  /** One term for each column unless given. */
  parametrization?: Parametrization;
  /** `mean` unless given; `mse`, least squares, only where the fit is awaited (`solve`). */
  method?: CodeMethod;
  /** For `mse-adam`. */
  adam?: AdamCodesOptions;
}

interface Swap {
  term: Term;
  /** Columns of the term that take the target's value. */
  changed: readonly string[];
}

export class SupervisedCodes implements Dictionary {
  /** `supervised` for independent mean codes, else `supervised METHOD PARAMETRIZATION`. */
  readonly name: string;
  readonly dIn: number;
  readonly features: number;
  readonly method: CodeMethod;
  readonly parametrization: Parametrization;
  /** Features `first` to `first + values − 1` are the combinations of the term's columns, the last column fastest. */
  readonly terms: readonly Term[];
  /** u of every feature, [features, dIn]; zero for values that the prompts never showed. */
  readonly vectors: Tensor;
  /** ā: [dIn]. */
  readonly mean: Tensor;

  private constructor(vectors: Tensor, mean: Tensor, terms: readonly Term[], parametrization: Parametrization, method: CodeMethod) {
    this.name = supervisedName(method, parametrization.name);
    this.vectors = vectors;
    this.mean = mean;
    this.terms = terms;
    this.parametrization = parametrization;
    this.method = method;
    this.features = vectors.shape[0]!;
    this.dIn = vectors.shape[1]!;
  }

  /**
   * Fits to activations [n, d] and their labels. Throws ShapeError if there are none or a value is out of range, UsageError for a column that is
   * not there, and for least squares, which `solve` fits.
   */
  static fit(examples: Examples, options: FitOptions): SupervisedCodes {
    return SupervisedCodes.fitSites([examples.activations], examples.attributes, options)[0]!;
  }

  /** Fits one dictionary to each site's activations [n, d] of the same prompts: what depends on labels alone is done once. */
  static fitSites(sites: readonly Tensor[], attributes: Examples['attributes'], options: FitOptions): SupervisedCodes[] {
    return SupervisedCodes.fitted(sites, attributes, options, null);
  }

  /** `fit` by any method: what least squares need is loaded with the first. */
  static async solve(examples: Examples, options: FitOptions): Promise<SupervisedCodes> {
    return (await SupervisedCodes.solveSites([examples.activations], examples.attributes, options))[0]!;
  }

  /** `fitSites` by any method. */
  static async solveSites(sites: readonly Tensor[], attributes: Examples['attributes'], options: FitOptions): Promise<SupervisedCodes[]> {
    return SupervisedCodes.fitted(sites, attributes, options, options.method === 'mse' ? (await import('./decompose.ts')).decomposeSymmetric : null);
  }

  private static fitted(sites: readonly Tensor[], attributes: Examples['attributes'], options: FitOptions, decompose: Decompose | null): SupervisedCodes[] {
    const [first] = sites;
    if (!first) return [];
    const { parametrization = independent(options.spaces), method = 'mean' } = options;
    for (const { shape } of sites) {
      if (shape.length !== 2 || shape[0] !== first.shape[0] || shape[1] !== first.shape[1]) throw new ShapeError(`sites fitted together need activations of one shape, not [${first.shape.join(', ')}] and [${shape.join(', ')}]`);
    }
    const terms = bindTerms(parametrization, options.spaces);
    const design = new Design(terms, attributes, first.shape[0]!);
    const fitted = first.gpu.scope(() => fitCodes(sites, design, method, options.adam, decompose));
    return fitted.map(({ vectors, mean }) => new SupervisedCodes(vectors, mean, terms, parametrization, method));
  }

  /** One-hot codes per term: [n, features]. */
  encode(examples: Examples): Tensor {
    const n = examples.activations.shape[0]!;
    const codes = new Float32Array(n * this.features);
    for (const term of this.terms) {
      const ids = termIds(term, examples.attributes, n);
      for (let row = 0; row < n; row++) codes[row * this.features + term.first + ids[row]!] = 1;
    }
    return Tensor.from(examples.activations.gpu, codes, [n, this.features]);
  }

  /** ā + codes · u: [n, dIn]. */
  decode(codes: Tensor): Tensor {
    return matmul(codes, this.vectors, { bias: this.mean });
  }

  /** Weight of u_i in r = Σ u, u_i·r / ‖r‖², at the active features: [n, features]. */
  contributions(codes: Tensor): Tensor {
    return codes.gpu.scope(() => {
      const along = reciprocalRows(matmul(codes, this.vectors));
      return mul(codes, matmul(along, this.vectors, { transposeB: true }));
    });
  }

  /** Whether every one of these attributes occurs in some term. */
  canEdit(attributes: readonly string[]): boolean {
    return attributes.every((attribute) => this.terms.some((term) => this.changed(term, [attribute]).length > 0));
  }

  /** Features that an edit takes out and puts in: 2 for an attribute in one term, 4 for Pos in coupled codes. Compare with an SAE's k. */
  changes(attributes: readonly string[], { method, coupledPosEdit = false }: Pick<EditOptions, 'method' | 'coupledPosEdit'> = {}): number {
    return this.swaps(attributes, coupledPosEdit).length * (method === 'subtract' ? 1 : 2);
  }

  /**
   * Swaps old features for new ones (arXiv 2405.08366, section 3 and A.9.3) on the actual activations, so that the reconstruction's error
   * stays. With c the old vector at unit length and m = ā·c:
   *   arithmetic             a − u_old + u_new                       zero-ablate   a − (a·c) c + u_new
   *   mean-ablate            a + (m − a·c) c + u_new                 subtract      a − u_old
   *   mean-ablate-broadcast  a + (m Σc − a·c) c + u_new, as released, where m is subtracted from every entry before the product
   * Of several terms all old vectors go in their order, then all new ones come. `k` is not read. Weight removed: Σ u_old·r / ‖r‖², r = Σ u.
   * Throws ShapeError for an attribute that no term has.
   */
  edit(source: Examples, target: Examples, { attributes, method = 'arithmetic', coupledPosEdit = false }: Pick<EditOptions, 'attributes' | 'method' | 'coupledPosEdit'>): EditResult {
    const { gpu } = source.activations;
    const n = source.activations.shape[0]!;
    const swaps = this.swaps(attributes, coupledPosEdit);
    return gpu.scope(() => {
      const along = reciprocalRows(this.signal(source, n));
      const oldCodes = swaps.map(({ term }) => this.rowsOf(term, termIds(term, source.attributes, n)));
      let activations = oldCodes.reduce((rest, old) => this.without(rest, old, method), source.activations);
      if (method !== 'subtract') {
        for (const { term, changed } of swaps) {
          const mixed = Object.fromEntries(term.columns.map((column) => [column, (changed.includes(column) ? target : source).attributes[column]!]));
          activations = add(activations, this.rowsOf(term, termIds(term, mixed, n)));
        }
      }
      if (oldCodes.length === 0) return { activations: activations.clone(), weightRemoved: Tensor.zeros(gpu, [n]) };
      return { activations, weightRemoved: sumRows(mul(oldCodes.reduce((sum, old) => add(sum, old)), along)) };
    });
  }

  /**
   * The same codes under another way of editing, for tests that take dictionaries: named after it, such as `supervised by zero-ablate`. It
   * reads this dictionary's tensors and frees nothing.
   */
  editedBy(method: CodeEdit, { coupledPosEdit = false }: Pick<EditOptions, 'coupledPosEdit'> = {}): Dictionary & Pick<SupervisedCodes, 'canEdit' | 'changes'> {
    return {
      name: `${this.name} by ${method}${coupledPosEdit ? ' of the last term' : ''}`,
      dIn: this.dIn,
      features: this.features,
      encode: (examples) => this.encode(examples),
      decode: (codes) => this.decode(codes),
      contributions: (codes) => this.contributions(codes),
      edit: (source, target, options) => this.edit(source, target, { ...options, method, coupledPosEdit }),
      canEdit: (attributes) => this.canEdit(attributes),
      changes: (attributes) => this.changes(attributes, { method, coupledPosEdit }),
      dispose: () => {},
    };
  }

  dispose(): void {
    this.vectors.dispose();
    this.mean.dispose();
  }

  /** The activations with an old vector taken out. */
  private without(activations: Tensor, old: Tensor, method: CodeEdit): Tensor {
    if (method === 'arithmetic' || method === 'subtract') return sub(activations, old);
    // A vector of zeros has no direction: it stays zero, and nothing is taken out.
    const unit = scaleRows(old);
    const along = sumRows(mul(activations, unit));
    if (method === 'zero-ablate') return sub(activations, scaleRows(unit, along));
    let level = sumRows(mul(unit, this.mean));
    if (method === 'mean-ablate-broadcast') level = mul(level, sumRows(unit));
    return add(activations, scaleRows(unit, sub(level, along)));
  }

  /** r = Σ_t u_{t = v_t}: [n, dIn]. */
  private signal(examples: Examples, n: number): Tensor {
    return this.terms.map((term) => this.rowsOf(term, termIds(term, examples.attributes, n))).reduce((sum, rows) => add(sum, rows));
  }

  private rowsOf(term: Term, ids: Uint32Array): Tensor {
    return gatherRows(this.vectors, Tensor.from(this.vectors.gpu, ids.map((id) => term.first + id), [ids.length]));
  }

  private changed(term: Term, attributes: readonly string[]): string[] {
    return term.columns.filter((column) => dependsOn(this.parametrization, column, attributes));
  }

  /** Terms that an edit swaps. With `lastOnly` each attribute swaps just the last of its terms. */
  private swaps(attributes: readonly string[], lastOnly: boolean): Swap[] {
    const wanted = new Set<Term>();
    for (const attribute of attributes) {
      const own = this.terms.filter((term) => this.changed(term, [attribute]).length > 0);
      if (own.length === 0) throw new ShapeError(`the supervised dictionary has no attribute ${attribute}; it has ${[...new Set(this.terms.flatMap(({ columns }) => columns))].join(', ')}`);
      for (const term of lastOnly ? own.slice(-1) : own) wanted.add(term);
    }
    return this.terms.filter((term) => wanted.has(term)).map((term) => ({ term, changed: this.changed(term, attributes) }));
  }
}

/** What a supervised dictionary is called: `supervised` for the main one, else `supervised METHOD PARAMETRIZATION`. */
export function supervisedName(method: CodeMethod, parametrization: string): string {
  return method === 'mean' && parametrization === 'independent' ? 'supervised' : `supervised ${method} ${parametrization}`;
}
