// Prints how long one text takes in the built page's thread. Usage: node timing.js URL [TOKENS ...]

import { openBrowser, settled, watchedPage } from "./browser.js";

const [url, ...lengths] = process.argv.slice(2);
const browser = await openBrowser();
const { page } = await watchedPage(browser);
await page.goto(url);
await settled(page);
const rows = await page.evaluate(measure, lengths.length ? lengths.map(Number) : [64]);
for (const [tokens, median, fastest] of rows) {
  process.stdout.write(`${tokens} tokens: median ${median.toFixed(0)} ms, fastest ${fastest.toFixed(0)} ms of 20 texts\n`);
}
await browser.close();

async function measure(wanted) {
  const { Model } = await import("./model.js");
  const model = new Model(() => {});
  await model.load(new URL("./model/", document.baseURI).href);
  const rows = [];
  for (const count of wanted) {
    const text = "minister ".repeat(count - 2); // one token each, and two special ones
    const times = [];
    let result;
    for (let round = 0; round < 25; round++) {
      const began = performance.now();
      result = await model.explain(text, -1, -1);
      times.push(performance.now() - began);
    }
    const kept = times.slice(5).sort((a, b) => a - b); // the first ones warm up
    rows.push([result.tokens, (kept[9] + kept[10]) / 2, kept[0]]);
  }
  return rows;
}
