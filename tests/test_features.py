"""Order of rows, masks, blocks of text, windows of passages. The tokenizer is a toy; its arithmetic is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import questions, sentences, tiny_model, tiny_text, tiny_tokenizer

from mpolab import features, objectives, spans
from mpolab.errors import DataError, TrainingError

ACCEPTS = {"input_ids", "attention_mask", "token_type_ids"}


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


# ---------------------------------------------------------------------------------------------------------- order


@given(rows=st.integers(1, 60), size=st.integers(1, 8), processes=st.integers(1, 3), epoch=st.integers(0, 3))
def test_processes_share_the_rows_of_one(rows, size, processes, epoch):
    def batches(size, processes, process):
        found = features.Batches(rows, size, 5, processes, process)
        found.epoch = epoch
        return list(found)

    alone = batches(size * processes, 1, 0)
    together = [batches(size, processes, process) for process in range(processes)]
    assert {len(part) for part in together} == {len(alone)} == {len(features.Batches(rows, size, 5, processes))}
    assert sorted(number for batch in alone for _, number in batch) == list(range(rows))
    for step, batch in enumerate(alone):
        union = [key for part in together for key in part[step]]
        assert set(union) == set(batch)
        assert len(batch) < processes or union == batch  # only then is a row repeated


def test_the_order_changes_with_the_epoch_and_the_seed_only():
    def order(seed, epoch):
        found = features.Batches(50, 10, seed)
        found.epoch = epoch
        return [number for batch in found for _, number in batch]

    torch.manual_seed(1)
    first = order(0, 0)
    torch.manual_seed(2)
    assert order(0, 0) == first != order(0, 1) != order(1, 1)


# ---------------------------------------------------------------------------------------------------------- masks


def test_masks_are_those_of_bert(tokenizer):
    masker = features.Masker(tokenizer, seed=0)
    ids = [tokenizer.cls_token_id, *(10 + k % 30 for k in range(20_000)), tokenizer.sep_token_id]
    feature = {"input_ids": ids, "labels": ids}
    found = masker(feature, 0, 0)
    shown, labels = np.array(found["input_ids"]), np.array(found["labels"])
    hidden = labels != features.IGNORE
    assert not hidden[0] and not hidden[-1] and (shown[~hidden] == np.array(ids)[~hidden]).all()
    assert (labels[hidden] == np.array(ids)[hidden]).all()
    share = {
        "predicted": hidden.mean(),
        "masked": (shown[hidden] == tokenizer.mask_token_id).mean(),
        "kept": (shown[hidden] == labels[hidden]).mean(),
    }
    # 20,000 draws: the standard deviations are 0.0025, 0.007 and 0.006 (a random token may be the same one)
    assert share == pytest.approx({"predicted": 0.15, "masked": 0.80, "kept": 0.10 + 0.1 / len(tokenizer)}, abs=0.03)


def test_masks_are_a_function_of_seed_epoch_and_row(tokenizer):
    feature = {"input_ids": list(range(5, 45)), "labels": []}
    masker = features.Masker(tokenizer, seed=0)
    torch.manual_seed(1)
    first = masker(feature, 0, 0)
    torch.manual_seed(2)
    assert masker(feature, 0, 0) == first
    others = [masker(feature, 1, 0), masker(feature, 0, 1), features.Masker(tokenizer, seed=1)(feature, 0, 0)]
    assert first not in others
    rows = features.Rows([feature], masker=masker)
    assert rows[0, 0] == first and rows[0] == masker(feature, -1, 0) != first


# ----------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("masked", [True, False])
def test_text_is_cut_and_nothing_is_lost(tokenizer, masked):
    texts = tiny_text().splits["train"]
    blocks = features.encode_text(tokenizer, texts, 12, masked)
    alone = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    if masked:
        assert {(block["input_ids"][0], block["input_ids"][-1]) for block in blocks} == {(2, 3)}
        whole = [token for block in blocks for token in block["input_ids"][1:-1]]
    else:
        alone = [[*row, tokenizer.eos_token_id] for row in alone]
        whole = [token for block in blocks for token in block["input_ids"]]
    assert whole == [token for row in alone for token in row]
    assert {len(block["input_ids"]) for block in blocks[:-1]} == {12}
    for block in blocks:
        assert block["labels"] == [features.IGNORE] + block["input_ids"][1:]


def test_text_needs_the_right_tokenizer(tokenizer):
    plain = tiny_tokenizer()
    plain.mask_token = None
    with pytest.raises(TrainingError, match=r"no mask, cls and sep tokens.*objective='causal'"):
        features.encode_text(plain, ["a cat"], 12, True)
    with pytest.raises(TrainingError, match="max_length=3 leaves no room"):
        features.encode_text(tokenizer, ["a cat"], 3, True)


def test_padding_is_that_of_the_batch(tokenizer):
    rows = features.encode_sentences(tokenizer, sentences(4, 0), 10, ACCEPTS)
    batch = features.collator(tokenizer, False)(rows)
    longest = max(len(row["input_ids"]) for row in rows)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (4, longest)
    assert [int(count) for count in batch["attention_mask"].sum(1)] == [len(row["input_ids"]) for row in rows]
    assert batch["labels"].dtype == torch.int64
    scores = features.encode_sentences(tokenizer, sentences(4, 0, "regression"), 10, {"input_ids"})
    assert set(scores[0]) == {"input_ids", "labels"}
    assert features.collator(tokenizer, False)(scores)["labels"].dtype == torch.float32
    text = features.encode_text(tokenizer, ["a cat runs", "a"], 5, False)
    assert features.collator(tokenizer, True, 8)(text)["labels"].tolist()[0][5:] == [features.IGNORE] * 3
    with pytest.raises(DataError, match=r"row '0-1' has no label"):
        features.encode_sentences(tokenizer, [{"id": "0-1", "text": "a"}], 10, ACCEPTS)


# ---------------------------------------------------------------------------------------------------------- spans


@pytest.mark.parametrize(("length", "stride"), [(64, 32), (24, 8), (20, 50)])
def test_windows_find_the_answer_again(tokenizer, length, stride):
    """Logits that point at the labels give the gold answers back, from whichever window holds them."""
    rows = questions(12, 0, long=True)
    encoded, windows = spans.encode_questions(tokenizer, rows, length, stride, ACCEPTS)
    assert max(len(row["input_ids"]) for row in encoded) <= length
    assert {window.row for window in windows} == set(range(12)) and (length == 64) <= (len(windows) < 40)
    logits = np.zeros((len(encoded), length, 2), dtype=np.float32)
    held = set()
    for k, (row, window) in enumerate(zip(encoded, windows)):
        first, last = row["labels"]
        if first:
            held.add(window.row)
            context, answer = rows[window.row]["context"], rows[window.row]["answers"]["text"][0]
            assert context[window.characters[first][0] : window.characters[last][1]] == answer
            logits[k, first, 0] = logits[k, last, 1] = 5
    assert held == set(range(12))  # overlapping windows hold every answer whole
    found = spans.best_answers(rows, windows, logits)
    assert found == [{"id": row["id"], "prediction_text": row["answers"]["text"][0]} for row in rows]


def test_an_answer_is_short_and_begins_before_it_ends(tokenizer):
    rows = questions(1, 0)
    encoded, windows = spans.encode_questions(tokenizer, rows, 64, 32, ACCEPTS)
    inside = [k for k, place in enumerate(windows[0].characters) if place]
    logits = np.zeros((1, len(encoded[0]["input_ids"]), 2), dtype=np.float32)
    logits[0, inside[4], 0] = 9  # the best begin stands after the best end
    logits[0, inside[2], 1] = 9
    logits[0, inside[5], 1] = 1
    context, place = rows[0]["context"], windows[0].characters
    want = context[place[inside[4]][0] : place[inside[5]][1]]
    assert spans.best_answers(rows, windows, logits)[0]["prediction_text"] == want
    (only,) = spans.best_answers(rows, windows, logits, max_tokens=1)
    assert " " not in only["prediction_text"]
    logits[0, 0] = 99  # a begin outside the passage is never taken
    assert spans.best_answers(rows, windows, logits)[0]["prediction_text"] == want


def test_bad_questions(tokenizer):
    row = questions(1, 0)[0]
    wrong = {**row, "answers": {"text": ["cat"], "answer_start": [2]}}
    if row["context"][2:5] == "cat":
        wrong["answers"]["answer_start"] = [3]
    with pytest.raises(DataError, match=r"is not at character \d of its passage"):
        spans.encode_questions(tokenizer, [wrong], 64, 32, ACCEPTS)
    with pytest.raises(DataError, match="has no answer"):
        spans.encode_questions(tokenizer, [{**row, "answers": {"text": [], "answer_start": []}}], 64, 32, ACCEPTS)
    with pytest.raises(TrainingError, match="fast tokenizer"):
        spans.encode_questions(object(), [row], 64, 32, ACCEPTS)
    for length in (1, 5, 6):
        with pytest.raises(TrainingError, match=rf"max_length={length} leaves no room .* at least 7, better"):
            spans.encode_questions(tokenizer, [row], length, 64, ACCEPTS)
    assert len(spans.encode_questions(tokenizer, [row], 7, 64, ACCEPTS)[0]) > 1
    long = {**row, "question": " ".join(["cat"] * 200)}
    encoded, windows = spans.encode_questions(tokenizer, [long], 30, 4, ACCEPTS)
    assert len(encoded) > 0 and all(sum(p is not None for p in w.characters) >= 7 for w in windows[:-1])


# ----------------------------------------------------------------------------------------- losses, by transformers'


@pytest.mark.parametrize(
    ("kind", "cls", "config", "labels"),
    [
        ("class", "BertForSequenceClassification", {"num_labels": 3}, torch.tensor([0, 2])),
        ("score", "BertForSequenceClassification", {"num_labels": 1}, torch.tensor([0.5, -2.0])),
        ("span", "BertForQuestionAnswering", {}, torch.tensor([[0, 3], [2, 4]])),
        ("masked", "BertForMaskedLM", {}, torch.tensor([[-100, 9, -100, 8, -100], [-100, -100, 7, -100, -100]])),
        ("causal", "GPT2LMHeadModel", {}, torch.tensor([[-100, 9, 7, 8, 3], [-100, 4, 7, -100, -100]])),
    ],
)
def test_losses_are_those_of_transformers(kind, cls, config, labels):
    model = tiny_model(cls, **config).eval()
    ids = torch.tensor([[5, 9, 7, 8, 3], [6, 4, 7, 0, 0]])
    objective = objectives.KINDS[kind]
    with torch.no_grad():
        outputs = model(input_ids=ids)
        given = {"labels": labels}
        if kind == "span":
            given = {"start_positions": labels[:, 0], "end_positions": labels[:, 1]}
        theirs = model(input_ids=ids, **given).loss
    items = (labels != features.IGNORE).sum()
    torch.testing.assert_close(objective.loss(outputs, labels) / items, theirs)
    kept = objective.keep(outputs, labels)
    assert objective.mean(kept.numpy(), labels.numpy()) == pytest.approx(theirs.item(), rel=1e-6)
