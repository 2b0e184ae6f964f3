// The page's side of the classifier's thread: calls become messages, answers become promises.

export class Model {
  #worker;
  #ready;
  #waiting = new Map();
  #calls = 0;

  /** @param {(share: number) => void} onProgress - called with the share of the model that has arrived, 0 to 1 */
  constructor(onProgress) {
    // A thread started from a blob: URL keeps the page's Content-Security-Policy; one started from a file would not.
    const source = `import ${JSON.stringify(new URL("./worker.js", import.meta.url).href)};`;
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.#worker = new Worker(url, { type: "module" });
    this.#ready = new Promise((resolve, reject) => {
      this.#worker.addEventListener("error", () => reject(new Error("The page's own files could not be loaded.")));
      this.#worker.addEventListener("message", ({ data }) => {
        if (data.ready) resolve();
        else if ("share" in data) onProgress(data.share);
        else this.#settle(data);
      });
    });
  }

  /** @returns {Promise<string[]>} the labels, by index */
  load(folder) {
    return this.#call("load", folder);
  }

  /** What Classifier.explain returns. */
  explain(text, target, contrast) {
    return this.#call("explain", text, target, contrast);
  }

  async #call(name, ...values) {
    await this.#ready;
    return new Promise((resolve, reject) => {
      const id = ++this.#calls;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, name, values });
    });
  }

  #settle({ id, result, error }) {
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  }
}
