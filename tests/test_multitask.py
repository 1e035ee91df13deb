"""One encoder with a head for each of several tasks. The models are tiny and stand for no result."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from small import digest, settle, tiny_data, tiny_model, tiny_tokenizer
from transformers import AlbertConfig, AlbertForSequenceClassification, TrainerCallback

from mpolab import multitask, recipes, runs, snapshots, to_mpo
from mpolab.data import TASKS, TaskData
from mpolab.errors import DataError, TrainingError, UnknownNameError
from mpolab.features import Batches
from mpolab.jobs import Recipe
from mpolab.mixture import MixedBatches, TaskMixture, shares
from mpolab.multitask import TaskHeads, heads_of, one_head, with_heads
from mpolab.session import Session
from mpolab.training import Settings, evaluate, fine_tune, make_trainer

QUICK = Settings(epochs=2, batch_size=8, lr=5e-3, max_length=24, eval_every=5, schedule="constant")


@pytest.fixture(scope="module")
def tokenizer():
    settle()
    return tiny_tokenizer()


def three(train=(40, 24, 16), temperature: float = 1.0, **sizes) -> TaskMixture:
    """One sentence, a pair and a score."""
    kinds = ("single", "pair", "regression")
    return TaskMixture(tuple(tiny_data(kind, train=n, **sizes) for kind, n in zip(kinds, train)), temperature)


def encoder(labels: int = 2, **about):
    return tiny_model(num_labels=labels, **about)


def albert(tokenizer):
    torch.manual_seed(0)
    shape = {"embedding_size": 8, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48,
             "num_hidden_layers": 3, "max_position_embeddings": 64}  # fmt: skip
    return AlbertForSequenceClassification(AlbertConfig(vocab_size=len(tokenizer), **shape))


# ------------------------------------------------------------------------------------------------------ which task when


def test_shares_are_those_of_the_formula():
    assert shares([100, 300]) == pytest.approx([0.25, 0.75])
    assert shares([100, 400], 2.0) == pytest.approx([1 / 3, 2 / 3])
    assert shares([7, 7000], 1e6) == pytest.approx([0.5, 0.5], abs=1e-5)
    assert three((40, 24, 16)).shares == pytest.approx({"SST-2": 0.5, "RTE": 0.3, "STS-B": 0.2})


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_tasks_are_drawn_by_their_shares(temperature):
    """Chi-square with two degrees of freedom stays below its 99.9 % quantile, 13.8."""
    sizes = (4000, 1200, 300)
    batches = MixedBatches(sizes, 1, 1, seed=5, temperature=temperature)
    counts = batches.counts(len(batches))
    expected = [share * len(batches) for share in shares(sizes, temperature)]
    assert sum((n - e) ** 2 / e for n, e in zip(counts, expected)) < 13.8
    assert counts == [batches.draws(0).count(task) for task in range(3)]


def listed(batches, epochs: int) -> list:
    found = []
    for epoch in range(epochs):
        batches.epoch = epoch
        found.append(list(batches))
    return found


def test_one_task_is_drawn_as_the_plain_batches():
    assert listed(MixedBatches([29], 8, 1, seed=3), 3) == listed(Batches(29, 8, seed=3), 3)


@pytest.mark.parametrize(("parts", "processes"), [(1, 1), (2, 1), (3, 2)])
def test_every_step_is_of_one_task_and_every_pass_has_each_row_once(parts, processes):
    sizes, first = (29, 13), (0, 29)
    alone = MixedBatches(sizes, 12, 1, 0)
    divided = [MixedBatches(sizes, 12 // parts // processes, parts, 0, 1.0, processes, k) for k in range(processes)]
    epochs = [listed(batches, 12) for batches in divided]
    seen: dict[tuple[int, int], list[int]] = {}
    for epoch, whole in enumerate(listed(alone, 12)):
        assert len(whole) == len(alone) == 5
        assert all(len(of[epoch]) == 5 * parts == len(divided[0]) for of in epochs)
        for step, rows in enumerate(whole):
            together = [row for of in epochs for part in of[epoch][parts * step : parts * (step + 1)] for row in part]
            assert set(together) == set(rows)  # in all processes and micro-batches, the rows of one big batch
            if len(rows) == 12:
                assert sorted(together) == sorted(rows)  # each once; of a short batch one may be repeated
            (task,) = {int(number >= 29) for _, number in rows}
            (turn,) = {turn for turn, _ in rows}
            seen.setdefault((task, turn), []).extend(number - first[task] for _, number in rows)
    last = {task: max(turn for other, turn in seen if other == task) for task in (0, 1)}
    assert min(last.values()) >= 2
    for (task, turn), numbers in seen.items():
        if turn < last[task]:
            assert sorted(numbers) == list(range(sizes[task]))


def test_an_epoch_does_not_depend_on_those_before_having_been_read():
    unbroken, later = MixedBatches([29, 13], 4, 1, 7), MixedBatches([29, 13], 4, 1, 7)
    later.epoch = 2
    assert list(later) == listed(unbroken, 3)[2]
    assert listed(MixedBatches([29, 13], 4, 1, 8), 1) != listed(unbroken, 1)


# ------------------------------------------------------------------------------------------------------------ the model


@pytest.mark.parametrize("family", ["bert", "albert", "mpo", "gpt2", "roberta"])
def test_only_the_last_layer_is_per_task(tokenizer, family):
    data = three()
    if family == "roberta":
        from transformers import RobertaConfig, RobertaForSequenceClassification

        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        model = RobertaForSequenceClassification(RobertaConfig(vocab_size=len(tokenizer), pad_token_id=0, **shape))
    else:
        model = {"albert": albert}.get(family, lambda _: None)(tokenizer) or tiny_model(
            "GPT2ForSequenceClassification" if family == "gpt2" else "BertForSequenceClassification"
        )
    if family == "mpo":
        to_mpo(model, "mpop", undoable=False, progress=False)
    path = {"gpt2": "score", "roberta": "classifier.out_proj"}.get(family, "classifier")
    before = dict(model.named_parameters())
    own = model.get_submodule(path).weight.detach().clone()
    total, more = sum(p.numel() for p in before.values()), 3 * (own.shape[1] + (family != "gpt2"))
    model = with_heads(model, data.tasks, seed=1)
    heads = heads_of(model)
    assert heads.outputs == {"SST-2": 2, "RTE": 2, "STS-B": 1} and model.config.num_labels == 5
    assert sum(p.numel() for p in model.parameters()) == total + more  # the encoder once
    assert torch.equal(heads["SST-2"].weight, own)  # the model's own, as for a fine-tuning of this task alone
    assert not torch.equal(heads["RTE"].weight, own) and 0.01 < heads["RTE"].weight.std() < 0.03  # 0.02
    assert model.get_submodule(path) is heads
    outside = {name for name in before if not name.startswith(f"{path}.")}
    assert {name for name, _ in model.named_parameters() if not name.startswith(f"{path}.")} == outside
    model.config.pad_token_id = 0
    outcome = fine_tune(model, tokenizer, data, dataclasses.replace(QUICK, max_steps=2), progress=False)
    assert outcome.total == total + more and outcome.steps == 2


def test_new_heads_depend_on_the_seed_alone():
    drawn = []
    for seed in (0, 0, 1):
        torch.rand(3)
        state = torch.get_rng_state()
        drawn.append(heads_of(with_heads(encoder(), three().tasks, seed))["RTE"].weight)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


class Gradients(TrainerCallback):
    """Which parameters have a gradient when the weights are updated, and all weights after it."""

    def __init__(self):
        self.with_gradient, self.weights = [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.with_gradient.append({name for name, p in model.named_parameters() if p.grad is not None})

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.weights.append({name: p.detach().clone() for name, p in model.named_parameters()})


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_head_learns_from_its_own_task_only_and_the_encoder_from_all(tokenizer, accumulation):
    data, watch = three(select=0), Gradients()
    model = with_heads(encoder(), data.tasks)
    settings = dataclasses.replace(QUICK, accumulation=accumulation, weight_decay=0.1, warmup=0)
    names = [name for name, _ in model.named_parameters()]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with make_trainer(model, tokenizer, data, settings, callbacks=(watch,)) as engine:
        engine.train()
        drawn = [data.tasks[k].name for epoch in range(2) for k in engine.batches.draws(epoch)]
    assert len(drawn) == len(watch.weights) == 20 and set(drawn) == {"SST-2", "RTE", "STS-B"}
    for task, touched, after in zip(drawn, watch.with_gradient, watch.weights):
        own = {name for name in names if "classifier" not in name or f".{task}." in name}
        assert touched == own
        for name in names:
            moved = not torch.equal(before[name], after[name])
            assert moved == (name in own), (task, name)  # to the last bit: no momentum and no decay of the others
        before = after


def test_the_losses_are_those_of_each_task(tokenizer):
    """One update without dropout, by hand with torch's own losses."""
    data = three(select=0)
    for seed in range(6):
        model = with_heads(encoder(dropout=0.0), data.tasks).eval()
        with make_trainer(model, tokenizer, data, dataclasses.replace(QUICK, max_steps=1), seed=seed) as engine:
            numbers = next(iter(engine.batches))
            batch = engine.data_collator([engine.rows["train"][key] for key in numbers])
            labels = batch.pop("labels")
            number = int(labels[0, 0])
            with torch.no_grad():
                logits = model(**batch).logits.split([2, 2, 1], dim=1)[number]
            if number == 2:
                expected = torch.nn.functional.mse_loss(logits[:, 0], labels[:, 1])
            else:
                expected = torch.nn.functional.cross_entropy(logits, labels[:, 1].long())
            engine.train()
            assert engine.state.log_history[0]["loss"] == pytest.approx(expected.item(), abs=1e-6)


