// Puts the page together in dist/: its own files and the two libraries, as they are. A model in dist/model stays.

import { cp, mkdir, readdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const VENDORED = {
  "onnxruntime-web/dist/ort.wasm.bundle.min.mjs": "ort.js",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
  "@huggingface/tokenizers/dist/tokenizers.min.mjs": "tokenizers.js",
  "@huggingface/tokenizers/LICENSE": "tokenizers.LICENSE",
};

await mkdir(at("dist"), { recursive: true });
for (const name of await readdir(at("dist"))) {
  if (name !== "model") await rm(at(`dist/${name}`), { recursive: true });
}
await cp(at("src"), at("dist"), { recursive: true });
for (const [from, to] of Object.entries(VENDORED)) {
  await cp(at(`node_modules/${from}`), at(`dist/vendor/${to}`));
}
