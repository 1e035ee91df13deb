"""Rows for pre-training: nothing of the text is lost, and each row's order is its own."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpolab import segments
from mpolab.errors import CheckpointError, DataError, TrainingError
from mpolab.features import IGNORE, Masker, collator
from mpolab.objectives import KINDS
from mpolab.vocabulary import train_tokenizer

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "unbelievable", "walking", "walked"]


def text(sentences: int, start: int = 0) -> str:
    """Sentences of different lengths, each with words that tell which one it is."""
    made = []
    for k in range(start, start + sentences):
        words = [WORDS[(k * 7 + m) % len(WORDS)] for m in range(2 + k % 5)]
        made.append(" ".join([f"N{k}", *words]) + ".")
    return " ".join(made)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([text(300), text(300)], size=120, max_length=64, progress=False)


@pytest.fixture
def tokens(tokenizer, tmp_path):
    return segments.tokenize([text(60), text(35, 60)], tokenizer, 32, tmp_path / "t")


# -- cutting -------------------------------------------------------------------------------------------


@given(st.text(alphabet='aB1 .!?"\n', max_size=200))
def test_sentences_keep_all_but_white_space(document):
    assert "".join("".join(segments.sentences(document)).split()) == "".join(document.split())


def test_sentences_of_a_paragraph():
    found = segments.sentences('He came. "Did he?" she said.\nYes, in 1902.\n\nchapter two\n\n The 3. end')
    assert found == ["He came.", '"Did he?" she said.', "Yes, in 1902.", "chapter two", "The 3. end"]


def test_the_arrays_hold_the_text_in_its_order(tokens, tokenizer):
    want = []
    for document in (text(60), text(35, 60)):
        for sentence in segments.sentences(document):
            want += tokenizer(sentence, add_special_tokens=False)["input_ids"]
    assert tokens.ids.tolist() == want
    assert tokens.sentences[0] == 0 and tokens.sentences[-1] == len(want)


def test_blocks_are_neighbours_that_fit_and_leave_nothing_out(tokens):
    assert tokens.blocks[0, 0] == 0 and tokens.blocks[-1, 1] == len(tokens.sentences) - 1
    assert (tokens.blocks[1:, 0] == tokens.blocks[:-1, 1]).all()
    lengths = tokens.sentences[tokens.blocks[:, 1]] - tokens.sentences[tokens.blocks[:, 0]]
    assert lengths.max() <= 29 and lengths.min() >= 2
    document_end = 60  # no block holds sentences of both documents
    assert not any(first < document_end < last for first, last in tokens.blocks.tolist())


def test_a_word_begins_where_the_tokenizer_says(tokens, tokenizer):
    pieces = tokenizer.convert_ids_to_tokens(tokens.ids.tolist())
    assert [piece.startswith("\u2581") for piece in pieces] == [bool(start) for start in tokens.starts]


def test_a_sentence_longer_than_a_row_is_cut_into_rows(tokenizer, tmp_path):
    long = "alpha " * 100
    found = segments.tokenize([long], tokenizer, 16, tmp_path / "t")
    assert len(found.ids) == 100 and len(found) == 8
    rows = segments.Segments(found, tokenizer, 0)
    for k in range(len(rows)):
        (a, _), (b, _), _ = rows.pair(0, k)
        assert a and b and len(a) + len(b) <= 13


def test_tokens_are_found_again_and_made_anew_where_they_are_damaged(tokenizer, tmp_path):
    splits = {"train": [text(60)], "valid": [text(20)]}
    first = segments.prepare("some text", splits, tokenizer, 32, tmp_path, progress=False)
    ids = first.splits["train"].ids.tolist()  # the array itself is the file that is damaged below
    (folder,) = tmp_path.glob("some-text-train-*")
    stamp = (folder / "about.json").stat().st_mtime_ns
    segments.prepare("some text", splits, tokenizer, 32, tmp_path, progress=False)
    assert (folder / "about.json").stat().st_mtime_ns == stamp
    with open(folder / "ids", "r+b") as file:
        file.truncate(8)
    with pytest.raises(CheckpointError, match="not whole"):
        segments.load(folder)
    again = segments.prepare("some text", splits, tokenizer, 32, tmp_path, progress=False)
    assert again.splits["train"].ids.tolist() == ids
    other = segments.prepare("some text", splits, tokenizer, 24, tmp_path, progress=False)
    assert len(other.splits["train"]) > len(first.splits["train"])
    assert not list(tmp_path.glob(".*")), "a stage was left behind"


def test_an_interrupted_tokenizing_leaves_nothing(tokenizer, tmp_path):
    def documents():
        yield text(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segments.tokenize(documents(), tokenizer, 32, tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_is_a_function_of_its_text():
    found = [train_tokenizer([text(50), text(20, 50)], 150, 32, progress=False).get_vocab() for _ in range(4)]
    assert all(vocabulary == found[0] for vocabulary in found)


def test_words_and_signs_are_apart_and_come_back(tokenizer):
    pair = tokenizer("Alpha, n7!", "Gamma walked.")
    pieces = tokenizer.convert_ids_to_tokens(pair["input_ids"])
    assert pieces[0] == "[CLS]" and pieces[-1] == "[SEP]" and pieces.count("[SEP]") == 2
    assert pair["token_type_ids"] == [0] * (pieces.index("[SEP]") + 1) + [1] * (len(pieces) - pieces.index("[SEP]") - 1)
    shown = tokenizer.decode(tokenizer("Alpha walked.")["input_ids"], skip_special_tokens=True)
    assert shown.strip() == "alpha walked ."


# -- rows ----------------------------------------------------------------------------------------------


def shown(row, tokenizer):
    """The two segments of a row as it was before anything was hidden."""
    ids = [label if k and label != IGNORE else i for k, (i, label) in enumerate(zip(row["input_ids"], row["labels"]))]
    ends = [k for k, i in enumerate(ids) if i == tokenizer.sep_token_id]
    assert ids[0] == tokenizer.cls_token_id and len(ends) == 2 and ends[1] == len(ids) - 1
    return ids[1 : ends[0]], ids[ends[0] + 1 : ends[1]]


def test_a_row_is_its_block_in_order_or_swapped_as_its_label_says(tokens, tokenizer):
    rows = segments.Segments(tokens, tokenizer, seed=3)
    swapped = 0
    for epoch, k in itertools.product(range(3), range(len(rows))):
        row = rows[epoch, k]
        first, second = shown(row, tokenizer)
        begin, end = (int(tokens.sentences[n]) for n in tokens.blocks[k])
        whole = tokens.ids[begin:end].tolist()
        assert (second + first if row["labels"][0] else first + second) == whole
        assert first and second and len(row["input_ids"]) <= 32
        kinds = row["token_type_ids"]
        assert kinds == [0] * (len(first) + 2) + [1] * (len(second) + 1)
        swapped += row["labels"][0]
    assert 0.3 < swapped / (3 * len(rows)) < 0.7


def test_the_cut_lies_between_sentences(tokens, tokenizer):
    rows = segments.Segments(tokens, tokenizer, seed=0)
    ends = set(tokens.sentences.tolist())
    for k in range(len(rows)):
        (a, _), (b, _), swapped = rows.pair(0, k)
        first, last = tokens.blocks[k].tolist()
        cut = int(tokens.sentences[first]) + len(b if swapped else a)
        assert cut in ends if last - first > 1 else tokens.starts[cut]  # one sentence: at a word


def test_rows_are_a_function_of_seed_epoch_and_number(tokens, tokenizer):
    one, two = (segments.Segments(tokens, tokenizer, seed=5) for _ in range(2))
    _ = [two[1, k] for k in range(4)]
    assert one[2, 3] == two[2, 3]
    assert one[2, 3] != one[3, 3] and one[2, 3] != segments.Segments(tokens, tokenizer, seed=6)[2, 3]
    assert one[3] == one[-1, 3], "an evaluation sees the same rows every time"


def test_the_order_says_nothing_about_the_masks(tokens, tokenizer):
    """Both come from the same key; were they drawn from one stream, swapped rows would hide other places."""
    rows = segments.Segments(tokens, tokenizer, seed=0)
    hidden = {0: [], 1: []}
    for epoch, k in itertools.product(range(150), range(len(rows))):
        labels = rows[epoch, k]["labels"]
        hidden[labels[0]].append(labels[1] != IGNORE)
    shares = [np.mean(values) for values in hidden.values()]
    spread = np.sqrt(sum(0.15 * 0.85 / len(values) for values in hidden.values()))
    assert abs(shares[0] - shares[1]) < 4 * spread


def test_the_order_is_told_by_each_rows_own_pair(tokens, tokenizer):
    """A model that is told the order of a row has no loss, whatever stands around it in a batch."""
    rows = segments.Segments(tokens, tokenizer, seed=1)
    batch = collator(tokenizer, True)([rows[0, k] for k in range(len(rows))])
    told = []
    for k, labels in enumerate(batch["labels"].tolist()):
        row = {"input_ids": batch["input_ids"][k].tolist(), "labels": labels}
        size = int(batch["attention_mask"][k].sum())
        row = {key: values[:size] for key, values in row.items()}
        first, _ = shown(row, tokenizer)
        begin = int(tokens.sentences[tokens.blocks[k, 0]])
        told.append(tokens.ids[begin : begin + len(first)].tolist() != first)
    logits = torch.zeros(len(told), 2)
    logits[torch.arange(len(told)), torch.tensor(told).long()] = 20.0
    masked = int((batch["labels"][:, 1:] != IGNORE).sum())
    outputs = {"prediction_logits": torch.zeros(masked, len(tokenizer)), "sop_logits": logits}
    objective = KINDS["pretraining"]
    assert objective.loss(outputs, batch["labels"])[1] < 1e-6
    outputs["sop_logits"] = logits.roll(1, 0)  # the labels of other rows
    assert objective.loss(outputs, batch["labels"])[1] / len(told) > 2


def test_whole_words_are_hidden_together(tokens, tokenizer):
    whole, single = (segments.Segments(tokens, tokenizer, seed=0, whole_words=flag) for flag in (True, False))
    torn = {True: 0, False: 0}
    share = []
    for rows in (whole, single):
        for epoch, k in itertools.product(range(20), range(len(rows))):
            row = rows[epoch, k]
            original = [label if k and label != IGNORE else i
                        for k, (i, label) in enumerate(zip(row["input_ids"], row["labels"]))]  # fmt: skip
            pieces = tokenizer.convert_ids_to_tokens(original)
            hidden = [False, *(label != IGNORE for label in row["labels"][1:])]
            share.append(np.mean(hidden[1:]))
            for here in range(2, len(pieces)):
                if not pieces[here].startswith(("\u2581", "[")):
                    torn[rows.whole_words] += hidden[here] != hidden[here - 1]
    assert torn[True] == 0 and torn[False] > 50
    assert 0.1 < np.mean(share) < 0.2


def test_most_rows_are_spread_over_a_split(tokens, tokenizer):
    data = segments.TokenData("t", {"train": tokens}, {}, most={"train": 4})
    rows = data.rows("train", tokenizer, 0)
    assert len(rows) == 4 and list(rows.numbers) == [k * len(tokens) // 4 for k in range(4)]
    assert data.describe()["rows"] == {"train": 4}
    assert json.dumps(data.describe())


# -- splits --------------------------------------------------------------------------------------------


def test_the_split_that_is_reported_never_chooses():
    given_splits = {"train": ["a\n" * 3000, "b\n" * 3000], "valid": ["v"]}
    found = segments.held_out(given_splits)
    assert found["test"] == ["v"]
    assert "".join(found["train"]) + "".join(found["valid"]) == "".join(given_splits["train"])
    assert 0 < len("".join(found["valid"])) < 200
    many = segments.held_out({"train": [f"{k} x" for k in range(500)], "valid": ["v"]})
    assert [*many["train"], *many["valid"]] == [f"{k} x" for k in range(500)] and 0 < len(many["valid"]) < 10
    three = {"train": ["a"], "valid": ["b"], "test": ["c"]}
    assert segments.held_out(three) == three


def test_a_text_too_short_to_hold_a_part_out():
    with pytest.raises(DataError, match="too short"):
        segments.held_out({"train": ["no line ends"], "valid": ["v"]})


# -- bad input -----------------------------------------------------------------------------------------


def test_empty_text(tokenizer, tmp_path):
    with pytest.raises(DataError, match="no tokens to learn from"):
        segments.tokenize(["  \n ", ""], tokenizer, 32, tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_no_room(tokenizer, tmp_path):
    with pytest.raises(TrainingError, match="at least 5"):
        segments.tokenize(["a b"], tokenizer, 4, tmp_path / "t")


def test_a_tokenizer_without_a_mask(tokens, tokenizer):
    import copy

    other = copy.deepcopy(tokenizer)
    other.mask_token = None
    with pytest.raises(TrainingError, match="no mask"):
        segments.Segments(tokens, other, 0)


def test_masks_of_single_tokens_are_as_before(tokenizer):
    """`starts` left out changes nothing: the same numbers are drawn."""
    feature = {"input_ids": list(range(5, 45))}
    masker = Masker(tokenizer, 0)
    assert masker(feature, 0, 1) == masker(feature, 0, 1, [1] * 40)