def test_a_mixed_batch_is_refused(tokenizer):
    data = three()
    model = with_heads(encoder(), data.tasks).train()
    objective = multitask.objective_of(data.tasks)
    with pytest.raises(TrainingError, match="several tasks"), objective.around(model, torch.tensor([[0.0, 1], [1, 1]])):
        pass
    with objective.around(model, torch.tensor([[1.0, 0], [1, 1]])):
        assert heads_of(model).only == "RTE"
    assert heads_of(model).only is None
    with objective.around(model.eval(), torch.tensor([[0.0, 1], [1, 1]])):
        assert heads_of(model).only is None


# --------------------------------------------------------------------------------------------------- training, scoring


@pytest.mark.parametrize(("kind", "labels", "accumulation"), [("pair", 2, 1), ("regression", 1, 1), ("single", 2, 2)])
def test_one_task_alone_is_its_fine_tuning(tokenizer, kind, labels, accumulation):
    """Bit for bit with one micro-batch a step; with several, a short batch is divided otherwise (no dropout then)."""
    about = {"dropout": 0.1 if accumulation == 1 else 0.0}
    data, settings = tiny_data(kind, train=29), dataclasses.replace(QUICK, accumulation=accumulation)
    plain, mixed = encoder(labels, **about), with_heads(encoder(labels, **about), [data.task])
    alone = fine_tune(plain, tokenizer, data, settings, seed=2, progress=False)
    together = fine_tune(mixed, tokenizer, TaskMixture([data]), settings, seed=2, progress=False)
    same = (lambda value: value) if accumulation == 1 else (lambda value: pytest.approx(value, abs=2e-4))
    assert [e["loss"] for e in together.curve] == same([e["loss"] for e in alone.curve])
    assert together.best_step == alone.best_step and together.steps == alone.steps == 8
    name = data.task.name
    for split, scores in alone.scores.items():
        found = together.scores[split]
        assert {metric: found[f"{name}/{metric}"] for metric in scores} == same(scores)
        assert found["loss"] == same(scores["loss"]) and found["mean"] == same(scores[data.task.main_metric])
    if accumulation == 1:
        assert digest(one_head(mixed, name)) == digest(plain)


