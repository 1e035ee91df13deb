"""Fine-tuning and language modelling on models small enough to train in a second. They stand for no result."""

from __future__ import annotations

import math
import random
import re

import numpy as np
import pytest
import torch
from small import digest, sentences, settle, tiny_data, tiny_model, tiny_text, tiny_tokenizer
from torch import nn
from transformers import TrainerCallback

from mpolab import training
from mpolab.data import TASKS, TaskData
from mpolab.engine import is_mpo, parameter_groups
from mpolab.errors import DataError, TrainingError, UnknownNameError
from mpolab.session import Session
from mpolab.training import Settings, evaluate, fine_tune, make_trainer, train_lm

QUICK = Settings(epochs=2, batch_size=16, lr=5e-3, max_length=24, eval_every=4, schedule="constant")


@pytest.fixture(scope="module")
def tokenizer():
    settle()
    return tiny_tokenizer()


def but(settings: Settings, **changes) -> Settings:
    import dataclasses

    return dataclasses.replace(settings, **changes)


class At(TrainerCallback):
    """Calls `what(model)` after step `step`."""

    def __init__(self, step, what):
        self.step, self.what = step, what

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step:
            self.what(model)


# ---------------------------------------------------------------------------------------------------- what it learns


@pytest.mark.parametrize(
    ("kind", "cls", "labels", "metric", "better"),
    [
        ("single", "BertForSequenceClassification", 2, "accuracy", 90),
        ("pair", "BertForSequenceClassification", 2, "accuracy", 90),
        ("regression", "BertForSequenceClassification", 1, "spearman", 60),
        ("span", "BertForQuestionAnswering", 2, "f1", 80),
    ],
)
def test_each_kind_of_task_is_learnt(tokenizer, kind, cls, labels, metric, better):
    data = tiny_data(kind, train=192, select=16, dev=48)
    model = tiny_model(cls, num_labels=labels, dropout=0.0)
    start = evaluate(model, tokenizer, data, settings=QUICK)
    settings = but(QUICK, epochs=4, eval_every=12)
    outcome = fine_tune(model, tokenizer, data, settings, progress=False)
    assert start["dev"][metric] < better <= outcome.scores["dev"][metric], outcome
    assert set(outcome.scores) == {"select", "dev"} and set(outcome.scores["dev"]) == {"loss", *data.task.metrics}
    assert evaluate(model, tokenizer, data, settings=QUICK)["dev"] == pytest.approx(outcome.scores["dev"])
    assert not model.training
    assert [entry["step"] for entry in outcome.curve] == list(range(1, 4 * 12 + 1))
    assert outcome.trainable == outcome.total == sum(p.numel() for p in model.parameters())
    assert outcome.seconds > 0 and outcome.peak_bytes >= 0 and outcome.memory == "rss"


@pytest.mark.parametrize(("objective", "cls"), [("masked", "BertForMaskedLM"), ("causal", "GPT2LMHeadModel")])
def test_language_models(tokenizer, objective, cls):
    text = tiny_text()
    model = tiny_model(cls)
    start = evaluate(model, tokenizer, text, ("valid", "test"), QUICK)
    outcome = train_lm(model, tokenizer, text, but(QUICK, epochs=4), progress=False)
    for split in ("valid", "test"):
        scores = outcome.scores[split]
        assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
        assert scores["perplexity"] < 0.7 * start[split]["perplexity"]
    assert start["test"]["perplexity"] == pytest.approx(len(tokenizer), rel=0.5)  # it knew nothing
    assert outcome.best_step == min(outcome.evaluations, key=lambda entry: entry["loss"])["step"]
    with pytest.raises(UnknownNameError, match="unknown objective 'maksed'"):
        train_lm(model, tokenizer, text, QUICK, objective="maksed", progress=False)


