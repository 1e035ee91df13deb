"""A T5 that answers tasks in words: rows as tokens, greedy answers, scores, several tasks. The models are tiny."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from small import message, sentences, settle, tiny_model, tiny_tokenizer
from transformers import T5Config, T5ForConditionalGeneration

from mpolab import answers, metrics
from mpolab.data import TASKS, TaskData
from mpolab.errors import DataError, TrainingError, UnknownNameError
from mpolab.mixture import TaskMixture, shares
from mpolab.moe import to_moe
from mpolab.text_to_text import FIELDS, label_words, read_label, source_text, target_text, text_pairs
from mpolab.training import Settings, evaluate, fine_tune, make_trainer
from mpolab.vocabulary import SENTINELS, T5_SPECIAL, train_byte_tokenizer

QUICK = Settings(max_steps=10, batch_size=8, lr=5e-3, max_length=32, eval_every=5, schedule="constant", warmup=0)
LEARN = dataclasses.replace(QUICK, max_steps=60, batch_size=16, eval_every=20)


@pytest.fixture(scope="module")
def tokenizer():
    settle()
    rows = [*sentences(300, 5), *sentences(50, 6, "pair")]
    texts = [source_text("SST-2" if "text_pair" not in row else "RTE", row) for row in rows]
    words = [f"{word} {word}" for name in FIELDS for word in label_words(name)]
    return train_byte_tokenizer([*texts, *words], 600, 64, T5_SPECIAL, SENTINELS, True, progress=False)


def t5(tokenizer, seed: int = 0, **changes) -> T5ForConditionalGeneration:
    shape = {"d_model": 32, "d_kv": 16, "num_heads": 2, "d_ff": 64, "num_layers": 1, "dropout_rate": 0.0, **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = T5Config(**shape, vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
        return T5ForConditionalGeneration(config).eval()


def data(task: str = "SST-2", train: int = 160, select: int = 40, dev: int = 60) -> TaskData:
    kind = {"SST-2": "single", "RTE": "pair", "STS-B": "regression"}[task]
    counts = {"train": train, "select": select, "dev": dev}
    splits = {split: sentences(count, 10 * number + len(task), kind) for number, (split, count) in
              enumerate(counts.items())}  # fmt: skip
    return TaskData(TASKS[task], splits, "made up")


@pytest.fixture(scope="module")
def learnt(tokenizer):
    """(a T5 that has learnt which of two words a sentence has, its data, its outcome, its scores before)."""
    model, rows = t5(tokenizer), data()
    before = evaluate(model, tokenizer, rows, settings=LEARN)["dev"]
    return model, rows, fine_tune(model, tokenizer, rows, LEARN, progress=False), before


# ------------------------------------------------------------------------------------------------------ rows as tokens


@pytest.mark.parametrize("name", FIELDS)
def test_label_words_go_round(tokenizer, name):
    task = TASKS[name]
    words = label_words(task)
    assert len(words) == (26 if name == "STS-B" else len(task.labels)) and len(set(words)) == len(words)
    for number, word in enumerate(words):
        label = number / 5 if name == "STS-B" else number
        row = {"text": "a cat", "text_pair": "a dog", "label": label}
        (feature,) = answers.encode(tokenizer, task, [row], 64)
        assert feature["labels"][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(feature["labels"], skip_special_tokens=True) == word == target_text(task, row)
        assert read_label(task, answers._text(tokenizer, [*feature["labels"], 0, 0])) == pytest.approx(label)
    lengths = [len(tokenizer(word)["input_ids"]) for word in words]
    assert answers.room_for_answers(tokenizer, task) == max(lengths)


def test_long_sources_lose_the_ends_of_their_longest_fields(tokenizer):
    row = {"text": " ".join(["house"] * 40), "text_pair": "the  cat\nsleeps", "label": 0}
    whole = tokenizer(source_text("RTE", row))["input_ids"]
    (short,) = answers.encode(tokenizer, TASKS["RTE"], [row], 24)
    assert short["attention_mask"] == [1] * len(short["input_ids"])
    fitting = [ids for words in range(41) if len(ids := tokenizer(source_text("RTE", row, words))["input_ids"]) <= 24]
    assert short["input_ids"] == max(fitting, key=len) != whole[:24]
    text = tokenizer.decode(short["input_ids"], skip_special_tokens=True)
    assert text.startswith("rte sentence1: house house") and text.endswith("house sentence2: the cat sleeps")
    assert answers.encode(tokenizer, TASKS["RTE"], [row], len(whole))[0]["input_ids"] == whole
    endless = {"text": "x" * 300, "text_pair": "cat", "label": 0}
    (cut,) = answers.encode(tokenizer, TASKS["RTE"], [endless], 24)
    assert len(cut["input_ids"]) == 24 and cut["input_ids"][-1] == tokenizer.eos_token_id
    with pytest.raises(TrainingError) as error:
        answers.encode(tokenizer, TASKS["RTE"], [row], 5)
    message(error, "max_length=5", "RTE", "no word fits in; give at least")


# -------------------------------------------------------------------------------------------------- what a model writes


def by_hand(model, tokenizer, source: str, most: int) -> str:
    """One source alone, the whole forward pass for each token, no cache."""
    ids, out = torch.tensor([tokenizer(source)["input_ids"]]), [0]
    while len(out) <= most and (len(out) == 1 or out[-1] != tokenizer.eos_token_id):
        with torch.no_grad():
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([out])).logits
        out.append(int(logits[0, -1].argmax()))
    return tokenizer.decode([k for k in out[1:] if k != tokenizer.eos_token_id], skip_special_tokens=False)


@pytest.mark.parametrize("which", ["random", "learnt"])
def test_answers_are_the_likeliest_tokens_one_by_one(tokenizer, learnt, which):
    rows = learnt[1].splits["dev"][:12]
    model = learnt[0] if which == "learnt" else t5(tokenizer, 3)
    features = answers.encode(tokenizer, TASKS["SST-2"], rows, 32)
    wanted = [by_hand(model, tokenizer, source, 4) for source, _ in text_pairs("SST-2", rows)]
    state = torch.random.get_rng_state()
    for size in (1, 5, 64):
        assert answers.written(model, tokenizer, features, 3, size) == wanted
    assert torch.equal(state, torch.random.get_rng_state())
    assert (len(set(wanted)) == 2) == (which == "learnt")


def test_special_tokens_are_part_of_an_answer(tokenizer):
    word = tokenizer("positive")["input_ids"]
    sentinel = tokenizer.convert_tokens_to_ids(SENTINELS[0])
    assert answers._text(tokenizer, [*word, 7, 8]) == "positive"
    assert read_label("SST-2", answers._text(tokenizer, [sentinel, *word])) is None
    assert read_label("SST-2", answers._text(tokenizer, [*word[:-1], sentinel, 1])) is None


# ----------------------------------------------------------------------------------------------------------- learning


def test_a_tiny_t5_learns_to_answer(learnt):
    model, rows, outcome, before = learnt
    labels = [row["label"] for row in rows.splits["dev"]]
    majority = 100 * max(labels.count(0), labels.count(1)) / len(labels)
    found = outcome.scores["dev"]
    assert before["unparsable"] == len(labels) and before["accuracy"] == 0
    assert majority < 75 and found["accuracy"] >= 95 and found["unparsable"] == 0
    assert found["loss"] < 1 < 2 < before["loss"]
    best = max(outcome.evaluations, key=lambda entry: entry["accuracy"])
    assert outcome.scores["select"]["accuracy"] == best["accuracy"] and not model.training


def test_scores_are_those_of_the_written_texts(tokenizer, learnt):
    """By the labels of the rows in their own order, where the engine sorts them by length."""
    model, rows = learnt[:2]
    wrong = copy.deepcopy(rows.splits["dev"])
    for row in wrong[::3]:
        row["label"] = 1 - row["label"]
    scores = evaluate(model, tokenizer, TaskData(TASKS["SST-2"], {"dev": wrong}, "made up"), settings=QUICK)["dev"]
    texts = [by_hand(model, tokenizer, source, 4) for source, _ in text_pairs("SST-2", wrong)]
    hits = sum(text == target_text("SST-2", row) for text, row in zip(texts, wrong))
    assert scores["accuracy"] == pytest.approx(100 * hits / len(wrong)) and hits < 50


def test_the_loss_is_the_mean_over_the_targets_tokens(tokenizer):
    model, rows = t5(tokenizer, 1), data("STS-B", dev=9)
    total, count = 0.0, 0
    for source, target in text_pairs("STS-B", rows.splits["dev"]):
        ids, labels = (torch.tensor([tokenizer(text)["input_ids"]]) for text in (source, target))
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=labels).loss) * labels.numel()
        count += labels.numel()
    scores = evaluate(model, tokenizer, rows, settings=dataclasses.replace(QUICK, eval_batch_size=4))["dev"]
    assert scores["loss"] == pytest.approx(total / count, rel=1e-5)
    assert set(scores) == {"loss", "pearson", "spearman", "unparsable"}


def test_what_chooses_is_mpoes_metric(tokenizer):
    assert answers.metric_of(TASKS["STS-B"]) == "pearson" and answers.metric_of(TASKS["MRPC"]) == "accuracy"
    assert answers.metric_of(TASKS["CoLA"]) == "matthews" and answers.metric_of(TASKS["WNLI"]) == "accuracy"
    model = t5(tokenizer)
    assert answers.kind_of(model, data("STS-B")) == ("answer", "pearson", False)
    assert answers.kind_of(model, TaskMixture((data(), data("RTE")))) == ("answer", "mean", False)


@pytest.mark.parametrize("kind", ["mpoe", "moe", "switch"])
def test_with_experts_the_answers_are_the_same_at_first(tokenizer, learnt, kind):
    """Of a model that has learnt to answer. Switch has a gate below one, so that its answers may be others."""
    model, rows = learnt[:2]
    features = answers.encode(tokenizer, TASKS["SST-2"], rows.splits["dev"], 32)
    before = answers.written(model, tokenizer, features, 3)
    top_k, plan = {"moe": 2}.get(kind, 1), {"plan": 3} if kind == "mpoe" else {}
    room = {"eval_capacity_factor": None} if kind == "switch" else {}
    expert = to_moe(copy.deepcopy(model), kind, 4, top_k, **plan, **room)
    assert sum(p.numel() for p in expert.parameters()) > sum(p.numel() for p in model.parameters())
    after = answers.written(expert, tokenizer, features, 3)
    if kind == "switch":  # but those of a row do not depend on the rows beside it
        assert after == answers.written(expert, tokenizer, features, 3, size=1)
    else:
        assert after == before and len(set(before)) == 2


# ------------------------------------------------------------------------------------------------------- several tasks


def three(temperature: float = 1.0, train=(40, 24, 16)) -> TaskMixture:
    names = ("SST-2", "RTE", "STS-B")
    return TaskMixture([data(name, n, 12, 18) for name, n in zip(names, train)], temperature)


def test_each_of_several_tasks_is_scored_as_by_itself(tokenizer):
    model, together = t5(tokenizer), three()
    outcome = fine_tune(model, tokenizer, together, dataclasses.replace(QUICK, max_steps=30), progress=False)
    for split in ("select", "dev"):
        found, alone = outcome.scores[split], {}
        for part in together.parts:
            alone[part.name] = evaluate(model, tokenizer, part, [split], QUICK)[split]
            for metric, value in alone[part.name].items():
                assert found[f"{part.name}/{metric}"] == pytest.approx(value, abs=1e-4), (part.name, metric)
        assert found["mean"] == pytest.approx(metrics.average("mpoe", alone, alone), abs=1e-4)
        assert found["loss"] == pytest.approx(sum(scores["loss"] for scores in alone.values()) / 3, abs=1e-4)
    assert outcome.best_step == max(outcome.evaluations, key=lambda entry: entry["mean"])["step"]


def test_several_tasks_are_learnt_at_once(tokenizer):
    together = TaskMixture([data("SST-2"), data("RTE", 120)], 10.0)
    model = t5(tokenizer, 2)
    settings = dataclasses.replace(LEARN, max_steps=200, eval_every=100)
    found = fine_tune(model, tokenizer, together, settings, progress=False).scores["dev"]
    assert found["SST-2/accuracy"] >= 90 and found["RTE/accuracy"] >= 90
    assert found["SST-2/unparsable"] == found["RTE/unparsable"] == 0


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_tasks_are_drawn_by_their_shares_and_a_step_is_of_one(tokenizer, temperature):
    """What the decoder's sources say, beside n^(1/T) and the counts that go into a record."""
    together = three(temperature, (240, 60, 20))
    settings = dataclasses.replace(QUICK, batch_size=1, max_steps=320)
    with make_trainer(t5(tokenizer), tokenizer, together, settings, seed=4) as engine:
        texts = [tokenizer.batch_decode(batch["input_ids"]) for batch in engine.get_train_dataloader()]
    prefixes = {"sst2": "SST-2", "rte": "RTE", "stsb": "STS-B"}
    drawn = [prefixes[text.split()[0]] for (text,) in texts]
    counts = {name: drawn.count(name) for name in prefixes.values()}
    assert counts == together.steps(1, 4, 320) and sum(counts.values()) == 320
    expected = dict(zip(counts, shares((240, 60, 20), temperature)))
    chi = sum((counts[name] - 320 * share) ** 2 / (320 * share) for name, share in expected.items())
    assert chi < 13.8  # the 99.9 % quantile of two degrees of freedom
    wide = dataclasses.replace(settings, batch_size=8, max_steps=None)
    with make_trainer(t5(tokenizer), tokenizer, together, wide, seed=4) as engine:
        for batch in engine.get_train_dataloader():
            assert len({text.split()[0] for text in tokenizer.batch_decode(batch["input_ids"])}) == 1


