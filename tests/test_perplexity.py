"""Perplexity against a model that is asked for one token at a time, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from small import WORDS, tiny_model, tiny_tokenizer
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

from mpolab import metrics
from mpolab.errors import DataError
from mpolab.perplexity import windows_of

DOCUMENTS = [
    " ".join(WORDS[(3 * k + k * k // 5) % len(WORDS)] for k in range(length)) for length in (70, 9, 41, 2, 130, 1, 12)
] + ["", "cat"]
WORDS_OF_LONG = 70 + 9 + 41 + 2 + 130 + 12
"""Of the documents with two tokens and more: a word of WORDS is one token."""


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def gpt2():
    """Sharp enough that its likelihoods are far from uniform."""
    config = transformers.GPT2Config(
        vocab_size=len(tiny_tokenizer()), n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.4,
        bos_token_id=3, eos_token_id=3, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return transformers.GPT2LMHeadModel(config)


@torch.no_grad()
def one_at_a_time(model, documents: list[list[int]], room: int, stride: int) -> float:
    """The sum over tokens of -log p(token | context), each from a call of its own on its context alone.

    The context of token t begins at the smallest multiple of the stride from which token t is within the window.
    """
    total = 0.0
    model.eval()
    for ids in documents:
        for t in range(1, len(ids)):
            begin = stride * max(0, math.ceil((t + 1 - room) / stride))
            logits = model(torch.tensor([ids[begin:t]])).logits[0, -1].double()
            total -= float(logits.log_softmax(-1)[ids[t]])
    model.train()
    return total


@pytest.mark.parametrize(("room", "stride"), [(64, None), (64, 63), (16, 1), (10, 7), (2, 1)])
def test_as_one_token_at_a_time(gpt2, tokenizer, room, stride):
    ids = [one for one in tokenizer(DOCUMENTS, add_special_tokens=False)["input_ids"] if len(one) > 1]
    expected = one_at_a_time(gpt2, ids, room, stride or room // 2)
    found = metrics.perplexity(gpt2, tokenizer, DOCUMENTS, max_length=room, stride=stride, batch_size=3)
    assert found["nll"] == pytest.approx(expected, rel=1e-5)
    assert found["tokens"] == WORDS_OF_LONG - 6
    assert (found["words"], found["documents"], found["skipped"]) == (WORDS_OF_LONG, 6, 3)
    assert found["token_perplexity"] == pytest.approx(math.exp(expected / (WORDS_OF_LONG - 6)), rel=1e-4)
    assert found["word_perplexity"] == pytest.approx(math.exp(expected / WORDS_OF_LONG), rel=1e-4)


def test_the_batch_size_changes_nothing(gpt2, tokenizer):
    found = [metrics.perplexity(gpt2, tokenizer, DOCUMENTS, 24, 9, batch_size=size) for size in (1, 2, 5, 100, None)]
    assert all(one == pytest.approx(found[0], rel=1e-6) for one in found)


def test_documents_are_read_by_themselves(gpt2, tokenizer):
    """The sum over documents, in any order: no context crosses from one to the next."""
    alone = [metrics.perplexity(gpt2, tokenizer, [text])["nll"] for text in DOCUMENTS[:5]]
    together = metrics.perplexity(gpt2, tokenizer, DOCUMENTS[4::-1])["nll"]
    assert together == pytest.approx(math.fsum(alone), rel=1e-6)


def test_words_are_not_tokens(gpt2, tokenizer):
    """ "xyz" is one word and three tokens (x ##y ##z)."""
    found = metrics.perplexity(gpt2, tokenizer, ["the xyz runs\n  on"])
    assert (found["tokens"], found["words"]) == (5, 4)
    assert found["word_perplexity"] == pytest.approx(math.exp(found["nll"] / 4))
    assert found["token_perplexity"] == pytest.approx(math.exp(found["nll"] / 5))


def test_with_a_start_token_the_first_counts_too(gpt2, tokenizer):
    ids = tokenizer("cat sleeps", add_special_tokens=False)["input_ids"]
    expected = one_at_a_time(gpt2, [[tokenizer.eos_token_id, *ids], [tokenizer.eos_token_id, ids[0]]], 64, 32)
    found = metrics.perplexity(gpt2, tokenizer, ["cat sleeps", "cat", " "], start=True)
    assert found["nll"] == pytest.approx(expected, rel=1e-5)
    assert (found["tokens"], found["words"], found["skipped"]) == (3, 3, 1)


@given(st.integers(0, 60), st.data())
def test_every_token_but_the_first_once(length, data):
    room = data.draw(st.integers(2, 20))
    stride = data.draw(st.integers(1, room - 1))
    scored = []
    for window in windows_of(0, length, room, stride):
        assert 0 <= window.begin < window.first < window.end <= min(length, window.begin + room)
        assert window.begin == 0 or window.first - window.begin >= room - stride  # context
        scored += range(window.first, window.end)
    assert scored == list(range(1, length))


class Uniform(nn.Module):
    """Every token is as likely as any other; no logits_to_keep, no use_cache, no limit of length."""

    def __init__(self, size: int):
        super().__init__()
        self.config = transformers.PreTrainedConfig()
        self.config.vocab_size = size
        self.weight = nn.Parameter(torch.zeros(size))
        self.calls: list[tuple[int, ...]] = []

    def forward(self, input_ids, attention_mask):
        self.calls.append(tuple(input_ids.shape))
        return CausalLMOutput(logits=self.weight.expand(*input_ids.shape, -1))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=4), st.integers(2, 12))
