/** Matrix products: GPT-2 Small's and the embedded model's, SAE widths, and every kernel that can take a shape. */
import { Tensor, matmul } from '../src/tensor/index.ts';
import { matmulVariants, type MatmulVariant } from '../src/tensor/matmul-plan.ts';
import type { Case } from './measure.ts';
import { inputs, relative, spread } from './numbers.ts';

interface Product { batch?: number; m: number; k: number; n: number; transposeA?: boolean; transposeB?: boolean; long?: boolean; what: string; variant?: MatmulVariant }

const products: Product[] = [
  { m: 1216, k: 128, n: 384, what: 'ioi-mini q, k, v of 64 prompts' },
  { m: 1216, k: 512, n: 128, what: 'ioi-mini MLP out of 64 prompts' },
  { batch: 12, m: 256, k: 32, n: 256, what: '12 small SAEs, encoder' },
  { batch: 12, m: 256, k: 256, n: 32, what: '12 small SAEs, decoder' },
  { batch: 12, m: 32, k: 256, n: 256, transposeA: true, what: '12 small SAEs, weight gradient' },
  { batch: 12, m: 256, k: 32, n: 256, transposeB: true, what: '12 small SAEs, code gradient' },
  { m: 515, k: 133, n: 277, what: 'odd sizes' },
  { m: 256, k: 256, n: 256, what: 'square' },
  { m: 1, k: 768, n: 3072, what: 'GPT-2 Small MLP in, 1 row' },
  { m: 19, k: 768, n: 2304, what: 'GPT-2 Small q, k, v, 19 rows' },
  { m: 128, k: 768, n: 768, what: 'GPT-2 Small attention out, 128 rows' },
  { m: 128, k: 768, n: 3072, what: 'GPT-2 Small MLP in, 128 rows' },
  { m: 1, k: 768, n: 50257, transposeB: true, what: 'GPT-2 Small logits of one position' },
  { m: 128, k: 3072, n: 768, long: true, what: 'GPT-2 Small MLP out, 128 rows' },
  { m: 1024, k: 768, n: 2304, long: true, what: 'GPT-2 Small q, k, v, 1,024 rows' },
  { m: 1024, k: 1024, n: 1024, long: true, what: 'square' },
];

export function matmulCases(): Case[] {
  const chosen = products.map((p) => matmulCase(p));
  const compared: Product = { m: 256, k: 768, n: 768, what: 'each kernel at one shape' };
  return [...chosen, ...matmulVariants.map((variant) => matmulCase({ ...compared, variant }))];
}

function matmulCase(p: Product): Case {
  const { batch = 1, m, k, n, transposeA = false, transposeB = false, variant } = p;
  const head = p.batch ? [batch] : [];
  return {
    kernel: `matmul${variant ? ` (${variant})` : ''}`,
    shape: `${p.batch ? `${batch} × ` : ''}${m}×${k}×${n}${transposeA ? ' aᵀ' : ''}${transposeB ? ' bᵀ' : ''}, ${p.what}`,
    flops: 2 * batch * m * n * k,
    bytes: 4 * batch * (m * k + k * n + m * n),
    long: p.long,
    prepare(gpu) {
      const x = inputs(batch * m * k, 1);
      const y = inputs(batch * k * n, 2);
      const a = Tensor.from(gpu, x, [...head, ...(transposeA ? [k, m] : [m, k])]);
      const b = Tensor.from(gpu, y, [...head, ...(transposeB ? [n, k] : [k, n])]);
      const product = (): Tensor => matmul(a, b, { transposeA, transposeB, variant });
      return {
        run: () => product().dispose(),
        async check() {
          const out = product();
          const got = await out.read();
          out.dispose();
          return relative(spread(got.length, 400).map((at) => {
            const [z, i, j] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
            let sum = 0;
            for (let q = 0; q < k; q++) sum += x[z * m * k + (transposeA ? q * m + i : i * k + q)]! * y[z * k * n + (transposeB ? j * k + q : q * n + j)]!;
            return [got[at]!, sum] as const;
          }));
        },
        dispose() {
          a.dispose();
          b.dispose();
        },
      };
    },
  };
}
