// Prints what the page says on opening, as it is and in a browser without WebAssembly. Usage: node opening.js URL

import { openBrowser, settled, watchedPage } from "./browser.js";

const [url] = process.argv.slice(2);
const browser = await openBrowser();
const said = {};
for (const name of ["as it is", "without WebAssembly"]) {
  const { page } = await watchedPage(browser);
  if (name !== "as it is") await page.addInitScript(() => delete globalThis.WebAssembly);
  await page.goto(url);
  await settled(page);
  said[name] = await page.textContent("#status");
}
await browser.close();
process.stdout.write(JSON.stringify(said));
