// Prints how long one text takes in the built page's thread, and how much of the processor's time: on a busy machine the
// second is the one to compare. Usage: node timing.js URL [TOKENS ...]

import { openBrowser, settled, watchedPage } from "./browser.js";

const ROUNDS = 21;

const [url, ...lengths] = process.argv.slice(2);
const browser = await openBrowser();
const system = await browser.newBrowserCDPSession();
const { page } = await watchedPage(browser);
await page.goto(url);
await settled(page);
await page.evaluate(async () => {
  const { Model } = await import("./model.js");
  globalThis.model = new Model(() => {});
  await globalThis.model.load(new URL("./model/", document.baseURI).href);
});
for (const wanted of lengths.length ? lengths.map(Number) : [64]) {
  await page.evaluate(explain, [wanted, 5]); // warms up
  const before = await processorTime();
  const { tokens, times } = await page.evaluate(explain, [wanted, ROUNDS]);
  const spent = (await processorTime()) - before;
  const median = times.sort((a, b) => a - b)[(ROUNDS - 1) / 2];
  process.stdout.write(
    `${tokens} tokens: median ${median.toFixed(0)} ms, fastest ${times[0].toFixed(0)} ms, ` +
      `${((1000 * spent) / ROUNDS).toFixed(0)} ms of processor time a text, over ${ROUNDS} texts\n`,
  );
}
await browser.close();

async function explain([tokens, rounds]) {
  const text = "minister ".repeat(tokens - 2); // one token each, and two special ones
  const times = [];
  let result;
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    result = await globalThis.model.explain(text, -1, -1);
    times.push(performance.now() - began);
  }
  return { tokens: result.tokens, times };
}

/** Seconds that the browser's pages have computed. */
async function processorTime() {
  const { processInfo } = await system.send("SystemInfo.getProcessInfo");
  return processInfo.filter(({ type }) => type === "renderer").reduce((total, { cpuTime }) => total + cpuTime, 0);
}
