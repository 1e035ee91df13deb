"""MPOE's comparison: wider models are the same at first, continuations are scored fairly, runs say what they did."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from mpolab import continuations, mpoe, mpoe_glue, runs
from mpolab.errors import DataError, MatrixTypeError, PlanError, TrainingError, UnknownNameError
from mpolab.metrics import bleu, self_bleu
from mpolab.moe import to_moe
from mpolab.recipes import RECIPES, run
from mpolab.vocabulary import GPT2_SPECIAL, train_byte_tokenizer
from mpolab.widening import widen

WORDS = "the cat sat on a mat and the dog ran to the old house by the sea while it rained".split()


def text(seed: int, words: int) -> str:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(len(WORDS), (words,), generator=generator).tolist()
    return " ".join(WORDS[k] for k in numbers)


def gpt2(vocabulary: int = 40, **changes) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    shape = {"n_embd": 12, "n_layer": 2, "n_head": 2, "n_positions": 64, **changes}
    return GPT2LMHeadModel(GPT2Config(**shape, vocab_size=vocabulary, bos_token_id=0, eos_token_id=0)).eval()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a small GPT-2 and one with a text; build/ is elsewhere."""
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "build" / "runs"))
    monkeypatch.chdir(tmp_path)
    tokenizer = train_byte_tokenizer([text(0, 400)], 300, 64, GPT2_SPECIAL, progress=False)
    gpt2(len(tokenizer)).save_pretrained("mini")
    tokenizer.save_pretrained("mini")
    for split, words in (("train", 800), ("valid", 300), ("test", 600)):
        (tmp_path / f"story.{split}.txt").write_text(text(len(split), words))
    return tmp_path


def recipe(**options):
    given = {"snapshots": 2, "texts": 4, **options}
    base = RECIPES["experts-mpoe"]
    scales = {"smoke": {"max_steps": 4, "batch_size": 4, "max_length": 16, "eval_every": None}}
    return dataclasses.replace(base, name="story", model="mini", text="story", options=given, scales=scales)


# -- widening ------------------------------------------------------------------------------------------


