// The exported classifier: fetched once, then text -> labels and the words behind one of them.

import { InferenceSession, Tensor, env } from "./vendor/ort.js";
import { checkGraph, fileError, probabilities, readDescription } from "./description.js";
import { OffsetTokenizer } from "./tokenizer.js";
import { sum, sumToWords } from "./words.js";

env.wasm.numThreads = 1; // several threads would need headers that a plain file server does not send

export class Classifier {
  /**
   * @param {string} folder - URL of what `attrib export --format onnx` wrote, ending in a slash
   * @param {(share: number) => void} onProgress - called with the share of the model that has arrived, 0 to 1
   */
  static async load(folder, onProgress) {
    const description = readDescription(await readJson(folder, "attrib.json"));
    const [vocabulary, config] = await Promise.all(
      ["tokenizer.json", "tokenizer_config.json"].map((name) => readJson(folder, name)),
    );
    const tokenizer = new OffsetTokenizer(vocabulary, config);
    const graph = await readAll(await fetchFile(folder, "model.onnx"), onProgress);
    const session = await openGraph(graph);
    checkGraph(description, session.inputNames, session.outputNames);
    return new Classifier(description, tokenizer, session);
  }

  constructor(description, tokenizer, session) {
    this.description = description;
    this.tokenizer = tokenizer;
    this.session = session;
  }

  /**
   * @param {string} text
   * @param {number} target - index of the label to explain; -1 for the predicted one
   * @param {number} contrast - index of the label to explain it against; -1 for none
   * @returns {Promise<object>} probabilities (one for each label), predicted and target (indices), contrast, words
   *   ({start, end, score} in UTF-16 units), specialScore, residual, readTo (where the text was cut, or null), tokens
   */
  async explain(text, target = -1, contrast = -1) {
    const { ids, typeIds, offsets, readTo } = this.tokenizer.encode(text, this.description.limit);
    const rows = { input_ids: ids, attention_mask: ids.map(() => 1), token_type_ids: typeIds };
    const single = { attribution_target: [target], attribution_contrast: [contrast] };
    const feeds = {};
    for (const name of this.description.inputs) {
      const values = BigInt64Array.from(rows[name] ?? single[name], BigInt);
      feeds[name] = new Tensor("int64", values, rows[name] ? [1, values.length] : [1]);
    }
    const outputs = await this.session.run(feeds);

    const logits = Array.from(outputs.logits.data);
    const explained = Number(outputs.explained_target.data[0]);
    const scores = Array.from(outputs.attributions.data);
    const ofText = scores.filter((_, index) => offsets[index]);
    const whole = logits[explained] - (contrast < 0 ? 0 : logits[contrast]);
    return {
      probabilities: probabilities(logits, this.description.independent),
      predicted: logits.indexOf(Math.max(...logits)),
      target: explained,
      contrast,
      words: sumToWords(text, offsets.filter(Boolean), ofText),
      specialScore: sum(scores) - sum(ofText),
      residual: whole - sum(scores),
      readTo,
      tokens: ids.length,
    };
  }
}

async function fetchFile(folder, name) {
  const response = await fetch(folder + name);
  if (!response.ok) throw fileError(name, `is missing (${response.status})`);
  return response;
}

async function readJson(folder, name) {
  const response = await fetchFile(folder, name);
  try {
    return await response.json();
  } catch {
    throw fileError(name, "is not JSON");
  }
}

async function openGraph(bytes) {
  try {
    return await InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (error) {
    throw fileError("model.onnx", `could not be opened (${error.message})`);
  }
}

/** A response's bytes, with progress where the server says how many there are. */
async function readAll(response, onProgress) {
  const total = Number(response.headers.get("Content-Length"));
  const chunks = [];
  let length = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
    if (total) onProgress(Math.min(1, length / total));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
