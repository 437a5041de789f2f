/** The device that tests share, and suites that check that no test leaks memory. */
import { suite, type Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Gpu } from '../../src/gpu/index.ts';
import { openGpu, type NodeOptions } from '../../src/node.ts';

let shared: Promise<Gpu> | null = null;

/** One device for all test files of a process. */
export function testGpu(): Promise<Gpu> {
  return (shared ??= ownGpu());
}

/** A device of a test's own; where tests are run with `--portable`, with no more than every browser gives. */
export function ownGpu(options: NodeOptions = {}): Promise<Gpu> {
  return openGpu({ portable: process.env.DIFFRACT_TEST_PORTABLE === '1', ...options });
}

type Body = () => void | Promise<void>;

/** A suite that asserts after each test that live and pooled bytes are back where they were before it. */
export function gpuSuite(name: string): ((title: string, body: Body) => void) & Pick<Test, 'run' | 'before' | 'after'> {
  const tests = suite(name);
  const add = (title: string, body: Body): void => tests(title, async () => {
    const gpu = await testGpu();
    await gpu.trim();
    const before = gpu.memory();
    await body();
    await gpu.trim();
    const { live, liveBuffers, pooled } = gpu.memory();
    assert.equal({ live, liveBuffers, pooled }, { live: before.live, liveBuffers: before.liveBuffers, pooled: 0 }, `${title}: memory was not given back`);
  });
  return Object.assign(add, { run: tests.run, before: tests.before, after: tests.after });
}
