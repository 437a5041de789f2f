import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../src/errors.ts';
import { logLine, parseLogLine, trainVariants, type LogRecord, type TrainVariant } from '../../src/training/index.ts';

const test = suite('training log');

/** A record as a run makes it: terms that a variant does not have are 0. */
function record(variant: TrainVariant): LogRecord {
  const byK = variant === 'topk' || variant === 'batchtopk';
  const l1_loss = byK || variant === 'jumprelu' ? 0 : 1.5;
  const l0_loss = variant === 'jumprelu' ? 0.75 : 0;
  const auxiliary = byK || variant === 'gated' ? 0.125 : 0;
  return {
    name: `${variant} blocks.2.hook_resid_post`, variant, step: 640, epoch: 10, training_samples: 655360, l1_coefficient: byK ? 0 : 0.5, k: byK ? 32 : null,
    loss: 6 + l1_loss + l0_loss + auxiliary, mse: 6, l1_loss, l0_loss, auxiliary_reconstruction_loss: auxiliary, l0: 31.5, dead_fraction: 0.25, dead_features: 64,
    mean_passes_since_fired: null, explained_variance: 0.9, learning_rate: 3e-4,
  };
}

test("lines have SAELens' names, and those of a variant's own terms alone", () => {
  const keys = (variant: TrainVariant, changes: Partial<LogRecord> = {}): string[] => Object.keys(JSON.parse(logLine({ ...record(variant), ...changes })));
  const [head, metrics, details] = [['name', 'variant', 'step', 'epoch', 'losses/overall_loss', 'losses/mse_loss'], ['metrics/explained_variance', 'metrics/l0', 'sparsity/dead_features'], ['details/current_learning_rate', 'details/n_training_samples']];
  for (const variant of ['vanilla', 'frozen'] as const) assert.equal(keys(variant), [...head, 'losses/l1_loss', ...metrics, ...details, 'details/l1_coefficient', 'dead_fraction']);
  assert.equal(keys('gated'), [...head, 'losses/l1_loss', 'losses/auxiliary_reconstruction_loss', ...metrics, ...details, 'details/l1_coefficient', 'dead_fraction']);
  assert.equal(keys('jumprelu'), [...head, 'losses/l0_loss', ...metrics, ...details, 'details/l0_coefficient', 'dead_fraction']);
  for (const variant of ['topk', 'batchtopk'] as const) assert.equal(keys(variant), [...head, 'losses/auxiliary_reconstruction_loss', ...metrics, ...details, 'k', 'dead_fraction']);
  assert.equal(keys('vanilla', { mean_passes_since_fired: 3.5 }), [...head, 'losses/l1_loss', ...metrics, 'sparsity/mean_passes_since_fired', ...details, 'details/l1_coefficient', 'dead_fraction']);
  const line = logLine(record('gated'));
  assert.ok(line.endsWith('}\n') && line.indexOf('\n') === line.length - 1);
  const values = JSON.parse(line);
  assert.equal(
    ['losses/overall_loss', 'losses/mse_loss', 'losses/l1_loss', 'losses/auxiliary_reconstruction_loss', 'metrics/l0', 'sparsity/dead_features', 'details/n_training_samples', 'details/l1_coefficient', 'details/current_learning_rate'].map((key) => values[key]),
    [7.625, 6, 1.5, 0.125, 31.5, 64, 655360, 0.5, 3e-4],
  );
});

test('a line is read as the record that it was written from', () => {
  for (const variant of trainVariants) for (const changes of [{}, { mean_passes_since_fired: 12.5 }, { explained_variance: -Infinity }] as Partial<LogRecord>[]) {
    const written = { ...record(variant), ...changes };
    assert.equal(parseLogLine(logLine(written)), written);
  }
});

test("lines of earlier versions, under the records' own names, are read too", () => {
  for (const variant of trainVariants) {
    const { training_samples, dead_features, mean_passes_since_fired, ...old } = record(variant);
    assert.equal(parseLogLine(JSON.stringify(old)), { ...record(variant), training_samples: null, dead_features: null, mean_passes_since_fired: null });
  }
});

test('what is no line of a log is refused with the file and what is missing', () => {
  const refused = (line: string, message: RegExp): void => assert.throws(() => parseLogLine(line, 'run/metrics.jsonl'), (e: unknown) => e instanceof FileError && message.test(e.message), line);
  refused('{"name": "vanilla a", "vari', /^run\/metrics\.jsonl: a line is no JSON: \{"name"/);
  for (const line of ['null', '3', '[]', '{}', '{"name": "a", "variant": "other"}']) refused(line, /^run\/metrics\.jsonl: a line is no record of training/);
  const { 'losses/mse_loss': mse, ...rest } = JSON.parse(logLine(record('topk')));
  assert.is(mse, 6);
  refused(JSON.stringify(rest), /a line of topk blocks\.2\.hook_resid_post has no number losses\/mse_loss/);
  refused(JSON.stringify({ ...rest, 'losses/mse_loss': '6' }), /no number losses\/mse_loss/);
});

test.run();
