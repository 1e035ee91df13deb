"""A vocabulary of one's own: byte-pair encoding, trained on the text that a model is to be pre-trained on.

By the `tokenizers` library. The same text gives the same vocabulary, which a run that resumes relies on; the library's
WordPiece trainer breaks ties by chance. Notebook 03, "Pre-training".
"""

from __future__ import annotations

from collections.abc import Iterable
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
