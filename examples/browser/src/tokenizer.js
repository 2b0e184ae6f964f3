// Text to token ids, each with its exact place in the text.
//
// The library gives no offsets, and its normalizer differs from the one that the model was trained with (final sigma,
// ideographs outside the basic plane). So BERT's normalizing and splitting is done here, character by character, and
// the library does what it does right: the vocabulary's word pieces and the special tokens around them.

import { PlainError } from "./description.js";
import { Tokenizer } from "./vendor/tokenizers.js";

// What BERT's normalizer calls an ideograph; the third-last range is as the original has it.
const IDEOGRAPHS = [
  [0x4e00, 0x9fff],
  [0x3400, 0x4dbf],
  [0x20000, 0x2a6df],
  [0x2a700, 0x2b73f],
  [0x2b740, 0x2b81f],
  [0x2b920, 0x2ceaf],
  [0xf900, 0xfaff],
  [0x2f800, 0x2fa1f],
];
const REMOVED = /^(?![\t\n\r])[\0\ufffd\p{Cc}\p{Cf}\p{Co}\p{Cs}]$/u;
const SPACE = /^\p{White_Space}$/u;
const PUNCTUATION = /^[\p{P}!-/:-@[-`{-~]$/u;

export class OffsetTokenizer {
  /**
   * @param {object} description - the parsed tokenizer.json
   * @param {object} config - the parsed tokenizer_config.json
   */
  constructor(description, config) {
    const kinds = [description.normalizer, description.pre_tokenizer, description.model].map(
      (part) => part?.type ?? "none",
    );
    if (kinds.join() !== "BertNormalizer,BertPreTokenizer,WordPiece") {
      throw new PlainError(`This page reads BERT's kind of tokenizer, not ${kinds.join(", ")}.`);
    }
    if (description.added_tokens.some((token) => token.normalized || token.single_word || token.lstrip || token.rstrip)) {
      throw new PlainError("This page reads no added tokens that take part of the text around them.");
    }
    this.options = description.normalizer;
    this.prefix = description.model.continuing_subword_prefix;
    this.library = new Tokenizer(description, config);
    // Special tokens that the text itself spells out become special tokens, as in Python; the longest first.
    const spelled = description.added_tokens.map((token) => token.content).sort((a, b) => b.length - a.length);
    this.added = new RegExp(spelled.map((content) => content.replace(/\W/gu, "\\$&")).join("|") || "(?!)", "gu");
    const { tokens } = this.library.post_processor(["\0"], null, true);
    this.before = tokens.indexOf("\0");
    this.special = tokens.length - 1;
  }

  /**
   * @param {string} text
   * @param {number} limit - the most tokens to read, special tokens included
   * @returns {{ids: number[], typeIds: number[], offsets: (number[]|null)[], readTo: number|null}} one offset for each
   *   id: [start, end] in UTF-16 units, null for the special tokens around the text; readTo is where the text was cut
   */
  encode(text, limit) {
    const room = limit - this.special;
    const pieces = [];
    for (const piece of this.#pieces(text.replace(/\p{Cs}/gu, "\ufffd"))) {
      pieces.push(piece);
      if (pieces.length > room) break;
    }
    const readTo = pieces.length > room ? pieces.pop().start : null;
    const { tokens, token_type_ids: typeIds } = this.library.post_processor(
      pieces.map((piece) => piece.token),
      null,
      true,
    );
    const offsets = tokens.map(() => null);
    pieces.forEach(({ start, end }, index) => (offsets[this.before + index] = [start, end]));
    return { ids: tokens.map((token) => this.library.token_to_id(token)), typeIds, offsets, readTo };
  }

  *#pieces(text) {
    let position = 0;
    for (const match of text.matchAll(this.added)) {
      yield* this.#sectionPieces(text.slice(position, match.index), position);
      position = match.index + match[0].length;
      yield { token: match[0], start: match.index, end: position };
    }
    yield* this.#sectionPieces(text.slice(position), position);
  }

  *#sectionPieces(section, base) {
    for (const word of this.#words(section, base)) {
      const tokens = this.library.model.encode([word.map(({ char }) => char).join("")]);
      if (tokens.length === 1) {
        yield { token: tokens[0], start: word[0].start, end: word.at(-1).end };
        continue;
      }
      let first = 0;
      for (const token of tokens) {
        const next = first + [...token].length - (first ? this.prefix.length : 0);
        yield { token, start: word[first].start, end: word[next - 1].end };
        first = next;
      }
    }
  }

  /** Runs of characters without space, punctuation marks alone. */
  *#words(section, base) {
    let word = [];
    for (const place of this.#normalized(section, base)) {
      const isMark = PUNCTUATION.test(place.char);
      const isSpace = SPACE.test(place.char);
      if ((isMark || isSpace) && word.length) {
        yield word;
        word = [];
      }
      if (isMark) yield [place];
      else if (!isSpace) word.push(place);
    }
    if (word.length) yield word;
  }

  /** The normalized characters, each with the place of the character that it came from. */
  *#normalized(section, base) {
    const { clean_text: clean, handle_chinese_chars: apart, lowercase, strip_accents: strip } = this.options;
    let end = base;
    for (const original of section) {
      const start = end;
      end += original.length;
      if (clean && REMOVED.test(original)) continue;
      let chars = clean && SPACE.test(original) ? " " : original;
      if (strip ?? lowercase) chars = chars.normalize("NFD").replace(/\p{Mn}/gu, "");
      if (lowercase) chars = [...chars].map((char) => char.toLowerCase()).join("");
      const alone = apart && isIdeograph(original);
      if (alone) yield { char: " ", start, end };
      for (const char of chars) yield { char, start, end };
      if (alone) yield { char: " ", start, end };
    }
  }
}

function isIdeograph(char) {
  const code = char.codePointAt(0);
  return IDEOGRAPHS.some(([low, high]) => low <= code && code <= high);
}
