import * as assert from 'uvu/assert';
import { DeviceLostError, GpuOutOfMemoryError, GpuValidationError, LimitError, ShaderError } from '../../src/errors.ts';
import { defineKernel, fold, type Gpu } from '../../src/gpu/index.ts';
import { sizeClass } from '../../src/gpu/pool.ts';
import { openGpu } from '../../src/node.ts';
import { Tensor } from '../../src/tensor/index.ts';
import source from '../support/add.wgsl';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const kernel = defineKernel('test-add', source);
const test = gpuSuite('gpu');

function addScaled(x: Tensor, scale: number, shift: number, constants = {}): Tensor {
  const out = Tensor.empty(x.gpu, x.shape);
  const width = (constants as { WORKGROUP?: number }).WORKGROUP ?? 64;
  x.gpu.dispatch({ kernel, constants, bindings: [x, out], params: { count: x.size, scale, shift }, groups: Math.ceil(x.size / width) });
  return out;
}

/** A device of the test's own, closed afterwards. */
async function withGpu(options: Parameters<typeof openGpu>[0], run: (gpu: Gpu) => Promise<void>): Promise<void> {
  const gpu = await openGpu(options);
  try {
    await run(gpu);
  } finally {
    gpu.destroy();
  }
}

async function rejects(promise: Promise<unknown>, kind: new (...args: never[]) => Error, text: RegExp): Promise<void> {
  const error = await promise.then(() => null, (e: Error) => e);
  assert.instance(error, kind);
  assert.match(error!.message, text);
  assert.not(error!.message.includes('\n'), 'one line');
}

test('kernels run with parameters, constants and any size, zero included', async () => {
  const gpu = await testGpu();
  for (const n of [0, 1, 63, 64, 65, 1000]) {
    const data = random(n, n + 1);
    const x = Tensor.from(gpu, data, [n]);
    const plain = addScaled(x, 2, 0.5);
    const twice = addScaled(x, 2, 0.5, { TWICE: true, WORKGROUP: 32 });
    const [a, b] = await Promise.all([plain.read(), twice.read()]);
    assert.equal([...a], [...data].map((v) => Math.fround(2 * v + 0.5)));
    assert.equal([...b], [...a].map((v) => v * 2));
    for (const t of [x, plain, twice]) t.dispose();
  }
});

test('immediates and the uniform ring give the same bits, and the ring outlives its slots', async () => {
  const gpu = await testGpu();
  const data = random(100);
  await withGpu({ immediates: false }, async (ring) => {
    assert.is(ring.immediates, false);
    const inputs = [gpu, ring].map((g) => Tensor.from(g, data, [100]));
    const outputs = inputs.map((x) => addScaled(x, 3, -1));
    const [a, b] = await Promise.all(outputs.map((t) => t.read()));
    assert.equal(a, b);
    let sum = inputs[1]!.clone();
    for (let i = 0; i < 2500; i++) {
      const next = addScaled(sum, 1, i % 2 ? 1 : -1);
      sum.dispose();
      sum = next;
    }
    const last = await sum.read();
    assert.ok(last.every((v, i) => Math.abs(v - data[i]!) < 1e-4));
    for (const t of [...inputs, ...outputs]) t.dispose();
  });
});

test('work is recorded into one submit until something is read', async () => {
  const gpu = await testGpu();
  let x = Tensor.from(gpu, random(64), [64]);
  const { submits, dispatches } = gpu.counters();
  for (let i = 0; i < 20; i++) {
    const next = addScaled(x, 1, 1);
    x.dispose();
    x = next;
  }
  assert.is(gpu.counters().submits, submits);
  const other = addScaled(x, 0, 1);
  await Promise.all([x.read(), other.read()]);
  assert.is(gpu.counters().submits, submits + 1);
  assert.is(gpu.counters().dispatches, dispatches + 21);
  x.dispose();
  other.dispose();
});

test('uploads keep their place among recorded work', async () => {
  const gpu = await testGpu();
  const x = Tensor.from(gpu, [1, 2, 3, 4], [4]);
  const first = addScaled(x, 10, 0);
  x.write([5, 6, 7, 8]);
  const second = addScaled(x, 10, 0);
  // A buffer that recorded work still reads must not be handed to an upload.
  x.dispose();
  const third = Tensor.from(gpu, [0, 0, 0, 0], [4]);
  assert.equal([...await first.read()], [10, 20, 30, 40]);
  assert.equal([...await second.read()], [50, 60, 70, 80]);
  for (const t of [first, second, third]) t.dispose();
});

