"""Streams of tokens for models that write: nothing is lost, and hidden spans are as T5 has them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from mpolab import prepare, token_streams
from mpolab.errors import CheckpointError, DataError, TrainingError
from mpolab.features import IGNORE, stream, target_collator
from mpolab.objectives import of_spans
from mpolab.token_streams import Corrupted, Windows
from mpolab.training import evaluate
from mpolab.vocabulary import GPT2_SPECIAL, SENTINELS, T5_SPECIAL, train_byte_tokenizer
from mpolab.writers import sentinels_of

STORY = "The Cat sat.\nIt was\nlate.\n\n  \n“Émile!”  cried she;\n\nthe\tcat"
SHOWN = "The Cat sat. It was late.\n“Émile!” cried she;\nthe cat\n"


@pytest.fixture(scope="module")
def gpt2():
    return train_byte_tokenizer([STORY * 5], 300, 64, GPT2_SPECIAL, progress=False)


@pytest.fixture(scope="module")
def t5():
    return train_byte_tokenizer([STORY * 5], 420, 64, T5_SPECIAL, SENTINELS, True, progress=False)


# -- vocabulary ----------------------------------------------------------------------------------------


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_every_text_comes_back(gpt2, text):
    assert gpt2.decode(gpt2(text)["input_ids"]) == text


def test_the_special_tokens_are_those_of_the_family(gpt2, t5):
    assert (gpt2.eos_token_id, gpt2.bos_token_id, gpt2.pad_token_id) == (0, 0, None)
    assert (t5.pad_token_id, t5.eos_token_id, t5.unk_token_id) == (0, 1, 2)  # T5's numbers
    assert len(t5) <= 420 and sentinels_of(t5) == list(range(len(t5) - 100, len(t5)))
    assert t5("a <extra_id_3>")["input_ids"][-2:] == [len(t5) - 97, 1]
    with pytest.raises(TrainingError, match="extra_id_0"):
        sentinels_of(gpt2)


def test_a_vocabulary_without_room_or_without_text():
    with pytest.raises(DataError, match="no room"):
        train_byte_tokenizer([STORY], 256, progress=False)
    with pytest.raises(DataError, match="give more text"):
        train_byte_tokenizer(["a b"], 300, progress=False)


# -- the stream ----------------------------------------------------------------------------------------


def test_a_stream_has_paragraphs_and_documents_in_their_order(gpt2, tmp_path):
    ids = token_streams.tokenize([STORY, "", "Two.\n"], gpt2, tmp_path / "t")
    assert gpt2.decode(ids.tolist()) == f"{SHOWN}<|endoftext|>Two.\n<|endoftext|>"


class Pieces(list):
    """Documents that come in pieces, as `reading.Documents` do."""

    def __init__(self, documents, width):
        super().__init__(documents)
        self.width = width

    def parts(self):
        for number, text in enumerate(self):
            for k in range(0, len(text), self.width):
                yield number, text[k : k + self.width]


@given(st.lists(st.text("ab \n", max_size=40), max_size=4), st.integers(1, 9))
def test_paragraphs_do_not_depend_on_the_pieces(documents, width):
    whole = list(token_streams.paragraphs(documents))
    pieces = Pieces(documents, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_streams, "parts_of", lambda given: given.parts())
        assert list(token_streams.paragraphs(pieces)) == whole
    for number, text in enumerate(documents):
        assert "".join("".join(line for k, line in whole if k == number).split()) == "".join(text.split())


def test_a_paragraph_without_an_end_is_cut_at_white_space(monkeypatch):
    monkeypatch.setattr(token_streams, "LONGEST", 10)
    monkeypatch.setattr(token_streams, "parts_of", lambda given: given.parts())
    lines = [line for _, line in token_streams.paragraphs(Pieces(["one two three four five"], 4))]
    assert " ".join(lines) == "one two three four five" and len(lines) > 1


def test_empty_text_and_half_a_folder(gpt2, tmp_path):
    with pytest.raises(DataError, match="white space"):
        token_streams.tokenize([" \n"], gpt2, tmp_path / "t")
    token_streams.tokenize([STORY], gpt2, tmp_path / "u")
    (tmp_path / "u" / "ids").write_bytes(b"12345678")
    with pytest.raises(CheckpointError, match="not whole"):
        token_streams.load(tmp_path / "u")
    made = token_streams.tokenize([STORY], gpt2, tmp_path / "u")  # and it is made anew
    assert len(made) == json.loads((tmp_path / "u" / "about.json").read_text())["ids"]


# -- windows -------------------------------------------------------------------------------------------


@given(st.integers(2, 60), st.integers(2, 13))
def test_windows_are_the_stream(total, length):
    rows = Windows(np.arange(total), length)
    joined = [token for k in range(len(rows)) for token in rows[0, k]["input_ids"]]
    assert joined == list(range(total if total % length != 1 else total - 1))
    assert all(row["labels"] == [IGNORE, *row["input_ids"][1:]] for row in (rows[k] for k in range(len(rows))))
    labels = sorted(token for k in range(len(rows)) for token in rows[k]["labels"] if token != IGNORE)
    assert np.flatnonzero(rows.predicted()).tolist() == labels


@given(st.integers(2, 300), st.integers(0, 5))
@settings(deadline=None)
def test_spans_have_t5s_numbers(length, seed):
    hidden = token_streams.hidden_spans(length, stream(seed, length))
    count, spans = token_streams.spans_in(length)
    begins = np.flatnonzero(hidden & ~np.concatenate([[False], hidden[:-1]]))
    assert hidden.shape == (length,) and hidden.sum() == count and len(begins) == spans
    assert not hidden[0] and hidden[-1]
    if length == 128:
        assert (count, spans) == (19, 6)  # .15 * 128 = 19.2; 19 / 3 = 6.3


def test_all_divisions_are_equally_likely():
    generator = torch.Generator().manual_seed(1)
    seen = [tuple(token_streams._divided(5, 3, generator)) for _ in range(3000)]
    counts = {key: seen.count(key) for key in set(seen)}
    assert len(counts) == 6 and all(sum(key) == 5 and min(key) >= 1 for key in counts)  # 4 choose 2
    assert max(abs(count - 500) for count in counts.values()) < 5 * (500 * 5 / 6) ** 0.5  # 5 standard deviations


def test_corruption_of_the_papers_example():
    """Figure 2 of Raffel et al., but for the last sentinel, which T5's own code leaves out."""
    words = "Thank you for inviting me to your party last week .".split()
    hidden = np.isin(words, ["for", "inviting", "last"])
    source, target = token_streams.corrupt(np.arange(len(words)), hidden, [100, 99])
    assert source == [0, 1, 100, 4, 5, 6, 7, 99, 9, 10] and target == [100, 2, 3, 99, 8]