def test_perplexity_is_that_of_the_model_itself(tokenizer):
    """By hand: one forward pass over one long block."""
    text = tiny_text(2, 1)
    model = tiny_model("GPT2LMHeadModel").eval()
    ids = [*tokenizer(text.splits["valid"][0], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    found = evaluate(model, tokenizer, text, ["valid"], but(QUICK, max_length=64))["valid"]
    assert found == pytest.approx({"loss": loss, "perplexity": math.exp(loss)})


def test_a_decoder_without_padding_token_classifies(tokenizer):
    plain = tiny_tokenizer(pad=False)
    model = tiny_model("GPT2ForSequenceClassification")
    outcome = fine_tune(model, plain, tiny_data(train=32), but(QUICK, epochs=1), progress=False)
    assert outcome.steps == 2 and model.config.pad_token_id == plain.eos_token_id
    assert plain.pad_token is None  # the caller's tokenizer is as it was
    alone = {row["id"]: evaluate(model, plain, TaskData(TASKS["SST-2"], {"dev": [row]}, "one"), settings=QUICK)
             for row in tiny_data(dev=3).splits["dev"]}  # fmt: skip
    together = evaluate(model, plain, tiny_data(dev=3), settings=QUICK)["dev"]["loss"]
    assert together == pytest.approx(np.mean([found["dev"]["loss"] for found in alone.values()]), rel=1e-5)


# ----------------------------------------------------------------------------------------------- choosing, stopping


def test_the_best_step_is_chosen_on_select_and_by_nothing_else(tokenizer, tmp_path):
    data = tiny_data()
    other = TaskData(data.task, {**data.splits, "dev": sentences(9, 77)}, "another dev set")
    models = [tiny_model(), tiny_model(), tiny_model()]
    outcomes = [
        fine_tune(models[0], tokenizer, data, QUICK, progress=False),
        fine_tune(models[1], tokenizer, other, QUICK, progress=False),
        fine_tune(models[2], tokenizer, data, QUICK, out=tmp_path, progress=False),  # best kept on disk, not in memory
    ]
    assert len({digest(model) for model in models}) == 1
    assert outcomes[0].scores["dev"] != outcomes[1].scores["dev"]
    for outcome in outcomes:
        best = max(outcome.evaluations, key=lambda entry: entry["accuracy"])  # the first of equals
        assert outcome.best_step == best["step"]
        assert outcome.scores["select"] == pytest.approx({k: v for k, v in best.items() if k != "step"})
    # a run that ends at that step has these weights too, and evaluations leave no mark on it
    again = tiny_model()
    short = but(QUICK, max_steps=outcomes[0].best_step)
    fine_tune(again, tokenizer, tiny_data(select=0), short, progress=False)
    assert digest(again) == digest(models[0])


def test_it_stops_when_nothing_gets_better(tokenizer):
    settings = but(QUICK, lr=1e-9, max_steps=40, patience=2)
    outcome = fine_tune(tiny_model(dropout=0.0), tokenizer, tiny_data(), settings, progress=False)
    assert [entry["step"] for entry in outcome.evaluations] == [4, 8, 12]
    assert (outcome.steps, outcome.best_step, outcome.state["stopped_early"]) == (12, 4, True)


def test_without_a_select_split_the_last_weights_count(tokenizer):
    data = tiny_data(select=0)
    outcome = fine_tune(tiny_model(), tokenizer, data, but(QUICK, epochs=1), progress=False)
    assert outcome.best_step is None and outcome.evaluations == [] and set(outcome.scores) == {"dev"}
    with pytest.raises(TrainingError, match=r"patience=1 needs a split 'select'.*data.sample"):
        fine_tune(tiny_model(), tokenizer, data, but(QUICK, patience=1), progress=False)


# --------------------------------------------------------------------------------------------------- learning rates


class Cores(nn.Module):
    """As much of an MPO layer as the engine looks at; the third core is frozen."""

    def __init__(self):
        super().__init__()
        self.cores = nn.ParameterList([torch.zeros(1, 2, 2, 2), torch.zeros(2, 2, 2, 1), torch.zeros(3, 1, 1, 3)])
        self.cores[2].requires_grad_(False)
        self.bias = nn.Parameter(torch.zeros(4))


def test_tensors_have_their_own_rate_and_biases_do_not_decay(tokenizer):
    model = tiny_model("BertForMaskedLM")  # whose decoder shares the word embedding
    model.extra = Cores()
    groups = parameter_groups(model, Settings(lr=1e-3, tensor_lr=1e-5, weight_decay=0.1))
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("tensors", 1e-5, 0.1), ("matrices", 1e-3, 0.1), ("biases and norms", 1e-3, 0.0),
    ]  # fmt: skip
    of = {id(p): g["name"] for g in groups for p in g["params"]}
    assert len(of) == sum(len(g["params"]) for g in groups)
    for name, p in model.named_parameters():
        flat = "bias" in name or "LayerNorm" in name
        expected = "tensors" if "cores" in name else "biases and norms" if flat else "matrices"
        assert of.get(id(p)) == (expected if p.requires_grad else None), name
    assert is_mpo(model.extra) and not is_mpo(model)
    same = parameter_groups(model, Settings(lr=1e-3))
    assert [g["lr"] for g in same] == [1e-3] * 3


def test_views_with_gaps_are_trained_right(tokenizer):
    """torch's fused AdamW would walk through them as if they had none."""
    models = [tiny_model(dropout=0.0), tiny_model(dropout=0.0)]
    wide = torch.zeros(2, 64)
    wide[:, :32] = models[1].classifier.weight.detach()
    models[1].classifier.weight = nn.Parameter(wide[:, :32])
    for model in models:
        fine_tune(model, tokenizer, tiny_data(select=0), but(QUICK, epochs=1), progress=False)
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        torch.testing.assert_close(a, b)


def test_adafactor_moves_each_tensor_by_a_share_of_its_size(tokenizer):
    """A first step of Adafactor moves each number of a vector by lr times the vector's root mean square (at least
    1e-3), as its only square gradient cancels, and a matrix by that much in root mean square, or less.
    """
    model = tiny_model(dropout=0.0)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.LayerNorm.weight.fill_(3.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    once = but(QUICK, max_steps=1, optimizer="adafactor", betas=(0.0, 0.999), lr=0.01, weight_decay=0.0)
    fine_tune(model, tokenizer, tiny_data(select=0), once, progress=False)

    def size(tensor):
        return float(tensor.square().mean().sqrt())

    for name, p in model.named_parameters():
        moved, step = p.detach() - before[name], 0.01 * max(size(before[name]), 1e-3)
        if p.ndim > 1:
            assert 0.1 * step < size(moved) <= step * 1.001 or not moved.any(), name
        elif "key.bias" not in name:  # softmax does not see it: its gradient is rounding
            went = moved[moved != 0].abs()
            torch.testing.assert_close(went, torch.full_like(went, step), rtol=1e-2, atol=1e-8)
    weight = "bert.encoder.layer.0.output.LayerNorm.weight"
    assert float((model.get_parameter(weight).detach() - 3.0).abs().max()) == pytest.approx(0.03, rel=1e-3)


def test_the_schedule_moves_both_rates(tokenizer):
    model = tiny_model()
    model.extra = Cores()
    seen = []
    watch = At(0, None)
    watch.on_step_end = lambda args, state, control, optimizer=None, **kwargs: seen.append(
        [group["lr"] for group in optimizer.param_groups]
    )
    settings = but(QUICK, max_steps=8, warmup=2, schedule="linear", lr=1e-3, tensor_lr=1e-5)
    outcome = fine_tune(model, tokenizer, tiny_data(), settings, callbacks=[watch], progress=False)
    share = [0.5, 1.0] + [k / 6 for k in (5, 4, 3, 2, 1, 0)]
    assert np.array(seen)[:, 0] == pytest.approx(1e-5 * np.array(share))
    assert np.array(seen)[:, 1] == pytest.approx(1e-3 * np.array(share))
    assert len(outcome.curve) == 8


def test_what_is_frozen_stays(tokenizer):
    model = tiny_model()
    for p in model.bert.encoder.parameters():
        p.requires_grad_(False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    outcome = fine_tune(model, tokenizer, tiny_data(), but(QUICK, epochs=1), progress=False)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("bert.encoder"), name
    assert outcome.trainable == outcome.total - sum(p.numel() for p in model.bert.encoder.parameters())
    for p in model.parameters():
        p.requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameter of the model is trainable"):
        fine_tune(model, tokenizer, tiny_data(), QUICK, progress=False)


# ---------------------------------------------------------------------------------- memory, precision, what it leaves


@pytest.mark.parametrize("kind", ["class", "masked"])
def test_accumulation_changes_no_loss(tokenizer, kind):
    """Also where micro-batches hold different numbers of tokens, and the last batch is short."""
    curves = []
    for accumulation in (1, 3):
        settings = but(QUICK, batch_size=12, accumulation=accumulation)
        if kind == "class":
            outcome = fine_tune(tiny_model(dropout=0.0), tokenizer, tiny_data(train=55), settings, progress=False)
        else:
            model = tiny_model("BertForMaskedLM", dropout=0.0)
            outcome = train_lm(model, tokenizer, tiny_text(), settings, progress=False)
        curves.append([entry["loss"] for entry in outcome.curve])
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    assert len(curves[0]) == 10 if kind == "class" else len(curves[0]) > 4


def test_bf16_trains_and_leaves_a_plain_model(tokenizer):
    model = tiny_model(dropout=0.0)
    names = set(vars(model))
    settings = but(QUICK, epochs=1)
    half = fine_tune(model, tokenizer, tiny_data(), but(settings, precision="bf16"), progress=False)
    whole = fine_tune(tiny_model(dropout=0.0), tokenizer, tiny_data(), settings, progress=False)
    losses = [[entry["loss"] for entry in outcome.curve] for outcome in (half, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1) and losses[0] != losses[1]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert set(vars(model)) == names and model.config.use_cache is True
    tokens = tokenizer(["a cat"], return_tensors="pt")
    assert model(**tokens).logits.grad_fn is not None


def test_the_callers_random_numbers_are_left_alone(tokenizer):
    torch.manual_seed(11)
    random.seed(11)
    before = torch.get_rng_state(), random.getstate()
    first, second = tiny_model(), tiny_model()
    fine_tune(first, tokenizer, tiny_data(), but(QUICK, epochs=1), progress=False)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    torch.manual_seed(12)
    fine_tune(second, tokenizer, tiny_data(), but(QUICK, epochs=1), progress=False)
    assert digest(first) == digest(second)
    third = tiny_model()
    fine_tune(third, tokenizer, tiny_data(), but(QUICK, epochs=1), seed=1, progress=False)
    assert digest(third) != digest(first)


def test_one_bar_and_nothing_else(tokenizer, capfd):
    fine_tune(tiny_model(), tokenizer, tiny_data(), QUICK, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    last = [line for line in re.split(r"[\r\n]", err) if line][-1]
    assert last.startswith("SST-2: 100%") and "8/8 [" in last and "loss=" in last and "step/s" in last
    assert "select accuracy=" in last
    fine_tune(tiny_model(), tokenizer, tiny_data(), QUICK, progress=False)
    assert capfd.readouterr() == ("", "")


def test_tensorboard_logs(tokenizer, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = fine_tune(tiny_model(), tokenizer, tiny_data(), QUICK, out=tmp_path, progress=False)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert tags == {"train/loss", "train/lr", "train/gradient norm", "select/loss", "select/accuracy", "dev/loss",
                    "dev/accuracy"}  # fmt: skip
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 9))
    found = [event.value for event in events.Scalars("train/loss")]
    assert found == pytest.approx([entry["loss"] for entry in outcome.curve])


# ------------------------------------------------------------------------------------------------------------ errors


def poison(model):
    with torch.no_grad():
        model.classifier.weight[0, 0] = math.nan


def test_a_loss_that_is_no_number(tokenizer, tmp_path):
    """It stops at once, says where, and the last checkpoint is a good one."""
    from safetensors.torch import load_file

    settings = but(QUICK, max_steps=20)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 7 of 20.*checkpoint-4'.*learning rate"):
        spoilt = [At(6, poison)]
        fine_tune(tiny_model(), tokenizer, tiny_data(), settings, out=tmp_path, callbacks=spoilt, progress=False)
    (kept,) = tmp_path.glob("checkpoint-*/model.safetensors")
    assert kept.parent.name == "checkpoint-4"
    assert all(torch.isfinite(tensor).all() for tensor in load_file(kept).values())
    # and the run goes on from there
    assert fine_tune(tiny_model(), tokenizer, tiny_data(), settings, out=tmp_path, progress=False).steps == 20
    with pytest.raises(TrainingError, match=r"at step 2 of 20.*`out` was not given"):
        fine_tune(tiny_model(), tokenizer, tiny_data(), settings, callbacks=[At(1, poison)], progress=False)


def test_gradients_that_are_no_numbers_are_not_written_into_the_weights(tokenizer, tmp_path):
    """A finite loss can have them."""
    model = tiny_model()
    calls = []

    def spoil(gradient):
        calls.append(1)
        return gradient * math.nan if len(calls) == 3 else gradient

    model.classifier.weight.register_hook(spoil)
    with pytest.raises(TrainingError, match=r"the gradients at step 3 of .* are not finite.*`out` was not given"):
        fine_tune(model, tokenizer, tiny_data(), QUICK, progress=False)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_poisoned_weights_are_neither_chosen_nor_saved(tokenizer, tmp_path):
    """The step before a checkpoint leaves NaN behind, which its own loss does not show."""
    with pytest.raises(TrainingError, match=r"after step 8 is nan.*checkpoint-4'"):
        fine_tune(tiny_model(), tokenizer, tiny_data(), QUICK, out=tmp_path, callbacks=[At(8, poison)], progress=False)
    with pytest.raises(TrainingError, match=r"weights hold NaN or infinity after step 4"):
        fine_tune(
            tiny_model(), tokenizer, tiny_data(select=0), QUICK, out=tmp_path / "b", callbacks=[At(4, poison)],
            progress=False,
        )  # fmt: skip
    assert not list((tmp_path / "b").glob("*checkpoint-*"))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"precision": "fp16", "device": "cpu"}, TrainingError, "precision='fp16' needs CUDA"),
        ({"batch_size": 16, "accumulation": 3}, TrainingError, r"multiple of 3, for example 15"),
        ({"max_length": 65}, TrainingError, "max_length=65, but BertForSequenceClassification has 64 positions"),
    ],
)
def test_settings_that_do_not_fit(tokenizer, changes, error, words):
    with pytest.raises(error, match=words):
        fine_tune(tiny_model(), tokenizer, tiny_data(), but(QUICK, **changes), progress=False)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"lr": -1.0}, TrainingError, "lr=-1.0: a positive number"),
        ({"lr": math.nan}, TrainingError, "lr=nan"),
        ({"batch_size": 0}, TrainingError, "batch_size=0: a whole number"),
        ({"patience": 1.5}, TrainingError, "patience=1.5"),
        ({"tensor_lr": -2}, TrainingError, "tensor_lr=-2"),
        ({"schedule": "linaer"}, UnknownNameError, "Did you mean 'linear'"),
        ({"precision": "fp32 "}, UnknownNameError, "unknown precision"),
        ({"optimizer": "adafactor", "parallel": "fsdp"}, TrainingError, "parallel='ddp'"),
    ],
)
def test_settings_that_cannot_be_meant(changes, error, words):
    with pytest.raises(error, match=words):
        Settings(**changes)