def test_each_task_is_scored_as_by_itself(tokenizer):
    data = three(dev=21)
    model = with_heads(encoder(), data.tasks)
    outcome = fine_tune(model, tokenizer, data, QUICK, progress=False)
    for split in ("select", "dev"):
        main, losses, found = [], [], outcome.scores[split]
        for part in data.parts:
            plain = one_head(model, part.name)
            assert plain.config.num_labels == part.task.num_labels and heads_of(plain) is None
            scores = evaluate(plain, tokenizer, part, [split], QUICK)[split]
            for metric, value in scores.items():
                assert found[f"{part.name}/{metric}"] == pytest.approx(value, abs=1e-4), (part.name, metric)
            main.append(scores[part.task.main_metric])
            losses.append(scores["loss"])
        assert found["mean"] == pytest.approx(sum(main) / 3, abs=1e-4)
        assert found["loss"] == pytest.approx(sum(losses) / 3, abs=1e-5)
    best = max(outcome.evaluations, key=lambda entry: entry["mean"])
    assert outcome.best_step == best["step"] and outcome.scores["select"]["mean"] == best["mean"]
    assert evaluate(model, tokenizer, data, settings=QUICK)["dev"] == pytest.approx(outcome.scores["dev"])


def test_all_three_are_learnt_by_one_encoder(tokenizer):
    data = three((160, 160, 160), dev=48)
    model = with_heads(encoder(dropout=0.0), data.tasks)
    start = evaluate(model, tokenizer, data, settings=QUICK)["dev"]
    settings = dataclasses.replace(QUICK, epochs=6, batch_size=16, eval_every=60)
    found = fine_tune(model, tokenizer, data, settings, progress=False).scores["dev"]
    for metric, least in (("SST-2/accuracy", 90), ("RTE/accuracy", 90), ("STS-B/spearman", 40)):
        assert start[metric] < least <= found[metric], (metric, found)