def test_source_and_target_together_are_the_window(t5, tmp_path):
    ids = token_streams.tokenize([STORY * 9], t5, tmp_path / "t")
    marks = sentinels_of(t5)
    rows = Corrupted(ids, 40, t5, 3, marks)
    for number in range(len(rows)):
        row = rows[2, number]
        source, target = row["input_ids"][:-1], row["labels"][:-1]
        assert row["input_ids"][-1] == row["labels"][-1] == t5.eos_token_id
        spans, used = {}, []
        for token in target:
            if token in marks:
                used.append(token)
            else:
                spans.setdefault(used[-1], []).append(token)
        assert used == marks[: len(used)]
        joined = [token for shown in source for token in (spans[shown] if shown in spans else [shown])]
        assert joined == ids[rows.span(number)].tolist()
    assert rows[2, 0] == rows[2, 0] and rows[2, 0] != rows[3, 0]
    assert rows[0] == rows[-1, 0]
    with pytest.raises(TrainingError, match="sentinels"):
        Corrupted(ids, 128, t5, 3, marks[:5])


# -- the engine ----------------------------------------------------------------------------------------


def of(tokenizer, tmp_path, sentinels=None, length=24):
    splits = {"train": [STORY * 9], "valid": [STORY], "test": [STORY * 4]}
    return token_streams.prepare("story", splits, tokenizer, length, tmp_path, sentinels, progress=False)


