// Takes pictures of the built page. Usage: node shots.js URL FOLDER
import { openBrowser, watchedPage } from "./browser.js";

const [url, folder] = process.argv.slice(2);
const browser = await openBrowser();
for (const [name, colorScheme, width] of [["light", "light", 800], ["dark", "dark", 800], ["narrow", "light", 360]]) {
  const { page } = await watchedPage(browser, { colorScheme, viewport: { width, height: 760 }, deviceScaleFactor: 1.5 });
  await page.goto(url);
  await page.waitForSelector("#result:not([hidden])");
  await page.hover("#words .word.for");
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  await page.context().close();
}
await browser.close();