def t5():
    torch.manual_seed(0)
    config = T5Config(d_model=12, d_kv=6, num_heads=2, d_ff=20, num_layers=1, vocab_size=40, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


@pytest.mark.parametrize("make", [gpt2, t5])
def test_a_wider_model_is_the_same_model_at_first_and_all_of_it_learns(make):
    model, ids = make(), torch.arange(10)[None]
    inputs = {"input_ids": ids, "labels": ids}
    before, count = model(**inputs), sum(p.numel() for p in model.parameters())
    wide = widen(model, 57, seed=1)
    assert wide is model
    after = model(**inputs)
    torch.testing.assert_close(after.logits, before.logits)
    blocks, old, bias = (2, 48, 1) if make is gpt2 else (2, 20, 0)
    assert sum(p.numel() for p in model.parameters()) == count + blocks * (57 - old) * (2 * 12 + bias)
    after.loss.backward()
    down = model.transformer.h[0].mlp.c_proj if make is gpt2 else model.encoder.block[0].layer[1].DenseReluDense.wo
    assert down.weight.grad[-1].abs().sum() > 0 if make is gpt2 else down.weight.grad[:, -1].abs().sum() > 0
    copy = type(model)(model.config)  # the config knows the new size
    copy.load_state_dict(model.state_dict())


def test_what_cannot_be_widened():
    with pytest.raises(PlanError, match="48 already"):
        widen(gpt2(), 47)
    with pytest.raises(MatrixTypeError, match="Linear"):
        widen(torch.nn.Linear(2, 2), 4)


def test_wide_has_mpoes_parameters():
    """Of gpt2-mini's shape, on the meta device; a neuron of each of four blocks is 4 * 385 parameters."""
    from mpolab.writers import GPT2_MINI

    def count(model):
        return sum(p.numel() for p in model.parameters())

    with torch.device("meta"):
        config = GPT2Config(**GPT2_MINI, vocab_size=5000, bos_token_id=0, eos_token_id=0)
        dense, mpoe_8 = count(GPT2LMHeadModel(config)), count(to_moe(GPT2LMHeadModel(config)))
    wide = dense + 4 * 385 * (mpoe.WIDE - 768)
    assert abs(wide - mpoe_8) <= 4 * 385 / 2


def test_wide_has_mpoes_parameters_at_gpt2s_size_too():
    """What scale gpu asks for, on the meta device."""
    with torch.device("meta"):
        wide = widen(GPT2LMHeadModel(GPT2Config()), RECIPES["experts-wide"].at("gpu").options["neurons"])
        moe = to_moe(GPT2LMHeadModel(GPT2Config()))
    ours, mpoes = (sum(p.numel() for p in model.parameters()) for model in (wide, moe))
    assert abs(ours - mpoes) <= 12 * 1537 / 2
    assert RECIPES["experts-wide"].at("laptop").options["neurons"] == mpoe.WIDE


# -- continuations -------------------------------------------------------------------------------------


def test_beginnings_and_continuations_are_pieces_of_the_stream():
    given, true = continuations.cut(np.arange(100), 4, 3, 5)
    assert given.tolist() == [[0, 1, 2], [30, 31, 32], [61, 62, 63], [92, 93, 94]]
    assert (true[:, 0] == given[:, -1] + 1).all() and true[-1, -1] == 99
    with pytest.raises(DataError, match="at most 12"):
        continuations.cut(np.arange(100), 13, 3, 5)


def test_continuations_are_drawn_from_the_models_distribution():
    """The first token after one beginning, drawn often, against the softmax of the logits, eos left out."""
    model = gpt2(12)
    beginnings = np.tile([[3, 4]], (4000, 1))
    found = continuations.continued(model, beginnings, 1, seed=5)[:, 0]
    with torch.no_grad():
        logits = model(torch.tensor([[3, 4]])).logits[0, -1]
    logits[0] = -math.inf
    want = logits.softmax(0).numpy()
    seen = np.bincount(found, minlength=12) / len(found)
    assert seen[0] == 0
    assert np.abs(seen - want).max() < 5 * 0.5 / 4000**0.5
    state = torch.random.get_rng_state()
    assert (continuations.continued(model, beginnings[:7], 4, 5) == continuations.continued(model, beginnings[:7], 4, 5)
            ).all()  # fmt: skip
    assert torch.equal(state, torch.random.get_rng_state())


def test_scores_are_bleu_with_all_references():
    texts, references = ["a b c d e", "a b x"], ["a b c d f", "q r"]
    found = continuations.scored(texts, references)
    assert found == {"bleu_2": bleu(texts, references, 2), "bleu_4": bleu(texts, references, 4),
                     "self_bleu_2": self_bleu(texts, 2)}  # fmt: skip


# -- runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "dense"},
        {"kind": "wide", "neurons": 64},
        {"kind": "mpoe", "experts": 3, "plan": 3, "mask_probability": 1.0},
        {"kind": "moe", "experts": 3, "top_k": 2},
        {"kind": "switch", "experts": 3, "router": {"router": "mpoe"}, "plan": 3, "reach": True},
        {"kind": "moefication", "experts": 3, "top_k": 2},
    ],
    ids=lambda options: options["kind"],
)
def test_a_run_of_each_kind(here, options):
    record = run(recipe(**options), "smoke", data_dir=here, progress=False, results=here / "results")
    extra, scores = record.extra, record.scores["test"]
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
    assert {"bleu_2", "bleu_4", "self_bleu_2"} <= set(scores)
    assert extra["parameters"]["here"] == record.total
    assert (extra["parameters"]["here"] == extra["parameters"]["dense"]) == (options["kind"] == "dense")
    if options["kind"] in ("dense", "wide"):
        assert "routing" not in extra
        return
    assert [entry["step"] for entry in extra["routing"]] == [0, 2, 4]
    first, last = extra["routing"][0]["layers"], extra["routing"][-1]["layers"]
    assert len(first) == 2 and all(sum(layer["load"]) == pytest.approx(1, abs=1e-3) for layer in last)
    if options["kind"] != "moefication":
        assert max(first[0]["distances"]) == 0 < max(last[0]["distances"])
    if "reach" in options:
        assert len(extra["auxiliary_share"]) == 4
        for found in extra["auxiliary_share"].values():
            assert 0 < found["share"] < 1 and found["moved"] > 0
            assert found["random"] < 2.5 * found["numbers"]
    if options["kind"] == "mpoe":
        assert set(extra["centres_moved"].values()) == {0.0} and record.trainable < record.total
        experts, updates = len(first[0]["load"]), extra["updates"]
        assert updates["of_experts"] == 4 * 2 * experts, "four steps, two layers"
        assert 0 <= updates["without_token"] < updates["of_experts"]
        assert updates["share"] == updates["without_token"] / updates["of_experts"]
    else:
        assert "updates" not in extra


