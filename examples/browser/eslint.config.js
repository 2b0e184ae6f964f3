import js from "@eslint/js";

// Names that the code uses of the two places it runs in.
const BROWSER = ["document", "Option", "Worker", "Blob", "URL", "performance", "fetch", "addEventListener", "postMessage", "Image", "getComputedStyle"];
const NODE = ["process", "URL"];
const readonly = (names) => Object.fromEntries(names.map((name) => [name, "readonly"]));
const HTML_FROM_TEXT = ["innerHTML", "outerHTML", "insertAdjacentHTML"];

export default [
  { ignores: ["dist/", "node_modules/"] },
  js.configs.recommended,
  {
    rules: {
      eqeqeq: "error",
      "no-eval": "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-control-regex": "off", // control characters are what some patterns are about
      "no-restricted-properties": ["error", ...HTML_FROM_TEXT.map((property) => ({ property }))],
    },
  },
  { files: ["src/**"], languageOptions: { globals: readonly(BROWSER) } },
  { files: ["*.js", "test/**"], languageOptions: { globals: readonly([...NODE, ...BROWSER]) } },
];