def test_models_and_data_that_do_not_fit(tokenizer):
    def attempt(model, data, settings=QUICK):
        fine_tune(model, tokenizer, data, settings, progress=False)

    with pytest.raises(TrainingError, match=r"BertModel has no head.*head='sequence-classification'"):
        attempt(tiny_model("BertModel"), tiny_data())
    with pytest.raises(TrainingError, match=r"head has 3 outputs, and SST-2 needs 2.*num_labels=2"):
        attempt(tiny_model(num_labels=3), tiny_data())
    with pytest.raises(TrainingError, match="no start_logits and end_logits"):
        attempt(tiny_model(), tiny_data("span"))
    with pytest.raises(TrainingError, match="no logits as language modelling needs them"):
        train_lm(tiny_model(), tokenizer, tiny_text(), QUICK, objective="masked", progress=False)
    with pytest.raises(DataError, match="no rows in split 'train'"):
        attempt(tiny_model(), tiny_data(train=0))
    with pytest.raises(DataError, match="has no label"):
        rows = [{"id": "7", "text": "a cat"}]
        evaluate(tiny_model(), tokenizer, TaskData(TASKS["SST-2"], {"test": rows}, "unlabelled"), ["test"], QUICK)
    with pytest.raises(TrainingError, match="needs the model's tokenizer"):
        fine_tune(tiny_model(), None, tiny_data(), QUICK)
    with pytest.raises(TrainingError, match=r"training needs tensorboard.*mpolab\[train\]"):
        with pytest.MonkeyPatch.context() as patch:
            missing = lambda name: None if name == "tensorboard" else 1  # noqa: E731
            patch.setattr(training.prepare.importlib.util, "find_spec", missing)
            fine_tune(tiny_model(), tokenizer, tiny_data(), QUICK, out="nowhere")


