// How soon the built page shows itself, the adapter, the model and the first prediction in headless Chromium, each time in a fresh profile.
//   npm run build:web && node bench/page-load.mjs [TIMES]
import { inBrowser, whileServed } from './served-page.mjs';

const times = Number(process.argv[2] ?? 5);
/** What is awaited, by what finds it in the page. */
const MARKS = { 'the frame': 'nav', 'the adapter': '.features', 'the model': '#loaded-model', 'the first prediction': '#explore-predictions td' };

await whileServed(async (url) => {
  const runs = [];
  for (let i = 0; i < times; i++) runs.push(await inBrowser((browser) => load(browser, url)));
  const middle = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
  for (const name of ['first paint', ...Object.keys(MARKS)]) {
    const values = runs.map((run) => run[name]);
    console.log(`${name.padEnd(22)} ${String(middle([...values])).padStart(6)} ms   (${Math.min(...values)} to ${Math.max(...values)}, ${times} loads)`);
  }
});

async function load(browser, url) {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument((marks) => {
    const seen = window.seen = {};
    const look = () => { for (const [name, selector] of Object.entries(marks)) if (!(name in seen) && document.querySelector(selector)) seen[name] = Math.round(performance.now()); };
    new MutationObserver(look).observe(document, { subtree: true, childList: true });
  }, MARKS);
  await page.goto(url);
  await page.waitForSelector(MARKS['the first prediction'], { timeout: 60_000 });
  return page.evaluate(() => ({ 'first paint': Math.round(performance.getEntriesByName('first-contentful-paint')[0].startTime), ...window.seen }));
}