test('views share memory; a row view off alignment is a copy', async () => {
  const gpu = await testGpu();
  const data = random([6, 64]);
  const x = Tensor.from(gpu, data, [6, 64]);
  const aligned = x.rows(2, 3);
  const flat = aligned.reshape([-1]);
  const narrow = x.reshape([128, 3]);
  const copied = narrow.rows(1, 2);
  x.dispose();
  assert.is(flat.storage.id, aligned.storage.id);
  assert.is.not(copied.storage.id, narrow.storage.id);
  assert.equal(await flat.read(), data.slice(128, 320));
  assert.equal(await copied.read(), data.slice(3, 9));
  assert.throws(() => aligned.rows(2, 2), /rows 2 to 4/);
  assert.throws(() => aligned.reshape([7, -1]), /reshape/);
  assert.throws(() => Tensor.from(gpu, [1], [2]), /1 numbers do not fill/);
  assert.throws(() => x.storage, /after dispose/);
  for (const t of [aligned, flat, narrow, copied]) t.dispose();
});

test('scopes free all but what they return, also when they throw or wait', async () => {
  const gpu = await testGpu();
  const before = gpu.memory().live;
  const kept = gpu.scope(() => {
    const x = Tensor.from(gpu, random(64), [64]);
    const inner = gpu.scope(() => ({ pair: [addScaled(x, 1, 1), addScaled(x, 1, 2)] }));
    return new Map([['a', inner.pair[1]!]]);
  });
  assert.is(gpu.memory().liveBuffers >= 1, true);
  kept.get('a')!.dispose();
  assert.is(gpu.memory().live, before);
  assert.throws(() => gpu.scope(() => {
    Tensor.zeros(gpu, [64]);
    throw new Error('inside');
  }), /inside/);
  const sum = await gpu.scope(async () => {
    const x = Tensor.from(gpu, [1, 2, 3], [3]);
    return (await addScaled(x, 1, 0).read()).reduce((a, b) => a + b);
  });
  assert.is(sum, 6);
  let lifted: Tensor | undefined;
  gpu.scope(() => { lifted = gpu.keep(Tensor.from(gpu, [9], [1])); });
  assert.equal([...await lifted!.read()], [9]);
  lifted!.dispose();
  assert.is(gpu.memory().live, before);
});

test('dispatches fold beyond 65,535 workgroups', async () => {
  const gpu = await testGpu();
  assert.equal(fold(65535), [65535, 1, 1]);
  const [x, y] = fold(70001);
  assert.ok(x * y >= 70001 && x <= 65535);
  const n = 70001 * 2;
  const data = random(n);
  const input = Tensor.from(gpu, data, [n]);
  const out = addScaled(input, 1, 1, { WORKGROUP: 2 });
  const got = await out.read();
  assert.ok(got.every((v, i) => v === Math.fround(data[i]! + 1)));
  input.dispose();
  out.dispose();
});

test('a validation error rejects the pending read with its class, and the next read works', async () => {
  await withGpu({}, async (gpu) => {
    const x = Tensor.from(gpu, [1, 2], [2]);
    const bad = defineKernel('bad-usage', source);
    // The same buffer bound for reading and for writing is invalid.
    gpu.dispatch({ kernel: bad, bindings: [x, x], params: { count: 2, scale: 1, shift: 0 }, groups: 1 });
    await rejects(x.read(), GpuValidationError, /refused/);
    const y = addScaled(x, 1, 1);
    assert.equal([...await y.read()], [2, 3]);
  });
});

test('a kernel that does not compile names its line', async () => {
  await withGpu({}, async (gpu) => {
    const broken = defineKernel('broken', source.replace('let i =', 'let i = nothing +'));
    await rejects(gpu.prepare([{ kernel: broken }]), ShaderError, /broken: line \d+: .*nothing/);
    const x = Tensor.from(gpu, [1, 2], [2]);
    const out = Tensor.empty(gpu, [2]);
    gpu.dispatch({ kernel: broken, bindings: [x, out], params: { count: 2, scale: 1, shift: 0 }, groups: 1 });
    await rejects(out.read(), ShaderError, /broken: line/);
    assert.throws(() => gpu.dispatch({ kernel, constants: { NONE: 1 }, bindings: [x, out], params: {}, groups: 1 }), /no constant NONE/);
    assert.throws(() => gpu.dispatch({ kernel, bindings: [x, out], params: { count: 2 }, groups: 1 }), /parameter scale/);
  });
});

