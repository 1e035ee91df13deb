"""Data sets of the hub: its cache as `datasets` really keeps it, the hub through a stand-in, and no waiting."""

from __future__ import annotations

import threading

import pytest
from released import CONTEXT, fake_hub

from mpolab import hub
from mpolab.data import load_task
from mpolab.errors import DataError, DataNotFoundError


@pytest.fixture
def cached_sst2(tmp_path, monkeypatch):
    """The cache of `datasets` as the library itself keeps it, with three tiny splits of nyu-mll/glue, sst2."""
    datasets = pytest.importorskip("datasets")
    from datasets.arrow_writer import ArrowWriter

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    folder = tmp_path / "nyu-mll___glue" / "sst2" / "0.0.0" / "abc"
    folder.mkdir(parents=True)

    def make(names=("negative", "positive")):
        features = datasets.Features(
            {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))}
        )
        infos = {}
        for split, labels in (("train", [1, 0, 1]), ("validation", [0, 1]), ("test", [-1])):
            rows = {"sentence": [f"{split} {k}" for k in range(len(labels))], "label": labels}
            with ArrowWriter(path=str(folder / f"glue-{split}.arrow"), features=features) as writer:
                writer.write_table(datasets.Dataset.from_dict(rows, features=features).data.table)
                writer.finalize()
            infos[split] = datasets.SplitInfo(name=split, num_examples=len(labels), dataset_name="glue")
        datasets.DatasetInfo(
            features=features, splits=datasets.SplitDict(infos), config_name="sst2", dataset_name="glue",
            builder_name="parquet", version="0.0.0",
        ).write_to_directory(folder)  # fmt: skip

    return make


def test_from_the_hubs_cache_without_a_request(cached_sst2, monkeypatch):
    cached_sst2()
    monkeypatch.setattr(hub, "unreachable", lambda repository: pytest.fail("asked the network"))
    found = load_task("SST-2")
    assert found.origin == "hub cache nyu-mll/glue, sst2" and found.rows == {"train": 3, "dev": 2, "test": 1}
    assert found.splits["dev"][1] == {"id": "dev:1", "text": "validation 1", "label": 1}
    assert "label" not in found.splits["test"][0]
    assert load_task("SST-2", source="hub", splits=("dev",)).rows == {"dev": 2}


def test_the_hubs_labels_must_have_our_order(cached_sst2):
    cached_sst2(names=("positive", "negative"))
    with pytest.raises(DataError, match="expected \\['negative', 'positive'\\]"):
        load_task("SST-2", source="hub")


def test_from_the_hub(monkeypatch):
    pair = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [2, 0]}
    unlabelled = pair | {"label": [-1, -1]}
    scored = {"sentence1": ["a"], "sentence2": ["b"], "label": [2.5]}
    splits = ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
    answers = [{"text": ["Boll"], "answer_start": [24]}]
    spans = {"id": ["x"], "title": ["Ax"], "question": ["Where?"], "context": [CONTEXT], "answers": answers}
    snli = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [-1, 1]}
    calls = fake_hub(
        monkeypatch,
        {
            ("nyu-mll/glue", "mnli"): {split: unlabelled if "test" in split else pair for split in splits},
            ("nyu-mll/glue", "stsb"): {split: scored for split in ("train", "validation", "test")},
            ("rajpurkar/squad", "plain_text"): {"train": spans, "validation": spans},
            ("stanfordnlp/snli", "plain_text"): {split: snli for split in ("train", "validation", "test")},
            ("nyu-mll/glue", "rte"): {"train": {"sentence1": ["a"], "sentence2": ["b"], "label": [-1]}},
            ("nyu-mll/glue", "wnli"): {"train": {"premise": ["a"], "label": [0]}},
        },
    )
    mnli = load_task("MNLI")
    assert calls == [("nyu-mll/glue", "mnli", True), ("nyu-mll/glue", "mnli", False)]  # the cache, then the hub
    assert mnli.origin == "hub nyu-mll/glue, mnli" and mnli.rows["dev_mismatched"] == 2
    assert mnli.splits["dev"][0] == {"id": "dev:0", "text": "a", "text_pair": "c", "label": 2}
    assert "label" not in mnli.splits["test_mismatched"][1]
    assert load_task("STS-B").splits["dev"][0]["label"] == 2.5
    span = load_task("SQuAD").splits["dev"][0]
    assert span == {"id": "x", "question": "Where?", "context": CONTEXT, "answers": answers[0]}
    snli = load_task("SNLI")
    assert snli.rows["train"] == 1 and any("train: 1 rows without a label" in note for note in snli.notes)
    for name, message in (("RTE", "without a label"), ("WNLI", "no column sentence1")):
        with pytest.raises(DataError, match=message):
            load_task(name, source="hub", splits=("train",))
    with pytest.raises(DataError, match="needs dev"):
        load_task("RTE", source="hub", splits=("dev",))


def test_a_named_source_never_falls_through_and_an_unnamed_one_says_why(monkeypatch):
    fake_hub(monkeypatch, {})
    monkeypatch.setattr(hub, "unreachable", lambda repository: "offline: HF_HUB_OFFLINE is set")
    with pytest.raises(DataNotFoundError, match="cannot be had from the hub: not in the cache; offline"):
        load_task("SST-2", source="hub")
    with pytest.raises(DataNotFoundError, match="only a folder can hold"):
        load_task("SST-2-10k")
    found = load_task("SST-2", seed=5, sizes={"train": 3, "dev": 2})
    assert found.name == "toy-SST-2" and found.task.base == "SST-2" and found.rows == {"train": 3, "dev": 2}
    why = "no source was named: no data_dir; hub: not in the cache; offline: HF_HUB_OFFLINE is set"
    assert found.origin == f"offline grammar, seed 5 ({why})"


def test_a_download_that_fails_is_told(monkeypatch):
    fake_hub(monkeypatch, {}, fail=RuntimeError("disk full"))
    with pytest.raises(DataNotFoundError, match="the download of nyu-mll/glue, sst2 failed: RuntimeError: disk full"):
        load_task("SST-2", source="hub")


def test_the_hub_is_asked_once_and_not_waited_for(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    monkeypatch.setattr(hub, "HUB_SECONDS", 0.0)
    never = threading.Event()
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: never.wait(60))
    assert "not reachable" in hub.unreachable("nyu-mll/glue")
    never.set()
    monkeypatch.setattr(hub, "HUB_SECONDS", 4.0)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None)
    assert hub.unreachable("nyu-mll/glue") == ""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in hub.unreachable("nyu-mll/glue")
