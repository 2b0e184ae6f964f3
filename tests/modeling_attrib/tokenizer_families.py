"""One small tokenizer of each family, made of a few lines, with the special tokens that its family puts around.

Each is the same in every process, or a property that fails could not be tried again.
"""

import json
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


LINES = [
    "Stocks rally as oil falls, don't they? The minister said so.",
    "The striker scored twice in the cup final and won the match!",
    "naïve café in Zürich; décomposé Ελλάδα привет мир",
    "A rocket reached orbit: 3.14 times 1,000 km, unbelievably far.",
    "日本語のテスト、世界。 株価が上がった。 مرحبا بالعالم שלום עולם हिन्दी ไทย",
] * 3


def _wordpiece(**normalization: bool) -> Tokenizer:
    inner = Tokenizer(models.WordPiece())
    inner.normalizer = normalizers.BertNormalizer(**normalization)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces: set[str] = set()  # not trained: of equally good pieces the trainer chooses others in each process
    for line in LINES:
        for word, _ in inner.pre_tokenizer.pre_tokenize_str(inner.normalizer.normalize_str(line)):
            head, tail = word[: (len(word) + 1) // 2], word[(len(word) + 1) // 2 :]
            pieces |= {head, f"##{tail}", *word, *(f"##{character}" for character in word)} - {"##"}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(pieces)]
    inner.model = models.WordPiece({piece: number for number, piece in enumerate(vocabulary)}, unk_token="[UNK]")
    inner.add_special_tokens(vocabulary[:5])
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return inner


def _byte_level(trim_offsets: bool, around: bool, add_prefix_space: bool = False) -> Tokenizer:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(LINES, trainer)
    if around:
        inner.post_processor = processors.RobertaProcessing(
            ("</s>", 2), ("<s>", 0), trim_offsets=trim_offsets, add_prefix_space=add_prefix_space
        )
    else:
        inner.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    return inner


def _unigram() -> Tokenizer:
    """As SentencePiece trains it, XLNet's order: special tokens stand behind the text."""
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<pad>", "<sep>", "<cls>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    inner.train_from_iterator(LINES, trainer)
    trained = json.loads(inner.to_str())["model"]["vocab"][len(special) :]
    # In one order and to a few digits: both differ from process to process.
    pieces = sorted(((piece, round(score, 4)) for piece, score in trained), key=lambda piece: (-piece[1], piece[0]))
    inner.model = models.Unigram([*((name, 0.0) for name in special), *pieces], unk_id=0)
    inner.post_processor = processors.TemplateProcessing(
        single="$A <sep> <cls>",
        pair="$A <sep> $B:1 <sep>:1 <cls>:1",
        special_tokens=[("<sep>", 2), ("<cls>", 3)],
    )
    return inner


def _metaspace_bpe() -> Tokenizer:
    """Llama's: spaces are written in the text itself, and what the vocabulary lacks is spelt in bytes."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    inner.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False))
    inner.decoder = decoders.ByteFallback()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return inner


def _characters() -> Tokenizer:
    """A token a character, and nothing around a text."""
    inner = Tokenizer(models.WordLevel(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.train_from_iterator(
        LINES, trainers.WordLevelTrainer(special_tokens=["<unk>", "<pad>", "<sep>"], show_progress=False)
    )
    return inner


_BERT = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_ROBERTA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
_XLNET = {"unk_token": "<unk>", "pad_token": "<pad>", "sep_token": "<sep>", "cls_token": "<cls>"}
_BUILDERS = {
    "wordpiece-uncased": lambda: (_wordpiece(lowercase=True, strip_accents=True), _BERT),
    "wordpiece-cased": lambda: (_wordpiece(lowercase=False, strip_accents=False), _BERT),
    "byte-level": lambda: (_byte_level(trim_offsets=True, around=True), _ROBERTA),
    "byte-level-prefixed": lambda: (_byte_level(trim_offsets=False, around=True, add_prefix_space=True), _ROBERTA),
    "byte-level-bare": lambda: (_byte_level(trim_offsets=False, around=False), {"pad_token": "<pad>"}),
    "unigram": lambda: (_unigram(), _XLNET),
    "metaspace-bpe": lambda: (
        _metaspace_bpe(),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"},
    ),
    "characters": lambda: (_characters(), {"unk_token": "<unk>", "pad_token": "<pad>"}),
}
FAMILIES = tuple(_BUILDERS)
JOINING = ("metaspace-bpe",)  # their tokens may reach over several words


@cache
def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    inner, names = _BUILDERS[family]()
    tells_texts_apart = ["token_type_ids"] if "cls_token" in names else []
    inputs = ["input_ids", *tells_texts_apart, "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_input_names=inputs, **names)
