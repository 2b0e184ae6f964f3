// Puts the page together in dist/: its own files, and the two libraries as they are. A model in dist/model stays.

import { cp, mkdir, readdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const VENDORED = {
  "node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs": "ort.js",
  "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
  "licenses/onnxruntime.LICENSE": "ort.LICENSE", // the package has none
  "node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs": "tokenizers.js",
  "node_modules/@huggingface/tokenizers/LICENSE": "tokenizers.LICENSE",
};

await mkdir(at("dist"), { recursive: true });
for (const name of await readdir(at("dist"))) {
  if (name !== "model") await rm(at(`dist/${name}`), { recursive: true });
}
await cp(at("src"), at("dist"), { recursive: true });
for (const [from, to] of Object.entries(VENDORED)) {
  await cp(at(from), at(`dist/vendor/${to}`));
}
