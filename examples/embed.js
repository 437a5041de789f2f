// The engine in a page or a Web Worker, without a bundler. With one: from 'diffract'.
import { Gpt2, nextTokens, openGpu, openSource } from '../dist/browser/diffract.js';

export async function predict() {
  const model = await Gpt2.load(await openGpu(), openSource(new URL('../models/ioi-mini', import.meta.url).href));
  const [tokens, others] = ['Adam', 'Mary'].map((giver) => model.tokenizer.encode(`Mary and Adam went to the store. ${giver} gave a drink to`));
  const head = { hook: 'blocks.0.attn.hook_z', head: 3, positions: [tokens.length - 1] }; // it tells the model who gives
  const other = model.run([others], { captures: [head], logits: 'none' });
  const edited = { edits: [{ ...head, values: other.captured[0] }] };
  const rows = [];
  for (const options of [{}, edited]) rows.push(nextTokens(model, await model.run([tokens], options).logits.read(), 3)[0]);
  return { adapter: `${model.gpu.info.vendor} ${model.gpu.info.architecture}`, rows };
}

if (!globalThis.document) postMessage(await predict());
