/** Training steps of a dictionary that no binding holds whole, in windows of features. A device with small bindings stands for a wide dictionary. */
import * as assert from 'uvu/assert';
import { LimitError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { SaeStep, type StepOptions } from '../../src/tensor/sae-step.ts';
import { padRows, partShape, saeParts, Tensor, vec4s, type SaePart, type SaeWeights } from '../../src/tensor/index.ts';
import { gpuSuite } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { dictionary64, forward64, gradients64, type Dictionary64, type Kind64, type Part64 } from '../support/sae-variants.ts';

const test = gpuSuite('wide dictionaries');
const WINDOW = 20480;
const small = await openGpu({ windowBytes: WINDOW });

const rows64 = (x: Float32Array, d: number): Float64Array[] => Array.from({ length: x.length / d }, (_, r) => Float64Array.from(x.subarray(r * d, (r + 1) * d)));

const kinds: Record<string, Kind64> = {
  vanilla: { variant: 'vanilla', sparsity: 0.5 },
  gated: { variant: 'gated', sparsity: 0.5 },
  'gated, signed': { variant: 'gated', sparsity: 2.5, signed: true },
  topk: { variant: 'topk', sparsity: 5 },
  'topk, signed': { variant: 'topk', sparsity: 3, signed: true },
  'topk of all': { variant: 'topk', sparsity: 1000 },
  batchtopk: { variant: 'batchtopk', sparsity: 4 },
  jumprelu: { variant: 'jumprelu', sparsity: 0.5, bandwidth: 0.4 },
};

function upload(p: Dictionary64, { variant, sparsity }: Kind64, x: Float32Array): { weights: SaeWeights; x: Tensor; pool: Tensor; mean: Tensor; sparsity: Tensor } {
  const { features, width } = p;
  const make = (part: SaePart): Tensor => {
    const raw = Tensor.from(small, Float32Array.from(p[part as Part64]), [1, ...partShape(part, { features, width })]);
    return ['encoder', 'decoder', 'decoderBias'].includes(part) ? padRows(raw) : raw;
  };
  return {
    weights: Object.fromEntries(saeParts(variant).map((part) => [part, make(part)])) as unknown as SaeWeights,
    x: padRows(Tensor.from(small, x, [1, x.length / width, width])), pool: Tensor.zeros(small, [1], 'u32'), mean: padRows(Tensor.from(small, random(width, 8), [1, width])),
    sparsity: Tensor.from(small, [sparsity], [1]),
  };
}

function close(name: string, found: ArrayLike<number>, wanted: ArrayLike<number>, most = 1e-5): void {
  const error = relativeError(found, wanted);
  assert.ok(error <= most, `${name}: ${error}`);
}

/** A step's gradients, counts and sums against the reference. */
async function checkStep(kind: Kind64, [n, d, F]: readonly [number, number, number], how: StepOptions, x = random(n * d, 6), p = dictionary64(F, d, 3, -0.1)): Promise<void> {
  const { weights, x: input, pool, mean, sparsity } = upload(p, kind, x);
  const width = vec4s(d) * 4;
  const { variant, signed, bandwidth, auxiliary } = kind;
  const step = new SaeStep(small, { dictionaries: 1, features: F, width, maxRows: n + 3 }, { variant, signed, bandwidth, auxiliary, ...how });
  try {
    assert.ok(step.featureWindows.length > 1);
    if (auxiliary) step.dead.write(Uint32Array.from(auxiliary.dead, Number));
    const [totals, more] = [Tensor.zeros(small, [1, 4]), Tensor.zeros(small, [1, 4])];
    // Twice, so that what the first left behind shows if anything reads it.
    step.train(input, pool, weights, sparsity, n);
    const before = await Promise.all(Object.values(step.gradients).map((g: Tensor) => g.readU32()));
    small.clear(step.fired, step.fired.byteLength);
    step.train(input, pool, weights, sparsity, n, { mean, totals, auxiliary: more });
    assert.equal(await Promise.all(Object.values(step.gradients).map((g: Tensor) => g.readU32())), before);
    const data = rows64(x, d);
    const expected = gradients64(p, data, kind);
    for (const part of saeParts(variant)) {
      const found = await step.gradients[part]!.read();
      const cut = ['encoder', 'decoder', 'decoderBias'].includes(part) ? Array.from({ length: found.length / width * d }, (_, i) => found[Math.floor(i / d) * width + (i % d)]!) : found;
      close(part, cut, expected[part as Part64]);
    }
    const { codes, gates, dead } = forward64(p, data, kind);
    assert.equal([...await step.fired.readU32()], Array.from({ length: F }, (_, f) => codes.filter((row) => row[f] !== 0).length));
    const figures = (c: number[][]): number[] => [
      data.reduce((s, row, r) => s + row.reduce((a, v, k) => a + (c[r]!.reduce((b, code, f) => b + code * p.decoder[f * d + k]!, p.decoderBias[k]! - v)) ** 2, 0), 0),
      c.flat().reduce((a, b) => a + b, 0), c.flat().filter((v) => v !== 0).length,
    ];
    const center = random(d, 8);
    close('sums', await totals.read(), [...figures(codes), data.reduce((s, row) => s + row.reduce((a, v, k) => a + (v - center[k]!) ** 2, 0), 0)]);
    if (variant === 'gated') close('sums of gates', (await more.read()).subarray(0, 3), figures(gates));
    if (auxiliary) {
      const joined = figures(codes.map((row, r) => row.map((v, f) => v + dead[r]![f]!)));
      close('sums of dead features', (await more.read()).subarray(0, 3), [joined[0]!, ...figures(dead).slice(1)]);
    }
    if (variant === 'batchtopk') close('smallest kept', await step.batchThreshold.read(), [Math.min(...codes.flat().filter((v) => v > 0))]);
    const losses = step.losses(input, pool, weights, mean, n, false, { sparsity });
    const each = await losses.read();
    losses.dispose();
    close('losses', [0, 1, 2].map((i) => each.reduce((sum, v, at) => (at % 4 === i ? sum + v : sum), 0)), figures(codes));
  } finally {
    step.dispose();
  }
}

/** Odd sizes and the last window smaller; windows even and odd in number; codes or matrices that are what does not fit. */
const shapes = [[9, 8, 900], [31, 6, 197], [17, 72, 190]] as const;
for (const [i, [name, kind]] of Object.entries(kinds).entries()) {
  const paths = kind.variant === 'vanilla' || kind.variant.endsWith('topk') ? ['sparse', 'dense'] as const : ['dense'] as const;
  for (const path of paths) {
    test(`gradients of a wide ${name} dictionary, ${path}`, () => small.scope(async () => {
      // As for a CPU driver and as for a GPU, in turn; the path that the kind takes by itself at two shapes.
      const software = (path === 'sparse') === (i % 2 === 0);
      await checkStep(kind, shapes[i % 3]!, { path, software });
      if (path === paths[0]) await checkStep(kind, shapes[(i + 1) % 3]!, { path, software: small.software });
    }));
  }
  if (name === 'topk' || name === 'batchtopk') {
    test(`gradients of a wide ${name} dictionary with dead features`, () => small.scope(async () => {
      const [n, d, F] = shapes[i % 2]!;
      await checkStep({ ...kind, auxiliary: { k: 7, coefficient: 0.7, dead: Array.from({ length: F }, (_, f) => f % 3 === 0) } }, [n, d, F], {});
    }));
  }
}

test('of equal codes those of the first windows are kept', () => small.scope(async () => {
  const [n, d, F] = [12, 4, 900];
  const once = random(4 * d, 6);
  const x = Float32Array.from([...once, ...once, ...once]);
  // Features come three times too, in windows far apart.
  const p = dictionary64(F, d, 3);
  for (const [part, width] of [['encoder', d], ['encoderBias', 1]] as const) p[part].forEach((_, i) => { p[part][i] = p[part][i % (300 * width)]!; });
  for (const k of [1, 4]) for (const variant of ['topk', 'batchtopk'] as const) await checkStep({ variant, sparsity: k }, [n, d, F], {}, x, p);
}));

test('what cannot be cut is refused', () => {
  const refused = (features: number, width: number, maxRows: number): void => assert.throws(() => new SaeStep(small, { dictionaries: 1, features, width, maxRows }), (e: unknown) => e instanceof LimitError && e.message.includes(String(WINDOW)));
  refused(400, 84, 40);
  refused(400, 8, 300);
  refused(6000, 4, 4);
});

test.after(() => small.destroy());
test.run();
