// Puts questions to the built page, as a reader would, and prints what it shows as JSON.
//
// Usage: node drive.js URL < questions.json. A question is {text: [UTF-16 units], target, contrast}; the last two are
// label indices or null. Texts travel as numbers: JSON over the wire does not carry lone surrogates.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { openBrowser, settled, watchedPage } from "./browser.js";

const [url] = process.argv.slice(2);
const questions = JSON.parse(readFileSync(0, "utf8"));
const browser = await openBrowser();
try {
  const { page, requests, complaints, dialogs } = await watchedPage(browser);
  await page.goto(url);
  await settled(page);
  const answers = [];
  for (const question of questions) answers.push(await ask(page, question));
  const seen = { requests: [...requests], complaints: [...complaints], dialogs };
  // What the page and its thread get when they ask another origin, one that would answer anybody.
  const other = await openServer();
  const elsewhere = [];
  for (const place of [page, ...page.workers()]) {
    elsewhere.push(await place.evaluate((to) => fetch(to).then(String, (error) => error.name), other.url));
  }
  other.close();
  process.stdout.write(JSON.stringify({ answers, ...seen, elsewhere }));
} finally {
  await browser.close();
}

async function openServer() {
  const server = createServer((_, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.end("reached");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

async function ask(page, { text, target, contrast }) {
  await page.evaluate((units) => {
    document.getElementById("text").value = String.fromCharCode(...units);
  }, text);
  await page.click("#run");
  await settled(page);
  if (target !== null) {
    await page.click(`.label[data-index="${target}"]`);
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
      question: document.getElementById("question").textContent,
      probabilities: Object.fromEntries(
        [...document.querySelectorAll(".label")].map((bar) => [
          bar.querySelector(".name").textContent,
          Number(bar.dataset.probability),
        ]),
      ),
      text: units(words.textContent),
      elements: words.querySelectorAll(":not(span)").length,
      foreign: document.querySelectorAll("img, iframe, style, body script, #result b *, #result bdi *").length,
      words: scores,
      focused: document.activeElement.dataset.index ?? null,
      sum: [...document.querySelectorAll("#sum b")].map((number) => Number(number.dataset.value)),
    };
  });
}
