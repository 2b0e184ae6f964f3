// Prints what the page says on opening, for each URL, and in a browser without WebAssembly.
// Usage: node opening.js URL < ["path", ...]

import { readFileSync } from "node:fs";
import { openBrowser, settled, watchedPage } from "./browser.js";

const [url] = process.argv.slice(2);
const browser = await openBrowser();
const said = {};
for (const path of JSON.parse(readFileSync(0, "utf8"))) said[path] = await open(new URL(path, url).href);
said["without WebAssembly"] = await open(url, () => delete globalThis.WebAssembly);
await browser.close();
process.stdout.write(JSON.stringify(said));

async function open(address, before = () => {}) {
  const { page } = await watchedPage(browser);
  await page.addInitScript(before);
  await page.goto(address);
  await settled(page);
  const status = await page.textContent("#status");
  await page.context().close();
  return status;
}
