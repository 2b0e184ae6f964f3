// Takes pictures of the built page, light, dark and narrow. Usage: node shots.js URL FOLDER

import { openBrowser, settled, watchedPage } from "./browser.js";

const LOOKS = [
  ["light", "light", 800],
  ["dark", "dark", 800],
  ["narrow", "light", 360],
];

const [url, folder] = process.argv.slice(2);
const browser = await openBrowser();
const { page } = await watchedPage(browser, { deviceScaleFactor: 1.5 });
await page.goto(url);
await settled(page);
await page.click("#run"); // the first answer includes the warming up
await settled(page);
for (const [name, colorScheme, width] of LOOKS) {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize({ width, height: 760 });
  await page.locator("#words .word", { hasText: "parliament" }).hover();
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}
await browser.close();
