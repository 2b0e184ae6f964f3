// What attrib.json says of an exported file, checked before anything relies on it.

const OF_TOKENS = ["input_ids", "attention_mask", "token_type_ids"];
const OF_QUESTION = ["attribution_target", "attribution_contrast"];
export const OUTPUTS = ["logits", "attributions", "explained_target"];

const WRITE_IT = "Write it with: attrib export MODEL_DIR --format onnx --output examples/browser/dist/model";

/** What the person who reads the message can mend. */
export class PlainError extends Error {}

/** An error about one file of the model's folder, with the command that writes it. */
export function fileError(name, trouble) {
  return new PlainError(`The file model/${name} ${trouble}. ${WRITE_IT}`);
}

/**
 * @param {object} given - the parsed attrib.json
 * @returns {{inputs: string[], labels: string[], limit: number, independent: boolean}} the graph's inputs; label names
 *   by index; most tokens; whether each label has a probability of its own (multi-label) or they share one
 * @throws {PlainError} for a file that `attrib export` did not write, or a model that this page cannot ask
 */
export function readDescription(given) {
  const { inputs, outputs, id2label, max_tokens: limit, problem_type: problem } = given ?? {};
  const names = Object(id2label) === id2label ? Object.entries(id2label) : [];
  const sound =
    holds(inputs, ["input_ids", ...OF_QUESTION]) &&
    holds(outputs, OUTPUTS) &&
    names.length > 0 &&
    names.every(([index, name], place) => Number(index) === place && typeof name === "string") &&
    limit > 0;
  if (!sound) throw fileError("attrib.json", "does not describe a classifier with words");
  const unknown = inputs.filter((name) => ![...OF_TOKENS, ...OF_QUESTION].includes(name));
  if (unknown.length) throw new PlainError(`This page cannot give the model its input ${unknown.join(", ")}.`);
  if (problem === "regression") throw new PlainError("This page shows labels; this model gives a number instead.");
  return {
    inputs,
    labels: names.map(([, name]) => name),
    limit,
    independent: problem === "multi_label_classification" || names.length === 1,
  };
}

/** Refuses a graph that is not the one described. */
export function checkGraph(description, inputNames, outputNames) {
  if (!holds(inputNames, description.inputs) || inputNames.length !== description.inputs.length || !holds(outputNames, OUTPUTS)) {
    throw fileError("model.onnx", "is not the graph that attrib.json describes: it gives no words");
  }
}

/** Logits to probabilities, as the Python pipeline has them: softmax, or each label's own sigmoid. */
export function probabilities(logits, independent) {
  if (independent) return logits.map((logit) => 1 / (1 + Math.exp(-logit)));
  const highest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - highest));
  const total = powers.reduce((one, other) => one + other, 0);
  return powers.map((power) => power / total);
}

function holds(list, names) {
  return Array.isArray(list) && names.every((name) => list.includes(name));
}