def test_a_run_that_was_stopped_behind_its_training_has_its_counts(here, monkeypatch):
    """Nothing is left to train when it goes on."""
    given = {"data_dir": here, "progress": False, "results": here / "results"}
    story = recipe(kind="mpoe", experts=3, plan=3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(continuations, "score", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(story, "smoke", **given)
    record = run(story, "smoke", **given)
    assert record.extra["updates"]["of_experts"] == 4 * 2 * 3
    assert record.extra["updates"] == run(story, "smoke", resume=False, **given).extra["updates"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_mask_on_activations_freezes_no_centre(here, where):
    options = {"kind": "mpoe", "experts": 3, "plan": 3, "mask_probability": 1.0, "mask_at": where}
    record = run(recipe(**options), "smoke", data_dir=here, progress=False, results=here / "results")
    moved = record.extra["centres_moved"]
    assert record.trainable == record.total, "no centre is frozen"
    up = {name: change for name, change in moved.items() if ".up." in name}
    assert len(up) == 2 and len(moved) == 4
    assert all(moved[name] > 2 * up[name.replace(".down.", ".up.")] for name in moved if name not in up)


def test_options_that_cannot_be_meant(here):
    for options, error, match in (
        ({"kind": "dense", "neurons": 4}, TrainingError, "wide"),
        ({"kind": "wide"}, TrainingError, "wide"),
        ({"kind": "mpo"}, UnknownNameError, "mpoe"),
        ({"snapshots": 0}, TrainingError, "at least one"),
        ({"mask_at": "center"}, UnknownNameError, "Did you mean 'centre'"),
        ({"kind": "dense", "mask_at": "after"}, TrainingError, "belongs to kind='mpoe'"),
    ):
        with pytest.raises(error, match=match):
            run(recipe(**options), "smoke", data_dir=here, progress=False, results=here / "results")
    endless = dataclasses.replace(recipe(), scales={"smoke": {"max_steps": None, "epochs": 1.0}})
    with pytest.raises(TrainingError, match="recipe gives epochs"):
        run(endless, "smoke", data_dir=here, progress=False, results=here / "results")
    assert not (here / "results").exists()


def test_every_variant_is_a_recipe_with_three_seeds():
    of_glue = {recipe.name for recipe in mpoe_glue.RECIPES}
    variants = mpoe.VARIANTS | mpoe.LONGER | mpoe.FASTER
    variants |= {f"{corpus}-{variant}": None for corpus in mpoe.TEXTS for variant in mpoe.WRITERS}
    variants |= {f"reviews-{name}-longer": None for name in mpoe.REVIEWS_LONGER}
    named = {f"experts-{name}" for name in variants}
    assert {name for name in RECIPES if name.startswith("experts-")} == named | of_glue and not named & of_glue
    for name in variants:
        assert RECIPES[f"experts-{name}"].seeds == (0, 1, 2)
        runs.refuse_paths({"recipe": RECIPES[f"experts-{name}"].fields("laptop")})


def test_other_texts_are_written_on_as_wikitext_is():
    """Table 1's text generation: the same models and settings, another corpus, and more texts to score."""
    for corpus, (_, small, whole) in mpoe.TEXTS.items():
        for variant in mpoe.WRITERS:
            here, wiki = (RECIPES[f"experts-{name}"] for name in (f"{corpus}-{variant}", variant))
            for scale, text in (("laptop", small), ("gpu", whole)):
                mine, theirs = here.fields(scale), wiki.fields(scale)
                assert {key for key in mine if mine[key] != theirs[key]} == {"text", "options"}
                assert mine["text"] == text
                assert mine["options"] == {**theirs["options"], "texts": mpoe.CONTINUED}
    for name, variant in mpoe.REVIEWS_LONGER.items():
        later, first = (RECIPES[f"experts-reviews-{each}"].fields("laptop") for each in (f"{name}-longer", variant))
        assert later["settings"].pop("max_steps") == 400 and first["settings"].pop("max_steps") == 100
        assert later == first