def test_dev_is_scored_once_and_chooses_nothing(tokenizer, monkeypatch):
    from mpolab.engine import Engine

    scored, real = [], Engine.evaluate

    def evaluate_(self, eval_dataset=None, *args, **kwargs):
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        scored.append(next(split for split, known in self.rows.items() if known is rows))
        return real(self, eval_dataset, *args, **kwargs)

    monkeypatch.setattr(Engine, "evaluate", evaluate_)
    data = three()
    fine_tune(with_heads(encoder(), data.tasks), tokenizer, data, QUICK, progress=False)
    assert scored.count("dev") == 1 and scored[-1] == "dev" and scored.count("select") == 5


class Stop(Exception):
    pass


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stop


@pytest.mark.parametrize("step", [9, 16])  # within the first epoch of ten steps, and in the second
def test_an_interrupted_run_ends_as_the_unbroken_one(tokenizer, tmp_path, step):
    data = three(temperature=2.0)
    settings = dataclasses.replace(QUICK, epochs=3, accumulation=2, schedule="linear", eval_every=4, save_every=4)

    def train(folder, **options):
        model = with_heads(encoder(), data.tasks)
        outcome = fine_tune(model, tokenizer, data, settings, 3, tmp_path / folder, progress=False, **options)
        last = with_heads(encoder(seed=1), data.tasks)
        snapshots.load_weights(last, snapshots.last_whole(tmp_path / folder) / snapshots.WEIGHTS)
        return outcome, digest(model), digest(last)

    unbroken, best, last = train("alone")
    with pytest.raises(Stop):
        train("broken", callbacks=(StopAt(step),))
    resumed, *ends = train("broken")
    assert resumed.state["resumed_from"] == 4 * (step // 4) and unbroken.steps == 30
    assert ends == [best, last]
    assert resumed.curve == unbroken.curve and resumed.evaluations == unbroken.evaluations
    assert resumed.scores == unbroken.scores
    other = dataclasses.replace(data, temperature=1.0)
    with pytest.raises(TrainingError, match=r"another run \(data: "):
        fine_tune(with_heads(encoder(), data.tasks), tokenizer, other, settings, 3, tmp_path / "broken", progress=False)


def test_a_session_goes_through_several_tasks(tokenizer):
    data = three()
    with Session(with_heads(encoder(), data.tasks), tokenizer, data, QUICK) as session:
        assert math.isfinite(session.train(12)) and session.step == 12
        assert set(session.evaluate("select")) > {"mean", "loss", "RTE/accuracy", "STS-B/spearman"}


# ------------------------------------------------------------------------------------------------------------ bad input


def test_tasks_that_do_not_go_together():
    sentence, span = tiny_data("single"), tiny_data("span")
    with pytest.raises(TrainingError, match="'SST-2' is there twice"):
        TaskMixture([sentence, sentence])
    with pytest.raises(TrainingError, match=r"SQuAD is of kind 'span'.*by itself"):
        TaskMixture([sentence, span])
    with pytest.raises(TrainingError, match="no task was given"):
        TaskMixture([])
    with pytest.raises(DataError, match=r"RTE has no split 'select', and SST-2 has.*select=\.\.\."):
        TaskMixture([sentence, tiny_data("pair", select=0)])
    for temperature in (0, -1.0, math.nan, math.inf, True, "1"):
        with pytest.raises(TrainingError, match="temperature="):
            TaskMixture([sentence], temperature)


def test_a_second_dev_set_may_stand_alone(tokenizer):
    mnli = tiny_data("pair")
    mnli = TaskData(TASKS["RTE"], {**mnli.splits, "dev_mismatched": mnli.splits["dev"][:5]}, "made up")
    data = TaskMixture([tiny_data("single"), mnli])
    scores = evaluate(with_heads(encoder(), data.tasks), tokenizer, data, settings=QUICK)
    assert set(scores) == {"dev", "dev_mismatched"}
    assert set(scores["dev_mismatched"]) == {"RTE/loss", "RTE/accuracy", "mean", "loss"}


def test_models_that_do_not_fit(tokenizer):
    data = three()
    with pytest.raises(TrainingError, match=r"BertForQuestionAnswering gives no vector.*sequence-classification"):
        with_heads(tiny_model("BertForQuestionAnswering"), data.tasks)
    with pytest.raises(TrainingError, match=r"has one head, and the data are of SST-2, RTE, STS-B: .*with_heads"):
        fine_tune(encoder(), tokenizer, data, QUICK, progress=False)
    model = with_heads(encoder(), data.tasks)
    with pytest.raises(TrainingError, match="has heads already, for SST-2, RTE, STS-B"):
        with_heads(model, data.tasks)
    with pytest.raises(TrainingError, match=r"heads \(outputs\) for SST-2 \(2\), .*need RTE \(2\), SST-2 \(2\)"):
        fine_tune(model, tokenizer, TaskMixture((data.parts[1], data.parts[0])), QUICK, progress=False)
    with pytest.raises(TrainingError, match=r"data are of RTE alone: take multitask.one_head\(model, 'RTE'\)"):
        fine_tune(model, tokenizer, data.parts[1], QUICK, progress=False)
    with pytest.raises(UnknownNameError, match=r"unknown task of this model 'RTS'. Did you mean 'RTE'"):
        one_head(model, "RTS")
    with pytest.raises(TrainingError, match="no heads of several tasks"):
        one_head(encoder(), "RTE")
    odd = encoder()
    odd.classifier = torch.nn.Identity()
    with pytest.raises(TrainingError, match="no linear layer with 2 outputs"):
        with_heads(odd, data.tasks)


# -------------------------------------------------------------------------------------------------------- the recipes


@pytest.fixture
def place(tmp_path, monkeypatch, tokenizer):
    """A folder with a tiny ALBERT called "albert"; records and checkpoints go there."""
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "build" / "runs"))
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MPOLAB_SCALE", raising=False)
    albert(tokenizer).save_pretrained(tmp_path / "albert")
    tokenizer.save_pretrained(tmp_path / "albert")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TINY = Recipe(
    name="together", about="a test", tasks=("SST-2", "STS-B"), model="albert", method="multitask",
    settings=Settings(epochs=1, batch_size=4, max_length=16), scales={"smoke": {"train": 12, "select": 6, "dev": 6}},
)  # fmt: skip


