// Takes the README's pictures, of the built page and of a demo's explained texts, and prints as JSON what each shows.
// Usage: node pictures.js PAGE_URL EXPLANATIONS_URL FOLDER

import { openBrowser, settled, watchedPage } from "./browser.js";

const DENSITY = 1.5;

const [pageUrl, explanationsUrl, folder] = process.argv.slice(2);
const browser = await openBrowser();
const shown = { "browser.png": await takePage(), "explanations.png": await takeExplanations() };
await browser.close();
process.stdout.write(JSON.stringify(shown));

/** The page's first answer, with the pointer on a word. */
async function takePage() {
  const { page } = await open(pageUrl, { width: 800, height: 600 });
  await settled(page);
  await page.click("#run"); // the first answer includes the warming up
  await settled(page);
  await page.locator("#words .word", { hasText: "parliament" }).hover();
  await page.screenshot({ path: `${folder}/browser.png`, fullPage: true });
  return page.locator("main").innerText();
}

/** The first three texts and all that come before the first mistake, with that. */
async function takeExplanations() {
  const { page } = await open(explanationsUrl, { width: 900, height: 900 });
  const sections = await page.locator("section").allInnerTexts();
  const mistake = sections.findIndex((text) => text.startsWith("✗"));
  const last = Math.max(2, mistake);
  const { y, height } = await page.locator("section").nth(last).boundingBox();
  const clip = { x: 0, y: 0, width: 900, height: Math.ceil(y + height + 24) };
  await page.screenshot({ path: `${folder}/explanations.png`, fullPage: true, clip });
  return (await page.locator("h1, .lead").allInnerTexts()).concat(sections.slice(0, last + 1)).join("\n\n");
}

async function open(url, viewport) {
  const watched = await watchedPage(browser, { viewport, deviceScaleFactor: DENSITY, colorScheme: "light" });
  await watched.page.goto(url);
  return watched;
}