test('memory beyond the limit is refused, and freed memory can be used again', async () => {
  await withGpu({ memoryLimit: 3 * 2 ** 20 }, async (gpu) => {
    const first = Tensor.zeros(gpu, [2 ** 19]);
    assert.throws(() => Tensor.zeros(gpu, [2 ** 19]), (e: Error) => e instanceof GpuOutOfMemoryError && /2097152 more bytes/.test(e.message));
    first.dispose();
    const second = Tensor.zeros(gpu, [2 ** 18]);
    const third = Tensor.zeros(gpu, [2 ** 18]);
    assert.is((await third.read())[7], 0);
    second.dispose();
    assert.throws(() => gpu.allocate(gpu.limits.bufferBytes + 4), (e: Error) => e instanceof LimitError);
  });
});

test('an out-of-memory device rejects the pending read with its class', async () => {
  await withGpu({}, async (gpu) => {
    // The driver here overcommits, so the device's own report is put in its place.
    const pop = gpu.device.popErrorScope.bind(gpu.device);
    let scopes = 0;
    const x = Tensor.from(gpu, [1, 2], [2]);
    gpu.device.popErrorScope = async () => {
      const real = await pop();
      return ++scopes === 2 ? new GPUOutOfMemoryError('no memory for a buffer') : real;
    };
    await rejects(x.read(), GpuOutOfMemoryError, /no memory for a buffer/);
    gpu.device.popErrorScope = pop;
    assert.equal([...await x.read()], [1, 2]);
  });
});

test('a portable device has no optional feature, and the limits that every browser gives', async () => {
  const optional = ['shader-f16', 'subgroups', 'timestamp-query'];
  await withGpu({ portable: true }, async (gpu) => {
    assert.equal(optional.filter((feature) => gpu.features.has(feature)), []);
    assert.is(gpu.immediates, false);
    assert.is(gpu.subgroupSize, 0);
    assert.equal(gpu.limits, { bindingBytes: 2 ** 27, bufferBytes: 2 ** 28, workgroupInvocations: 256, workgroupBytes: 16384, storageBuffers: 8 });
    const { maxBindGroups, maxUniformBufferBindingSize, maxComputeWorkgroupSizeX, maxComputeWorkgroupsPerDimension } = gpu.device.limits;
    assert.equal([maxBindGroups, maxUniformBufferBindingSize, maxComputeWorkgroupSizeX, maxComputeWorkgroupsPerDimension], [4, 65536, 256, 65535]);
    // Withheld, not absent: a device that takes what there is has more.
    const { features, limits } = await testGpu();
    assert.ok(optional.some((feature) => features.has(feature)));
    assert.ok(limits.bufferBytes > gpu.limits.bufferBytes || limits.storageBuffers > gpu.limits.storageBuffers);
    const x = Tensor.from(gpu, random(100), [100]);
    assert.is((await addScaled(x, 2, 0).read()).length, 100);
  });
});

test('a lost device rejects pending and later reads, and never hangs', async () => {
  const gpu = await openGpu();
  const x = Tensor.from(gpu, random(1000), [1000]);
  const pending = x.read();
  await Promise.resolve();
  gpu.destroy();
  await rejects(pending, DeviceLostError, /lost/);
  await rejects(x.read(), DeviceLostError, /lost/);
  await rejects(gpu.idle().then(() => 'done'), DeviceLostError, /lost/);
  assert.throws(() => Tensor.zeros(gpu, [4]), (e: Error) => e instanceof DeviceLostError);
});

test('timing reports milliseconds and their source', async () => {
  const gpu = await testGpu();
  const x = Tensor.from(gpu, random(4096), [4096]);
  const made: Tensor[] = [];
  const { ms, source: from } = await gpu.time(() => { for (let i = 0; i < 4; i++) made.push(addScaled(x, 1, i)); });
  assert.ok(ms > 0 && ms < 10000);
  assert.ok(from === 'timestamp' || from === 'wall');
  for (const t of [x, ...made]) t.dispose();
});

test('size classes waste at most an eighth beyond 4 KiB and are multiples of 256', () => {
  for (const bytes of [1, 256, 257, 4096, 4097, 5000, 100000, 2 ** 20 + 1, 154389504]) {
    const size = sizeClass(bytes);
    assert.ok(size >= bytes && size % 256 === 0);
    if (bytes > 4096) assert.ok(size <= bytes * 1.125 + 256);
  }
});

test.run();
