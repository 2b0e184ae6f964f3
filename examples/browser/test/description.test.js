import assert from "node:assert/strict";
import test from "node:test";
import { PlainError, checkGraph, probabilities, readDescription } from "../src/description.js";

const OURS = {
  inputs: ["input_ids", "attention_mask", "attribution_target", "attribution_contrast"],
  outputs: ["logits", "attributions", "explained_target"],
  id2label: { 0: "no", 1: "yes" },
  max_tokens: 512,
  problem_type: "single_label_classification",
};

test("a description of ours is read", () => {
  assert.deepEqual(readDescription(OURS), { inputs: OURS.inputs, labels: ["no", "yes"], limit: 512, independent: false });
});

test("labels stand by their index, whatever the order in the file", () => {
  const shuffled = JSON.parse('{"10": "k", "2": "c", "0": "a", "1": "b"}');
  assert.throws(() => readDescription({ ...OURS, id2label: shuffled }), PlainError); // 3 to 9 are missing
  const id2label = JSON.parse('{"2": "c", "0": "a", "1": "b"}');
  assert.deepEqual(readDescription({ ...OURS, id2label }).labels, ["a", "b", "c"]);
});

const NOT_OURS = {
  null: null,
  "a list": [],
  "a text": "attrib",
  nothing: {},
  "no words": { ...OURS, outputs: ["logits"] },
  "no question": { ...OURS, inputs: ["input_ids", "attention_mask"] },
  "no labels": { ...OURS, id2label: {} },
  "labels that are no text": { ...OURS, id2label: { 0: { a: 1 } } },
  "no limit": { ...OURS, max_tokens: undefined },
  "an input that the page cannot make": { ...OURS, inputs: [...OURS.inputs, "pixel_values"] },
  "a regression": { ...OURS, problem_type: "regression" },
};
for (const [name, given] of Object.entries(NOT_OURS)) {
  test(`refused: ${name}`, () => assert.throws(() => readDescription(given), PlainError));
}

test("a graph must be the one described", () => {
  const description = readDescription(OURS);
  checkGraph(description, [...OURS.inputs].reverse(), OURS.outputs);
  assert.throws(() => checkGraph(description, OURS.inputs, ["logits"]), PlainError);
  assert.throws(() => checkGraph(description, [...OURS.inputs, "token_type_ids"], OURS.outputs), PlainError);
  assert.throws(() => checkGraph(description, OURS.inputs.slice(1), OURS.outputs), PlainError);
});

test("labels that exclude each other share one probability", () => {
  const [no, yes] = probabilities([Math.log(1), Math.log(3)], false);
  assert.ok(Math.abs(no - 0.25) < 1e-12 && Math.abs(yes - 0.75) < 1e-12);
  assert.deepEqual(probabilities([1000, 1000], false), [0.5, 0.5]);
});

test("independent labels have one each", () => {
  const [even, likely] = probabilities([0, Math.log(3)], true);
  assert.equal(even, 0.5);
  assert.ok(Math.abs(likely - 0.75) < 1e-12);
});

test("one label, and several in one text, have probabilities of their own", () => {
  assert.ok(readDescription({ ...OURS, id2label: { 0: "spam" }, problem_type: null }).independent);
  assert.ok(readDescription({ ...OURS, problem_type: "multi_label_classification" }).independent);
});