# ---------------------------------------------------------------------------------------------------------- segments


def test_segments_are_one_training(tokenizer):
    """Cut into pieces, with the caller drawing numbers in between, it is the same training."""
    models = [tiny_model(), tiny_model()]
    with Session(models[0], tokenizer, tiny_data(), QUICK) as session:
        session.train(7)
    with Session(models[1], tokenizer, tiny_data(), QUICK) as session:
        losses = [session.train(3)]
        torch.rand(100)
        session.evaluate("dev")
        losses.append(session.train(4))
        assert session.step == 7 and session.splits == ("train", "select", "dev")
        assert type(session.optimizer) is torch.optim.AdamW
    assert digest(models[0]) == digest(models[1]) and all(math.isfinite(loss) for loss in losses)


def test_segments_are_the_training_of_fine_tune(tokenizer):
    """With a constant rate a session does what fine_tune does: same rows, same dropout."""
    models = [tiny_model(), tiny_model()]
    settings = but(QUICK, warmup=0, max_steps=6)
    fine_tune(models[0], tokenizer, tiny_data(select=0), settings, progress=False)
    with Session(models[1], tokenizer, tiny_data(select=0), settings) as session:
        session.train(6)
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        torch.testing.assert_close(a, b)


def test_parameters_may_be_replaced_between_segments(tokenizer):
    """As squeezing does it: another Parameter in the model, and in the optimizer under the old one's place."""
    model = tiny_model()
    data = tiny_data()
    with Session(model, tokenizer, data, QUICK) as session:
        session.train(3)
        old = model.classifier.weight
        new = nn.Parameter(old.detach().clone())
        model.classifier.weight = new
        for group in session.optimizer.param_groups:
            group["params"] = [new if p is old else p for p in group["params"]]
        session.optimizer.state[new] = session.optimizer.state.pop(old)
        frozen, start = old.clone(), new.detach().clone()
        session.train(3, lr=1e-4)
        assert torch.equal(old, frozen) and not torch.equal(new, start)
        assert {group["lr"] for group in session.optimizer.param_groups} == {1e-4}
        alone = evaluate(model, tokenizer, data, ["select"], QUICK)["select"]
        assert session.evaluate("select") == pytest.approx(alone)
        poison(model)
        with pytest.raises(TrainingError, match="the loss is nan at step 7"):
            session.train(1)
        session.optimizer.param_groups[0]["params"].append(nn.Parameter(torch.zeros(4, 4)[:, :2]))
        with pytest.raises(TrainingError, match="not contiguous"):
            session.train(1)
    assert set(vars(model)) == set(vars(tiny_model()))


def test_the_engine_itself(tokenizer, tmp_path):
    model = tiny_model()
    with make_trainer(model, tokenizer, tiny_data(), QUICK, out=tmp_path) as trainer:
        trainer.train()
        assert trainer.state.global_step == 8 and set(trainer.scores("dev")) == {"loss", "accuracy"}
    assert len(list(tmp_path.glob("checkpoint-*"))) in (1, 2) and set(vars(model)) == set(vars(tiny_model()))
    assert repr(fine_tune(model, tokenizer, tiny_data(), QUICK, progress=False)).startswith("Outcome(8 steps, best at ")
