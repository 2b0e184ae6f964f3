// From token scores to words of the original text: the rules of modeling_attrib/text_spans.py, on UTF-16 offsets.

// The classes, one letter each:
//   L letter, number, connector   D decimal digit        E mark or joiner (stays with what it follows)
//   A inner apostrophe            N . or , in a number   K ideograph or kana (a word alone)
//   G pictograph or sign          T skin tone            R half of a flag
//   J zero-width joiner           V emoji selector       Y keycap      H base of a keycap
//   S separator                   O lone surrogate       X any other punctuation
// The first pattern that fits counts.
const CLASSES = [
  ["A", /['\u2019\uff07\u00b7\u05f3\u05f4]/u],
  ["N", /[.,\u066b\u066c]/u],
  ["S", /[\u200b\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff]/u],
  ["H", /[#*]/u],
  ["J", /\u200d/u],
  ["V", /\ufe0f/u],
  ["Y", /\u20e3/u],
  ["E", /[\uff9e\uff9f]/u],
  ["G", /\u2139/u],
  ["R", /[\u{1f1e6}-\u{1f1ff}]/u],
  ["T", /[\u{1f3fb}-\u{1f3ff}]/u],
  ["K", /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{3fffd}\u3005-\u3007\u3021-\u3029\u3041-\u3096]/u],
  ["K", /[\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d\u{1aff0}-\u{1b16f}]/u],
  ["S", /[\p{Cc}\p{Z}]/u],
  ["O", /\p{Cs}/u],
  ["E", /[\p{Cf}\p{M}]/u],
  ["D", /\p{Nd}/u],
  ["L", /[\p{L}\p{N}\p{Pc}]/u],
  ["G", /[\p{So}\p{Sm}\p{Cn}\p{Co}]/u],
];

// A digit under a keycap is an emoji, not part of a number.
const KEYCAP_DIGIT = /D(?=V?Y)/g;
const WORD = new RegExp(
  [
    "[LD][LDEVJY]*(?:(?:A(?=[LD])|(?<=D)N(?=D))[LDEVJY]+)*", // letters and numbers
    "RR?[EVJ]*", // flags
    "[GT]V?T?[EVYJ]*(?:(?<=J)[GT]V?T?[EVYJ]*)*", // emoji and their joined families
    "[KHXAN][EVYJ]*", // one ideograph, one punctuation mark
    "[EVYJ]+", // marks with nothing to sit on
    "O",
  ].join("|"),
  "g",
);

/**
 * The words and single punctuation marks of a text, in order.
 * @param {string} text
 * @returns {number[][]} [start, end] in UTF-16 units, start < end, not overlapping
 */
export function wordSpans(text) {
  const chars = [...text];
  const places = [0];
  for (const char of chars) places.push(places.at(-1) + char.length);
  const classes = chars.map(classOf).join("").replace(KEYCAP_DIGIT, "H");
  return [...classes.matchAll(WORD)].map(({ 0: run, index }) => [places[index], places[index + run.length]]);
}

/**
 * Sums token scores over the words that they touch.
 *
 * Words that share a token become one entry. A token that touches no word gives its score to the next token's word,
 * or to the last one's. Words without a token give no entry.
 *
 * @param {string} text
 * @param {number[][]} offsets - [start, end] of each token in UTF-16 units, in the tokenizer's order
 * @param {number[]} scores - one for each token
 * @returns {{start: number, end: number, score: number}[]} in text order; their scores sum to the scores given. Where
 *   no token touches a word: one entry with the empty span (0, 0), or none if the sum is 0.
 */
export function sumToWords(text, offsets, scores) {
  const touched = touchedWords(wordSpans(text), offsets, scores);
  if (!touched.length) {
    const score = sum(scores);
    return score === 0 ? [] : [{ start: 0, end: 0, score }];
  }
  const entries = [];
  for (const { start, end, score } of touched) {
    const open = entries.at(-1);
    if (open && start < open.end) {
      open.end = Math.max(open.end, end);
      open.score += score;
    } else {
      entries.push({ start, end, score });
    }
  }
  return entries;
}

/** The sum of numbers. */
export function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** For each token that touches words: from the first one's start to the last one's end, and its score. */
function touchedWords(words, offsets, scores) {
  const touched = [];
  let waiting = 0;
  offsets.forEach(([start, end], index) => {
    waiting += scores[index];
    const first = countUntil(words, (word) => word[1] <= start);
    const last = countUntil(words, (word) => word[0] < end) - 1;
    if (start < end && first <= last) {
      touched.push({ start: words[first][0], end: words[last][1], score: waiting });
      waiting = 0;
    }
  });
  if (touched.length) touched.at(-1).score += waiting;
  return touched.sort((a, b) => a.start - b.start);
}

/** How many items from the first on pass a test that, once failed, fails for all that follow. */
function countUntil(items, passes) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (passes(items[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

function classOf(char) {
  return CLASSES.find(([, pattern]) => pattern.test(char))?.[0] ?? "X";
}
