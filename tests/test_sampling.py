"""Samples of a task: disjoint by row and by content, nested, seeded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpolab.data import TASKS, TaskData
from mpolab.errors import DataError
from mpolab.sampling import content


def made(train: list[str], dev: list[str]) -> TaskData:
    rows = {
        split: [{"id": f"{split}:{k}", "text": text, "label": k % 2} for k, text in enumerate(texts)]
        for split, texts in (("train", train), ("dev", dev))
    }
    return TaskData(TASKS["SST-2"], rows, "made here")


def test_content_is_the_texts_up_to_blanks_and_capitals():
    assert content({"text": " A  x\n"}) == content({"text": "a X"}) != content({"text": "a x", "text_pair": ""})
    assert content({"text": "a", "text_pair": "b"}) != content({"text": "b", "text_pair": "a"})
    assert content({"context": "C d", "question": "e"}) == content({"context": "c  d", "question": "f"})


words = st.lists(st.sampled_from([f"{a} {b}" for a in "abcdefgh" for b in "xyz"]), min_size=12, max_size=60)


@given(words, st.lists(st.sampled_from(["A  x", "b Y", "other", "another"]), min_size=1), st.integers(0, 3))
def test_samples_never_leak(train, dev, seed):
    """Not by row, not by content (up to capitals and blanks), whatever repeats."""
    found = made(train, dev)
    usable = sum(content({"text": text}) not in {content({"text": other}) for other in dev} for text in train)
    sampled = found.sample(select=min(3, usable), seed=seed)
    sides = [{content(row) for row in sampled.splits.get(split, ())} for split in ("train", "select", "dev")]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    ids = [row["id"] for rows in sampled.splits.values() for row in rows]
    assert len(ids) == len(set(ids))
    if usable < len(train):
        assert f"train rows that repeat a reported row, dropped: {len(train) - usable}" in sampled.notes
    lost = sum(int(note.rsplit(": ", 1)[1]) for note in sampled.notes if "dropped" in note)
    assert lost + len(sampled.splits["train"]) + len(sampled.splits.get("select", ())) == len(train)


def test_samples_are_nested_and_seeded():
    found = made([f"train {k}" for k in range(300)], [f"dev {k}" for k in range(60)])
    large, small = found.sample(200, 40, 50, seed=1), found.sample(50, 40, 20, seed=1)
    assert small.splits["train"] == large.splits["train"][:50]
    assert small.splits["select"] == large.splits["select"]
    assert small.splits["dev"] == large.splits["dev"][:20]
    assert found.sample(50, 20, 20, seed=1).splits["select"] == large.splits["select"][:20]
    assert found.sample(50, 40, 20, seed=2).splits != small.splits
    assert found.sample(50, 40, 20, seed=1).sha256 == small.sha256
    assert small.splits["train"] != found.splits["train"][:50]
    default = found.sample()
    assert default.rows == {"train": 270, "select": 30, "dev": 60}
    assert found.sample(select=0).rows == {"train": 300, "dev": 60}
    assert small.describe()["notes"][-1] == "sampled with seed 1: train=50, select=40, dev=20"
    for asked in ({"train": 280}, {"select": 400}, {"dev": 61}, {"dev": 0}, {"select": -1}):
        with pytest.raises(DataError, match="asked for"):
            found.sample(**asked)


def test_questions_about_one_passage_stay_together(tmp_path):
    contexts = [f"passage {k} of some text" for k in range(8)]
    rows = [
        {"id": f"q{k}", "question": f"what {k}?", "context": contexts[k % 8],
         "answers": {"text": ["passage"], "answer_start": [0]}}
        for k in range(40)
    ]  # fmt: skip
    found = TaskData(TASKS["SQuAD"], {"train": rows, "dev": [dict(rows[0], id="d0", question="when?")]}, "made here")
    sampled = found.sample(select=7, seed=3)
    sides = {split: {row["context"] for row in rows} for split, rows in sampled.splits.items()}
    assert not (sides["train"] & sides["select"] or sides["train"] & sides["dev"])
    assert sampled.rows == {"train": 25, "select": 7, "dev": 1}


def test_mismatched_and_test_sets_are_kept_apart_too():
    found = made([f"train {k}" for k in range(50)], [f"dev {k}" for k in range(20)])
    found.splits["dev_mismatched"] = [{"id": f"m{k}", "text": f"train {k}", "label": 0} for k in range(10)]
    found.splits["test"] = [{"id": f"t{k}", "text": f"train {k}"} for k in range(10, 15)]
    sampled = found.sample(dev=8, select=5)
    assert sampled.rows == {"train": 30, "select": 5, "dev": 8, "dev_mismatched": 8}
