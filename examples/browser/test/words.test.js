import assert from "node:assert/strict";
import test from "node:test";
import { sum, sumToWords, wordSpans } from "../src/words.js";

const words = (text) => wordSpans(text).map(([start, end]) => text.slice(start, end));

const CASES = [
  ["", []],
  [" \t\n", []],
  ["Don't pay $3.14, or 1,000!", ["Don't", "pay", "$", "3.14", ",", "or", "1,000", "!"]],
  ["the cat the", ["the", "cat", "the"]],
  ["a\tb", ["a", "b"]],
  ["<b>x</b>", ["<", "b", ">", "x", "<", "/", "b", ">"]],
  ["漢字かな", ["漢", "字", "か", "な"]],
  ["𠀀𠀁", ["𠀀", "𠀁"]],
  ["שלום עולם", ["שלום", "עולם"]],
  ["👍🏽👨‍👩‍👧🇩🇪🇫🇷1️⃣", ["👍🏽", "👨‍👩‍👧", "🇩🇪", "🇫🇷", "1️⃣"]],
  ["a\ud83db", ["a", "\ud83d", "b"]],
  ["e\u0301le\u0300ve", ["e\u0301le\u0300ve"]],
  ["a\u202eb", ["a", "b"]],
];

for (const [text, expected] of CASES) {
  test(`words of ${JSON.stringify(text)}`, () => assert.deepEqual(words(text), expected));
}

test("tokens of one word sum to it", () => {
  assert.deepEqual(sumToWords("playing it", [[0, 4], [4, 7], [8, 10]], [1, 2, 4]), [
    { start: 0, end: 7, score: 3 },
    { start: 8, end: 10, score: 4 },
  ]);
});

test("a token over two words makes them one entry", () => {
  assert.deepEqual(sumToWords("a.b c", [[0, 3], [4, 5]], [1, 2]), [
    { start: 0, end: 3, score: 1 },
    { start: 4, end: 5, score: 2 },
  ]);
});

test("a token without a word gives its score to the next word, or to the last", () => {
  assert.deepEqual(sumToWords("a  b ", [[0, 1], [1, 2], [3, 4], [4, 5]], [1, 2, 4, 8]), [
    { start: 0, end: 1, score: 1 },
    { start: 3, end: 4, score: 14 },
  ]);
});

test("words without a token give no entry, a text without words one with an empty span", () => {
  assert.deepEqual(sumToWords("a b", [[2, 3]], [1]), [{ start: 2, end: 3, score: 1 }]);
  assert.deepEqual(sumToWords(" ", [[0, 1]], [1]), [{ start: 0, end: 0, score: 1 }]);
  assert.deepEqual(sumToWords(" ", [], []), []);
});

test("no score is lost, whatever the offsets", () => {
  const text = "One, two 三 👍🏽 don't\t<i>";
  let seed = 1;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  for (let round = 0; round < 200; round++) {
    const offsets = Array.from({ length: 8 }, () => [random(text.length), random(text.length)].sort((a, b) => a - b));
    const scores = offsets.map(() => random(100) - 50);
    const entries = sumToWords(text, offsets, scores);
    assert.equal(sum(entries.map((entry) => entry.score)), sum(scores));
    entries.slice(1).forEach((entry, index) => assert.ok(entries[index].end <= entry.start));
  }
});
