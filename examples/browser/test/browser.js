// Starts Chromium, and says what the page asked the network for and complained about.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

function find() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const folder of process.env.PATH.split(delimiter)) {
    for (const name of NAMES) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // not here: look on
      }
    }
  }
  throw new Error("no Chromium on PATH: set CHROMIUM to its file");
}

export async function openBrowser() {
  return chromium.launch({ executablePath: find(), args: ["--no-sandbox"], timeout: 120_000 });
}

/** A page with what it requests, what its console says and what it pops up in `requests`, `complaints`, `dialogs`. */
export async function watchedPage(browser, options = {}) {
  const context = await browser.newContext(options);
  const requests = [];
  const complaints = [];
  const dialogs = [];
  context.on("request", (request) => requests.push(request.url()));
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  context.on("weberror", (error) => complaints.push(String(error.error())));
  const page = await context.newPage();
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    dialog.dismiss();
  });
  page.setDefaultTimeout(180_000);
  return { page, requests, complaints, dialogs };
}

/** Waits for the answer to the newest question, or a warning. */
export async function settled(page) {
  await page.waitForFunction(() => {
    const status = document.getElementById("status");
    return status.classList.contains("warning") || / s, in this browser/.test(status.textContent);
  });
}
