// Prints how many words of a page stand higher or lower than the rest of their line, by what is painted, for each of
// some pixel densities: {density: [words, strays]}. Usage: node lines.js URL SELECTOR < texts.json
//
// The words must consist of the letter x alone, whose top is level. A page with a field for a text is given the first.

import { readFileSync } from "node:fs";
import { openBrowser, settled, watchedPage } from "./browser.js";

const DENSITIES = [1, 1.1, 1.25, 1.5, 1.75, 2, 3];

const [url, selector] = process.argv.slice(2);
const [text] = JSON.parse(readFileSync(0, "utf8"));
const browser = await openBrowser();
const found = {};
for (const deviceScaleFactor of DENSITIES) {
  const { page } = await watchedPage(browser, { viewport: { width: 700, height: 1200 }, deviceScaleFactor });
  await page.goto(url);
  if (text !== undefined) {
    await settled(page);
    await page.fill("#text", text);
    await page.click("#run");
    await settled(page);
  }
  const picture = (await page.screenshot({ fullPage: true })).toString("base64");
  const tops = await page.evaluate(topsOfWords, [picture, selector, deviceScaleFactor]);
  found[deviceScaleFactor] = [tops.flat().length, tops.reduce((sum, line) => sum + strays(line), 0)];
  await page.context().close();
}
await browser.close();
process.stdout.write(JSON.stringify(found));

/** How many of a line's tops differ from the commonest. */
function strays(tops) {
  const counts = tops.map((top) => tops.filter((other) => other === top).length);
  return tops.length - Math.max(...counts);
}

/** In the page: for each line of text the device rows in which its words' ink begins. */
async function topsOfWords([picture, selector, density]) {
  const image = new Image();
  image.src = `data:image/png;base64,${picture}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const lines = [];
  let before = -Infinity;
  for (const word of document.querySelectorAll(`${selector} span`)) {
    const box = word.getClientRects()[0];
    const padding = parseFloat(getComputedStyle(word).paddingTop);
    if (Math.abs(box.top + padding - before) > 8) lines.push([]); // lines are 30 px apart, strays a pixel at most
    before = box.top + padding;
    lines.at(-1).push(topOfInk(box, padding));
  }
  return lines;

  function topOfInk(box, padding) {
    const [left, top, width, height] = [box.left, box.top + padding, box.width, 0.8 * (box.height - 2 * padding)]
      .map((length) => Math.max(1, Math.floor(length * density)));
    const { data } = context.getImageData(left, top, width, height);
    const darkest = Array.from({ length: height }, (_, row) =>
      Math.min(...Array.from({ length: width }, (_, column) => data[4 * (row * width + column)])),
    );
    const half = (darkest[0] + Math.min(...darkest)) / 2; // darkest[0]: the highlight above the letters
    return top + darkest.findIndex((value) => value < half);
  }
}
