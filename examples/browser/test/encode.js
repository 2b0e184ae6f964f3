// Prints ids, offsets and words of texts as the page computes them. Usage: node encode.js FOLDER < texts.json
// A text is a list of UTF-16 units; FOLDER holds tokenizer.json. Needs the built page.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { OffsetTokenizer } from "../dist/tokenizer.js";
import { wordSpans } from "../dist/words.js";

const [folder] = process.argv.slice(2);
const read = (name) => JSON.parse(readFileSync(name, "utf8"));
const tokenizer = new OffsetTokenizer(
  read(join(folder, "tokenizer.json")),
  read(join(folder, "tokenizer_config.json")),
);
const answers = read(0).map((units) => {
  const text = String.fromCharCode(...units);
  const { ids, offsets } = tokenizer.encode(text, Infinity);
  return { ids, offsets, words: wordSpans(text) };
});
process.stdout.write(JSON.stringify(answers));
