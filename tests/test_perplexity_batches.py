"""How windows are put into batches: each once, none too large, and short documents not one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import tiny_tokenizer
from test_perplexity import Uniform

from mpolab import metrics, perplexity
from mpolab.perplexity import _batches, windows_of


def windows(lengths, room, stride):
    """As `perplexity` sorts them."""
    found = [window for number, length in enumerate(lengths) for window in windows_of(number, length, room, stride)]
    return sorted(found, key=lambda window: (window.begin - window.end, window.first - window.begin))


@given(
    st.lists(st.integers(2, 60), min_size=1, max_size=8), st.integers(2, 20), st.data(),
    st.none() | st.integers(1, 4), st.integers(1, 50), st.none() | st.integers(1, 60),
)  # fmt: skip
def test_every_window_once_and_no_batch_too_large(lengths, room, data, batch_size, scored, tokens):
    every = windows(lengths, room, data.draw(st.integers(1, room - 1)))
    found = list(_batches(every, batch_size, scored, tokens))
    assert [window for batch in found for window in batch] == every
    for batch in found:
        width = batch[0].end - batch[0].begin
        if batch_size is not None:
            assert len(batch) <= batch_size
        elif len(batch) > 1:
            assert tokens is None or len(batch) * width <= tokens
            assert len(batch) * (batch[0].end - batch[0].first + 1) <= scored
    if batch_size is not None:
        assert all(len(batch) == batch_size for batch in found[:-1])
    elif tokens is not None:  # one more would have been too many
        for batch in found[:-1]:
            more, first = len(batch) + 1, batch[0]
            assert more * (first.end - first.begin) > tokens or more * (first.end - first.first + 1) > scored


def called(lengths, room=1000, size=None):
    """(rows, columns) of every call of a model on a CPU, but the two that check whether it is causal."""
    tokenizer = tiny_tokenizer()
    model = Uniform(len(tokenizer))
    texts = [" ".join(["cat"] * length) for length in lengths]
    found = metrics.perplexity(model, tokenizer, texts, max_length=room, batch_size=size)
    assert found["token_perplexity"] == pytest.approx(len(tokenizer))
    assert found["tokens"] == sum(lengths) - len(lengths)
    return model.calls[2:]


def test_short_documents_are_read_many_at_once_and_long_ones_few():
    at_once = perplexity.CPU_TOKENS_AT_ONCE
    assert len(called([8] * 300)) == math.ceil(300 * 8 / at_once)
    calls = called([300] * 10 + [8] * 100)
    assert all(rows * columns <= at_once for rows, columns in calls)
    assert calls[0] == (at_once // 300, 300) and len(calls) < 10
    assert called([8] * 300, size=7)[0] == (7, 8)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 3000))
def test_the_limit_changes_nothing_but_the_batches(limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perplexity, "CPU_TOKENS_AT_ONCE", limit)
        calls = called([40, 90, 3, 17, 200], room=50)
    assert all(rows * columns <= limit or rows == 1 for rows, columns in calls)


def test_logits_bound_a_batch_too(monkeypatch):
    monkeypatch.setattr(perplexity, "LOGITS_AT_ONCE", 5 * 20 * len(tiny_tokenizer()))
    assert called([20] * 12)[:3] == [(5, 20), (5, 20), (2, 20)]
