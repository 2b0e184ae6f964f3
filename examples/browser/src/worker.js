// The classifier in a thread of its own, so that the page stays awake while it computes.

import { Classifier } from "./classifier.js";
import { PlainError } from "./description.js";

let classifier;

const handlers = {
  async load(folder) {
    classifier = await Classifier.load(folder, (share) => postMessage({ share }));
    return classifier.description.labels;
  },
  explain: (text, target, contrast) => classifier.explain(text, target, contrast),
};

addEventListener("message", async ({ data: { id, name, values } }) => {
  try {
    postMessage({ id, result: await handlers[name](...values) });
  } catch (error) {
    const isPlain = error instanceof PlainError;
    postMessage({ id, error: isPlain ? error.message : `The model could not be used: ${error.message}` });
  }
});

postMessage({ ready: true });
