"""Tiny data files in the layouts of the original releases, for the tests of data; the rows are nonsense of our own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mpolab import hub

# A train or dev file of each task as released: the header (None: there is none), a row, and what is read from it.
RELEASED = {
    "CoLA": (None, "gj04\t1\t\tIt \"works\".", {"text": 'It "works".', "label": 1}),
    "SST-2": ("sentence\tlabel", "a \"fine film \t1", {"text": 'a "fine film ', "label": 1}),
    "MRPC": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "0\t17\t18\t\" Yes , he said .\tNo .",
        {"text": '" Yes , he said .', "text_pair": "No .", "label": 0},
    ),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tmain\tfile\t2012\t0001\tnone\tnone\tOne.\tTwo.\t3.250",
        {"text": "One.", "text_pair": "Two.", "label": 3.25},
    ),
    "QQP": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "9\t1\t2\tWhy?\tWhy not?\t1",
        {"text": "Why?", "text_pair": "Why not?", "label": 1},
    ),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\t1\t1n\tfiction\t( a )\t( b )\t(A)\t(B)\tIt rains.\tIt is wet.\tneutral\tcontradiction",
        {"text": "It rains.", "text_pair": "It is wet.", "label": 2},
    ),
    "QNLI": (
        "index\tquestion\tsentence\tlabel",
        "0\tWho?\tShe did.\tnot_entailment",
        {"text": "Who?", "text_pair": "She did.", "label": 1},
    ),
    "RTE": (
        "index\tsentence1\tsentence2\tlabel",
        "0\tA b.\tA.\tentailment",
        {"text": "A b.", "text_pair": "A.", "label": 0},
    ),
    "WNLI": ("index\tsentence1\tsentence2\tlabel", "0\tA b.\tA.\t1", {"text": "A b.", "text_pair": "A.", "label": 1}),
    "SNLI": (
        "index\tcaptionID\tpairID\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\tc\tp\tA man.\tA person.\tneutral\tentailment",
        {"text": "A man.", "text_pair": "A person.", "label": 0},
    ),
    "IMDB": ("id\trating\tlabel\ttext", "3\t9\t1\tGood.<br />Very.", {"text": "Good.<br />Very.", "label": 1}),
}
# Test files: their own header, and a row without a label.
UNLABELLED = {
    "CoLA": ("index\tsentence", "0\tIt works.", {"text": "It works."}),
    "SST-2": ("index\tsentence", "0\tfine", {"text": "fine"}),
    "MRPC": ("index\t#1 ID\t#2 ID\t#1 String\t#2 String", "0\t1\t2\tA .\tB .", {"text": "A .", "text_pair": "B ."}),
    "QQP": ("id\tquestion1\tquestion2", "0\tWhy?\tHow?", {"text": "Why?", "text_pair": "How?"}),
    "QNLI": ("index\tquestion\tsentence", "0\tWho?\tShe.", {"text": "Who?", "text_pair": "She."}),
}


def write(path: Path, text: str, packed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = text.encode("utf-8")
    path = path.with_name(path.name + ".gz") if packed else path
    path.write_bytes(gzip.compress(raw) if packed else raw)
    return path


def table(header: str | None, *rows: str) -> str:
    return "".join(f"{line}\n" for line in ((header,) if header is not None else ()) + rows)


def put(root: Path, name: str, train: list[str], dev: list[str], base: str | None = None, packed: bool = False) -> Path:
    """A task's folder with a train and a dev file of given rows."""
    header = RELEASED[base or name][0]
    write(root / name / "train.tsv", table(header, *train), packed)
    dev_name = "dev_matched.tsv" if (base or name) == "MNLI" else "dev.tsv"
    write(root / name / dev_name, table(header, *dev), packed)
    return root / name


def sst(*texts: str) -> list[str]:
    return [f"{text}\t{k % 2}" for k, text in enumerate(texts)]


CONTEXT = "The river Ax flows past Boll. It is 12 km long."

def squad(*answers: tuple[str, int], context: str = CONTEXT, key: str = "q1") -> dict:
    question = {"id": key, "question": "Where?", "answers": [{"text": t, "answer_start": s} for t, s in answers]}
    return {"title": "Ax", "paragraphs": [{"context": context, "qas": [question]}]}


def put_squad(folder: Path, train: list[dict], dev: list[dict] | None = None, packed: bool = False) -> None:
    write(folder / "train-v1.1.json", json.dumps({"version": "1.1", "data": train}), packed)
    write(folder / "dev-v1.1.json", json.dumps({"version": "1.1", "data": dev or [squad(("Boll", 24))]}), packed)


def without_id(row: dict) -> dict:
    return {key: value for key, value in row.items() if key != "id"}


def fake_hub(monkeypatch, tables: dict, fail: Exception | None = None):
    """`datasets.load_dataset` as it behaves online: `tables` by (repository, config)."""
    datasets = pytest.importorskip("datasets")
    calls = []

    def load_dataset(repository, config=None):
        calls.append((repository, config, bool(datasets.config.HF_HUB_OFFLINE)))
        if datasets.config.HF_HUB_OFFLINE:
            raise ConnectionError("offline")
        if fail is not None:
            raise fail
        return {split: datasets.Dataset.from_dict(rows) for split, rows in tables[repository, config].items()}

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "unreachable", lambda repository: "")
    return calls
