// Wires the page: what is typed and chosen goes to the model, what comes back to the view.

import { Model } from "./model.js";
import { element, highlighted, isolated, labelBars, percent, question, signed, sumLine } from "./view.js";

const $ = (id) => document.getElementById(id);

let model;
let labels;
let asked = 0; // only the answer to the newest question is shown
let shown; // the text and label that the result on the page is about

async function start() {
  if (typeof WebAssembly !== "object") {
    say("This browser has no WebAssembly, which the model needs. Any browser of the last years has it.", true);
    return;
  }
  try {
    model = new Model((share) => {
      say(share < 1 ? `Loading the model: ${Math.floor(100 * share)} %` : "Preparing the model …");
    });
    labels = await model.load(new URL("./model/", import.meta.url).href);
  } catch (error) {
    say(error.message, true);
    return;
  }
  $("contrast").append(...labels.map((name, index) => new Option(name, index)));
  $("run").disabled = false;
  await explain($("text").value);
}

async function explain(text, target = -1, contrast = -1) {
  const number = ++asked;
  if (!text.trim()) {
    $("result").hidden = true;
    say("Type or paste a text first: there is nothing to classify.", true);
    return;
  }
  say("Reading …");
  const began = performance.now();
  try {
    const result = await model.explain(text, target, contrast);
    if (number === asked) show(text, result, performance.now() - began);
  } catch (error) {
    if (number === asked) say(error.message, true);
  }
}

function show(text, result, milliseconds) {
  shown = { text, target: result.target };
  $("label").replaceChildren(isolated(labels[result.predicted]));
  $("probability").textContent = percent(result.probabilities[result.predicted]);
  showLabels(text, result);
  for (const option of $("contrast").options) option.disabled = Number(option.value) === result.target;
  $("contrast").value = result.contrast;
  $("question").replaceChildren(...question(labels[result.target], labels[result.contrast]));
  $("words").replaceChildren(...highlighted(text, result.words, result.readTo));
  $("sum").replaceChildren(...sumLine(result.words, result));
  readOut(null);
  $("result").hidden = false;
  const cut =
    result.readTo === null
      ? ""
      : `The text is longer than the model reads: the last ${(text.length - result.readTo).toLocaleString("en")} of ` +
        `${text.length.toLocaleString("en")} characters, shown pale, were left out. `;
  say(`${cut}${result.tokens} tokens in ${(milliseconds / 1000).toFixed(2)} s, in this browser.`, Boolean(cut));
}

/** New bars in place of the old ones; who was on one of them stays on that label's. */
function showLabels(text, result) {
  const held = document.activeElement.closest("#labels .label")?.dataset.index;
  $("labels").replaceChildren(...labelBars(labels, result, (label) => explain(text, label)));
  $("labels").querySelector(`[data-index="${held}"]`)?.focus();
}

/** Says one word's score below the text. */
function readOut(word) {
  const hint = "Point at a word, or tap it, to see how much it counts.";
  $("score").replaceChildren(
    ...(word ? [isolated(word.textContent), " ", element("b", "", signed(Number(word.dataset.score)))] : [hint]),
  );
}

function say(message, isWarning = false) {
  $("status").textContent = message;
  $("status").classList.toggle("warning", isWarning);
}

function wordAt(event) {
  return event.target.closest?.(".word") ?? null;
}

/** The arrow keys move the focus from word to word; Tab passes the text in one step. */
function moveFocus(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const all = [...$("words").querySelectorAll(".word")];
  const next = all[all.indexOf(wordAt(event)) + step];
  if (!step || !next) return;
  event.preventDefault();
  for (const word of all) word.tabIndex = word === next ? 0 : -1;
  next.focus();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  explain($("text").value);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && labels) $("form").requestSubmit();
});
$("contrast").addEventListener("change", () => explain(shown.text, shown.target, Number($("contrast").value)));
$("words").addEventListener("pointerover", (event) => readOut(wordAt(event)));
$("words").addEventListener("pointerleave", () => readOut(null));
$("words").addEventListener("focusin", (event) => readOut(wordAt(event)));
$("words").addEventListener("focusout", () => readOut(null));
$("words").addEventListener("keydown", moveFocus);

start();