def test_a_uniform_model(lengths, room):
    tokenizer = tiny_tokenizer()
    model = Uniform(len(tokenizer))
    texts = [" ".join(["cat"] * length) for length in lengths]
    found = metrics.perplexity(model, tokenizer, texts, max_length=room)
    assert found["token_perplexity"] == pytest.approx(len(tokenizer))
    assert found["word_perplexity"] == pytest.approx(len(tokenizer) ** (1 - len(lengths) / sum(lengths)))
    assert all(width <= max(room, 8) for _, width in model.calls)


def test_modes_and_gradients_stay(gpt2, tokenizer):
    gpt2.train()
    gpt2.transformer.h[0].eval()
    metrics.perplexity(gpt2, tokenizer, ["the cat sat"])
    assert gpt2.training and not gpt2.transformer.h[0].training and gpt2.transformer.h[1].attn.training
    assert all(parameter.grad is None for parameter in gpt2.parameters())
    gpt2.train()


@pytest.mark.parametrize(
    ("texts", "more", "message"),
    [
        ([], {}, "no word in them"),
        (["", " \n"], {}, "2 texts with no word in them"),
        (["cat", ""], {}, "none of the 2 texts has a token to score"),
        ("the cat", {}, "one text, 'the cat'"),
        (["the cat", None], {}, r"texts\[1\] is None"),
        (["the cat"], {"max_length": 65}, r"max_length=65: windows of GPT2LMHeadModel have 2 \.\. 64 tokens"),
        (["the cat"], {"max_length": 1}, "max_length=1"),
        (["the cat"], {"stride": 64}, r"stride is 1 \.\. 63"),
        (["the cat"], {"stride": 0}, "stride=0"),
        (["the cat"], {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_bad_input(gpt2, tokenizer, texts, more, message):
    with pytest.raises(DataError, match=message):
        metrics.perplexity(gpt2, tokenizer, texts, **more)


def test_another_models_tokenizer(tokenizer):
    config = transformers.GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1, n_positions=16)
    small = transformers.GPT2LMHeadModel(config)
    with pytest.raises(DataError, match=rf"the tokenizer has {len(tokenizer)} entries, and GPT2LMHeadModel knows 20"):
        metrics.perplexity(small, tokenizer, ["the cat"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tiny_model("BertForMaskedLM"), "not causal"),
        (lambda: tiny_model("GPT2Model"), "gives last_hidden_state, and perplexity needs logits"),
        (lambda: tiny_model("GPT2ForSequenceClassification"), "needs logits for every token"),
        (
            lambda: transformers.T5ForConditionalGeneration(
                transformers.T5Config(vocab_size=99, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
            ),
            "predicts a target from a source",
        ),
        (lambda: nn.Linear(2, 2), "no config with a vocab_size"),
    ],
)
def test_models_without_a_likelihood_of_text(tokenizer, make, message):
    with pytest.raises(DataError, match=message):
        metrics.perplexity(make(), tokenizer, ["the cat sat on the mat"])