# ----------------------------------------------------------------------------------------------------------- bad input


def test_models_and_tasks_that_do_not_fit(tokenizer):
    assert answers.writes(t5(tokenizer)) and not answers.writes(tiny_model("GPT2LMHeadModel"))
    assert not answers.writes(tiny_model()) and not answers.writes(torch.nn.Linear(2, 2))
    gpt2 = tiny_model("GPT2LMHeadModel", num_labels=2)
    with pytest.raises(TrainingError, match="no logits as a classification needs them"):
        fine_tune(gpt2, tiny_tokenizer(), data(), QUICK, progress=False)
    rows = {"train": sentences(8, 0), "dev": sentences(4, 1)}
    with pytest.raises(UnknownNameError, match="unknown text-to-text task 'IMDB'"):
        fine_tune(t5(tokenizer), tokenizer, TaskData(TASKS["IMDB"], rows, "made up"), QUICK, progress=False)
    nothing = t5(tokenizer)
    nothing.config.decoder_start_token_id = None
    with pytest.raises(TrainingError, match="no decoder_start_token_id"):
        fine_tune(nothing, tokenizer, data(), QUICK, progress=False)
    with pytest.raises(TrainingError, match="divides the model among processes"):
        fine_tune(t5(tokenizer), tokenizer, data(), dataclasses.replace(QUICK, parallel="fsdp"), progress=False)
    with pytest.raises(DataError, match="no rows in split 'dev'"):
        evaluate(t5(tokenizer), tokenizer, data(dev=0), ["dev"], QUICK)


def test_tokenizers_that_cannot_write_the_answers(tokenizer):
    with pytest.raises(TrainingError) as error:  # WordPiece puts [CLS] before a text
        answers.room_for_answers(tiny_tokenizer(), TASKS["SST-2"])
    message(error, "for 'negative', an answer to SST-2", "as T5's")
    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    with pytest.raises(TrainingError, match="no end-of-text token"):
        answers.encode(endless, TASKS["SST-2"], sentences(2, 0), 32)