def test_gpt2s_perplexity_is_that_of_its_own_loss(gpt2, tmp_path):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=len(gpt2), bos_token_id=0, eos_token_id=0)
    ).eval()
    data = of(gpt2, tmp_path)
    found = evaluate(model, gpt2, data)["test"]
    nll, tokens = 0.0, 0
    rows = data.rows("test", gpt2, 0)
    with torch.no_grad():
        for row in (rows[k] for k in range(len(rows))):
            ids = torch.tensor([row["input_ids"]])
            count = ids.shape[1] - 1
            nll, tokens = nll + float(model(ids, labels=ids).loss) * count, tokens + count
    assert found["loss"] == pytest.approx(nll / tokens, rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(nll / tokens), rel=1e-5)
    assert tokens == data.rows("test", gpt2, 0).predicted().sum()


def small_t5(t5):
    torch.manual_seed(0)
    return T5ForConditionalGeneration(
        T5Config(
            d_model=16, d_kv=8, num_heads=2, d_ff=32, num_layers=1, vocab_size=len(t5), pad_token_id=0,
            decoder_start_token_id=0, eos_token_id=1,
        )
    ).eval()  # fmt: skip


def test_t5s_loss_is_its_own_and_the_perplexity_that_of_the_hidden_tokens(t5, tmp_path):
    model, data = small_t5(t5), of(t5, tmp_path, sentinels_of(t5))
    found = evaluate(model, t5, data)["test"]
    marks = {*sentinels_of(t5), t5.eos_token_id}
    nll, hidden, words = [], [], 0
    rows = data.rows("test", t5, 0)
    with torch.no_grad():
        for row in (rows[k] for k in range(len(rows))):
            labels = torch.tensor([row["labels"]])
            logits = model(torch.tensor([row["input_ids"]]), labels=labels).logits[0].log_softmax(-1)
            each = [-float(logits[place, token]) for place, token in enumerate(row["labels"])]
            nll += each
            hidden += [value for value, token in zip(each, row["labels"]) if token not in marks]
            words += sum(token not in marks for token in row["labels"])
    assert found["loss"] == pytest.approx(np.mean(nll), rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(np.mean(hidden)), rel=1e-5)
    assert words == data.rows("test", t5, 0).predicted().sum()


def test_a_batch_of_targets_is_what_transformers_makes_of_them(t5):
    collate = target_collator(t5, start=0)
    rows = [{"input_ids": [5, 6, 7, 1], "attention_mask": [1] * 4, "labels": [9, 8, 1]},
            {"input_ids": [5, 1], "attention_mask": [1] * 2, "labels": [9, 8, 4, 3, 1]}]  # fmt: skip
    batch = collate(rows)
    assert torch.equal(batch["decoder_input_ids"], small_t5(t5)._shift_right(batch["labels"]))
    assert batch["labels"][0].tolist() == [9, 8, 1, IGNORE, IGNORE]
    assert batch["decoder_attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert target_collator(t5, 0, multiple=8)(rows)["labels"].shape == (2, 8)


def test_rows_and_model_must_fit(gpt2, t5, tmp_path):
    with pytest.raises(TrainingError, match="a decoder alone"):
        prepare.kind_of(small_t5(t5), of(t5, tmp_path), None)
    decoder = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=len(gpt2)))
    with pytest.raises(TrainingError, match="an encoder and a decoder"):
        prepare.kind_of(decoder, of(gpt2, tmp_path, [1, 2]), None)
    with pytest.raises(DataError, match="no split 'dev'"):
        of(gpt2, tmp_path).rows("dev", gpt2, 0)


def test_sums_of_spans_by_hand():
    logits = torch.zeros(1, 3, 4)  # every token 1/4
    labels = torch.tensor([[3, 2, IGNORE]])
    kept = of_spans([3]).keep({"logits": logits}, labels)
    assert kept.tolist()[0] == pytest.approx([2 * np.log(4), 2, np.log(4), 1])


def test_a_long_paragraph_is_cut_between_words(monkeypatch):
    """Also where a piece of the text ends with white space."""
    monkeypatch.setattr(token_streams, "LONGEST", 12)
    monkeypatch.setattr(token_streams, "parts_of", lambda documents: ((0, part) for part in documents))
    pieces = ["alpha beta gamma ", "delta eps", "ilon zeta eta", " theta"]
    found = " ".join(line for _, line in token_streams.paragraphs(pieces))
    assert found == "alpha beta gamma delta epsilon zeta eta theta"
