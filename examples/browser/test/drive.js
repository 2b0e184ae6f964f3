// Puts questions to the built page, as a reader would, and prints what it shows as JSON.
//
// Usage: node drive.js URL < questions.json. A question is {text: [UTF-16 units], target, contrast}; the last two are
// label indices or null. Texts travel as numbers: JSON over the wire does not carry lone surrogates.

import { readFileSync } from "node:fs";
import { openBrowser, settled, watchedPage } from "./browser.js";

const [url] = process.argv.slice(2);
const questions = JSON.parse(readFileSync(0, "utf8"));
const browser = await openBrowser();
try {
  const { page, requests, complaints } = await watchedPage(browser);
  await page.goto(url);
  await settled(page);
  const answers = [];
  for (const question of questions) answers.push(await ask(page, question));
  const leak = await page.evaluate(() => fetch("http://127.0.0.1:9/").then(String, (error) => error.name));
  process.stdout.write(JSON.stringify({ answers, requests, complaints, leak }));
} finally {
  await browser.close();
}

async function ask(page, { text, target, contrast }) {
  await page.evaluate((units) => {
    document.getElementById("text").value = String.fromCharCode(...units);
  }, text);
  await page.click("#run");
  await settled(page);
  if (target !== null) {
    const names = await page.$$eval("#contrast option", (options) => options.map((option) => option.textContent));
    await page.locator(".label", { hasText: names[target + 1] }).click();
    await settled(page);
  }
  if (contrast !== null) {
    await page.selectOption("#contrast", String(contrast));
    await settled(page);
  }
  return page.evaluate(() => {
    const units = (string) => Array.from({ length: string.length }, (_, index) => string.charCodeAt(index));
    const words = document.getElementById("words");
    let position = 0;
    const scores = [];
    for (const node of words.childNodes) {
      const end = position + node.textContent.length;
      if (node.dataset?.score) scores.push([position, end, Number(node.dataset.score)]);
      position = end;
    }
    return {
      status: document.getElementById("status").textContent,
      hidden: document.getElementById("result").hidden,
      label: document.getElementById("label").textContent,
      probabilities: Object.fromEntries(
        [...document.querySelectorAll(".label")].map((bar) => [
          bar.querySelector(".name").textContent,
          Number(bar.dataset.probability),
        ]),
      ),
      text: units(words.textContent),
      elements: words.querySelectorAll(":not(span)").length,
      words: scores,
      sum: [...document.querySelectorAll("#sum b")].map((number) => Number(number.dataset.value)),
    };
  });
}
