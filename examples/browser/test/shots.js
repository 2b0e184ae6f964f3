// Takes pictures of the built page on a desktop and a phone, light and dark. Usage: node shots.js URL FOLDER

import { openBrowser, settled, watchedPage } from "./browser.js";

const DESKTOP = { viewport: { width: 800, height: 600 }, deviceScaleFactor: 1.5 };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

const [url, folder] = process.argv.slice(2);
const browser = await openBrowser();
for (const [name, device] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
  const { page } = await watchedPage(browser, device);
  await page.goto(url);
  await settled(page);
  await page.click("#run"); // the first answer includes the warming up
  await settled(page);
  const word = page.locator("#words .word", { hasText: "parliament" });
  await (device.hasTouch ? word.tap() : word.hover());
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${folder}/${name}-${colorScheme}.png`, fullPage: true });
  }
}
await browser.close();