def but(**changes) -> Recipe:
    return dataclasses.replace(TINY, **changes)


def test_from_several_tasks_to_the_record(place, monkeypatch, capsys):
    record = recipes.run(TINY, "smoke", 1, source="offline", progress=False)
    assert record.stands_in and record.data["task"] == "toy-SST-2, toy-STS-B"
    assert record.data["rows"] == {"train": 24, "select": 12, "dev": 12}
    assert runs.load(runs.record_path("together", "smoke", 1, stands_in=True)) == record
    for name, part in record.data["tasks"].items():
        assert part["task"] == name and part["rows"] == {"train": 12, "select": 6, "dev": 6}
        assert part["sha256"].keys() == part["rows"].keys()
    assert set(record.scores["dev"]) == {
        "loss", "mean", "toy-SST-2/loss", "toy-SST-2/accuracy", "toy-STS-B/loss", "toy-STS-B/spearman",
        "toy-STS-B/pearson",
    }  # fmt: skip
    model = albert(tiny_tokenizer())
    assert record.total == record.trainable == sum(p.numel() for p in model.parameters()) + 24 + 1
    assert "new from seed 1: classifier.toy-STS-B.bias" in record.model
    assert f"{record.total:,} parameters" in record.model
    assert record.extra["heads"] == {"toy-SST-2": 2, "toy-STS-B": 1}
    assert sum(record.extra["steps"].values()) == record.steps == 6
    mean = record.extra["heads_start_at"]["toy-STS-B"]
    assert 0 < mean < 5
    assert not runs.stale(record, TINY)
    monkeypatch.setitem(recipes.RECIPES, "together", TINY)
    from mpolab.cli import main

    arguments = ["run", "together", "--scale", "smoke", "--seed", "1", "--source", "offline"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "nothing was run" in said.err and "toy-SST-2/accuracy" in said.out
    path = runs.record_path("together", "smoke", 1, stands_in=True)
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": {**record.data, "sha256": {}}}))
    assert main(arguments) != 0 and "is of other rows" in capsys.readouterr().err


def test_regression_heads_start_at_the_mean_label(place, monkeypatch):
    from mpolab import mpobert_recipes

    jobs = []
    monkeypatch.setattr(mpobert_recipes, "fine_tuned", lambda job: jobs.append(job) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recipes.run(TINY, "smoke", 0, source="offline", progress=False)
    heads, part = heads_of(jobs[0].model), jobs[0].data.parts[1]
    labels = [row["label"] for row in part.splits["train"]]
    assert heads["toy-STS-B"].bias.item() == pytest.approx(sum(labels) / len(labels), rel=1e-5)
    assert isinstance(heads, TaskHeads) and jobs[0].extra["heads_start_at"].keys() == {"toy-STS-B"}


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        (but(tasks=("SST-2", "STSB2")), UnknownNameError, "unknown task 'STSB2'.*Did you mean 'STS-B'"),
        (but(tasks=("SST-2", "sst2")), TrainingError, "'SST-2' is there twice"),
        (but(tasks=("SST-2", "SQuAD")), TrainingError, "SQuAD is of kind 'span'"),
        (but(select=0, scales={"smoke": {"train": 12, "dev": 6}}), TrainingError, "chooses by the mean .*select="),
        (but(method="full"), TrainingError, "tasks SST-2, STS-B, and its method 'full' is for one.*'multitask'"),
        (but(task="SST-2", tasks=()), TrainingError, "has only 'SST-2', and its method 'multitask' is for several"),
        (but(options={"temperature": 0}), TrainingError, "temperature=0"),
        (but(options={"temprature": 1}), UnknownNameError, "'temprature'.*'temperature'"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be_run(place, monkeypatch, recipe, error, words):
    from mpolab import mpobert_recipes

    monkeypatch.setattr(mpobert_recipes, "load_pretrained", None)  # all is said before a model is loaded
    with pytest.raises(error, match=words):
        recipes.run(recipe, "smoke", 0, source="offline", progress=False)


def test_table_2_as_recipes():
    for model in ("albert-mini", "mpobert-mini", "minilm"):
        recipe = recipes.RECIPES[f"table2-{model}"]
        four = ("SST-2", "MRPC", "RTE", "STS-B")
        assert recipe.model == model and recipe.at("laptop").tasks == four
        assert recipe.at("gpu").tasks == (*four, "CoLA", "QQP", "MNLI", "QNLI") == recipe.at("smoke").tasks
        assert recipe.at("laptop").train == 200 and recipe.at("laptop").settings.precision == "bf16"
    listed = {entry["name"]: entry["task"] for entry in recipes.listing()}
    assert listed["table2-minilm"] == "SST-2, MRPC, RTE, STS-B, CoLA, QQP, MNLI, QNLI"
    assert recipes.RECIPES["demo"].hash("smoke") == dataclasses.replace(recipes.RECIPES["demo"], tasks=()).hash("smoke")
