"""A vocabulary of one's own: byte-pair encoding, trained on the text that a model is to be pre-trained on.

By the `tokenizers` library. The same text gives the same vocabulary, which a run that resumes relies on; the library's
WordPiece trainer breaks ties by chance. `train_tokenizer` makes one for encoders of the BERT family, lower case;
`train_byte_tokenizer` one for models that write, which gives back every text as it was. Notebook 03, "Pre-training";
notebook 04, "The models".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import DataError
from .reading import parts_of

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
           "mask_token": "[MASK]"}  # fmt: skip
"""Numbers 0 to 4 of every vocabulary."""
INPUTS = ("input_ids", "token_type_ids", "attention_mask")


def train_tokenizer(documents: Iterable[str], size: int = 8000, max_length: int = 512, progress: bool = True) -> Any:
    """A transformers tokenizer of at most `size` entries: lower case, no accents; words and signs apart as BERT has
    them, and in pieces, of which a word's first begins with "\u2581".

    Raises DataError for text without a word in it.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace(prepend_scheme="always", split=False)]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL.values()), show_progress=progress
    )
    tokenizer.train_from_iterator((piece for _, piece in parts_of(documents)), trainer)
    if tokenizer.get_vocab_size() <= len(SPECIAL):
        raise DataError("the text holds no word twice, so no vocabulary can be made of it; give more text.")
    cls, sep = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, model_input_names=list(INPUTS), **SPECIAL
    )


TEXT_END = "<|endoftext|>"
GPT2_SPECIAL = {"bos_token": TEXT_END, "eos_token": TEXT_END, "unk_token": TEXT_END}
"""As GPT-2 has them: one token."""
T5_SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
"""As T5 has them: numbers 0 to 2."""
SENTINELS = tuple(f"<extra_id_{k}>" for k in range(100))
"""What T5 puts in the place of a hidden span: the first, the second, ..."""


def train_byte_tokenizer(
    documents: Iterable[str],
    size: int = 5000,
    max_length: int = 512,
    special: Mapping[str, str] = GPT2_SPECIAL,
    extra: Iterable[str] = (),
    end: bool = False,
    progress: bool = True,
) -> Any:
    """A transformers tokenizer of at most `size` entries in all: bytes and their pairs, as GPT-2 has them, case kept.

    Every text can be written in it and comes back as it was. special: {name: token}, which come first; extra: further
    special tokens, which come last. end: whether a text is closed by the end-of-text token, as T5's are.
    Raises DataError for text without a word in it, and for a size without room for all bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    first, last = list(dict.fromkeys(special.values())), list(extra)
    letters = pre_tokenizers.ByteLevel.alphabet()
    least = len(first) + len(letters) + len(last)
    if size <= least:
        raise DataError(f"a vocabulary of {size} has no room for {least} bytes and special tokens and one pair more.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(last), min_frequency=2, special_tokens=first, initial_alphabet=letters,
        show_progress=progress,
    )  # fmt: skip
    tokenizer.train_from_iterator((piece for _, piece in parts_of(documents)), trainer)
    if tokenizer.get_vocab_size() <= least - len(last):
        raise DataError("the text holds no pair of letters twice, so no vocabulary can be made of it; give more text.")
    tokenizer.add_special_tokens(last)
    if end:
        mark = special["eos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {mark}", pair=f"$A {mark} $B {mark}", special_tokens=[(mark, tokenizer.token_to_id(mark))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"], **special, additional_special_tokens=last or None,
    )  # fmt: skip
