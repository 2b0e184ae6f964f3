// A result as elements of the page. Text only ever becomes text nodes.

const MINUS = "\u2212";

/** A number with its sign and three significant digits. */
export function signed(value) {
  const digits = Math.abs(value) < 0.0005 ? "0.000" : Math.abs(value).toPrecision(3);
  return (value < 0 ? MINUS : "+") + digits;
}

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/** An element with a class and children; strings become text. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/**
 * One button for each label, likeliest first.
 * @param {(label: number) => void} onChoose
 */
export function labelBars(labels, result, onChoose) {
  const order = labels.map((_, index) => index).sort((a, b) => result.probabilities[b] - result.probabilities[a]);
  return order.map((index) => {
    const share = result.probabilities[index];
    const fill = element("span", "fill");
    fill.style.inlineSize = percent(share).replace(" ", "");
    const button = element(
      "button",
      "label",
      isolated(labels[index]),
      element("span", "bar", fill),
      element("span", "share", percent(share)),
    );
    button.type = "button";
    button.dataset.index = index;
    button.dataset.probability = share;
    button.setAttribute("aria-pressed", index === result.target);
    button.addEventListener("click", () => onChoose(index));
    return button;
  });
}

/**
 * What the words below are marked for, in their colours.
 * @param {string} target - the label explained
 * @param {string} [contrast] - the label that it is compared with
 */
export function question(target, contrast) {
  const words = element("span", "tone for", "for ", isolated(target));
  return contrast === undefined
    ? ["Words ", words, " and ", element("span", "tone against", "against it")]
    : ["Words ", words, " and ", element("span", "tone against", "for ", isolated(contrast))];
}

/**
 * The whole text: attributed words in elements of their own, the part that was not read dimmed.
 * @param {{start: number, end: number, score: number}[]} words
 * @param {number|null} readTo
 */
export function highlighted(text, words, readTo) {
  const strongest = Math.max(...words.map(({ score }) => Math.abs(score)), Number.MIN_VALUE);
  const nodes = [];
  let position = 0;
  for (const { start, end, score } of words) {
    nodes.push(text.slice(position, start));
    const strength = Math.abs(score) / strongest;
    const word = element("span", strength < 0.005 ? "word" : score > 0 ? "word for" : "word against");
    word.append(text.slice(start, end));
    word.style.setProperty("--strength", strength.toFixed(2));
    word.dataset.score = score;
    word.tabIndex = -1;
    nodes.push(word);
    position = end;
  }
  const cut = Math.max(position, readTo ?? text.length);
  nodes.push(text.slice(position, cut));
  if (cut < text.length) nodes.push(element("span", "unread", text.slice(cut)));
  const first = nodes.find((node) => node.className?.startsWith("word"));
  if (first) first.tabIndex = 0;
  return nodes;
}

/** "words + special tokens + rest = score", each part as text, exact number, and what it is where one points at it. */
export function sumLine(words, result) {
  const ofWords = words.reduce((sum, { score }) => sum + score, 0);
  const total = ofWords + result.specialScore + result.residual;
  const parts = [
    ["words ", ofWords, "the words' scores, added up"],
    [" + special tokens ", result.specialScore, "the scores of tokens that stand for no word, such as [CLS] and [SEP]"],
    [" + rest ", result.residual, "what this method gives to no token"],
    result.contrast < 0
      ? [" = logit ", total, "the label's score, before the scores of all labels become probabilities"]
      : [" = logit difference ", total, "how far the one label's score is above the other's"],
  ];
  return parts.map(([name, value, meaning]) => {
    const number = element("b", "", signed(value));
    number.dataset.value = value;
    const part = element("span", "", name, number);
    part.title = meaning;
    return part;
  });
}

/** Text whose direction marks cannot reorder what stands around it. */
export function isolated(text) {
  return element("bdi", "name", text);
}
