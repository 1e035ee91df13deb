"""Tasks from folders in the layouts of their releases: every task, every kind of bad row, parts of sets, records."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from released import CONTEXT, RELEASED, UNLABELLED, put, put_squad, squad, sst, table, without_id, write

from mpolab import metrics, texts
from mpolab.data import TASKS, load_task, task_named
from mpolab.errors import DataError, DataNotFoundError, UnknownNameError
from mpolab.tasks import OFFICIAL_ROWS

# ------------------------------------------------------------------------------------------------ original layouts


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", RELEASED)
def test_the_released_layout_of_each_task(tmp_path, name, packed):
    header, row, expected = RELEASED[name]
    put(tmp_path, name, [row], [row, row], packed=packed)
    found = load_task(name, data_dir=tmp_path)
    assert [without_id(row) for row in found.splits["train"]] == [expected]
    assert found.rows == {"train": 1, "dev": 2}
    assert found.splits["dev"][1]["id"] == f"dev:{3 if header else 2}"  # its line in the file
    unpacked = table(header, row).encode()
    assert found.describe()["files"]["train"]["sha256"] == hashlib.sha256(unpacked).hexdigest()


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_test_file_has_its_own_columns_and_no_labels(tmp_path, name):
    row = RELEASED[name][1]
    header, test_row, expected = UNLABELLED[name]
    folder = put(tmp_path, name, [row], [row])
    write(folder / "test.tsv", table(header, test_row))
    assert [without_id(row) for row in load_task(name, data_dir=folder).splits["test"]] == [expected]


def test_mnli_has_matched_and_mismatched_files(tmp_path):
    header, row, _ = RELEASED["MNLI"]
    folder = put(tmp_path / "glue_data", "MNLI", [row], [row])
    write(folder / "dev_mismatched.tsv", table(header, row, row.replace("It rains.", "It snows.")))
    unlabelled = ["\t".join(line.split("\t")[:10]) for line in (header, row)]
    write(folder / "test_matched.tsv", table(*unlabelled))
    found = load_task("mnli", data_dir=tmp_path)
    assert found.rows == {"train": 1, "dev": 1, "dev_mismatched": 2, "test": 1}
    assert "label" not in found.splits["test"][0] and found.splits["dev_mismatched"][1]["text"] == "It snows."


def test_the_diagnostic_set_with_and_without_its_labels(tmp_path):
    write(tmp_path / "diagnostic" / "diagnostic.tsv", table("index\tsentence1\tsentence2", "0\tA.\tB."))
    found = load_task("diagnostic", data_dir=tmp_path)
    assert found.splits == {"test": [{"id": "test:2", "text": "A.", "text_pair": "B."}]}
    header = "Lexical Semantics\tDomain\tPremise\tHypothesis\tLabel"
    write(tmp_path / "diagnostic" / "diagnostic-full.tsv", table(header, "\tNews\tA.\tB.\tneutral"))
    assert load_task("ax", data_dir=tmp_path).splits["test"][0]["label"] == 1


def test_snli_leaves_out_rows_without_agreement_and_says_so(tmp_path):
    row = RELEASED["SNLI"][1]
    put(tmp_path, "SNLI", [row, row.rsplit("\t", 1)[0] + "\t-"], [row])
    found = load_task("SNLI", data_dir=tmp_path)
    assert found.rows["train"] == 1 and any("1 rows labelled '-'" in note for note in found.notes)


def test_imdb_from_single_files(tmp_path):
    for split in ("train", "test"):
        for name, rating in (("pos", 9), ("neg", 2)):
            for number in (0, 10, 2):
                write(tmp_path / "aclImdb" / split / name / f"{number}_{rating}.txt", f"{split} {name} {number}")
    found = load_task("IMDB", data_dir=tmp_path)
    assert found.rows == {"train": 6, "dev": 6}
    assert [row["text"] for row in found.splits["dev"]][:4] == ["test neg 0", "test neg 2", "test neg 10", "test pos 0"]
    assert [row["label"] for row in found.splits["train"]] == [0, 0, 0, 1, 1, 1]
    before = found.describe()["files"]["train"]["sha256"]
    write(tmp_path / "aclImdb" / "train" / "pos" / "2_9.txt", "another")
    assert load_task("IMDB", data_dir=tmp_path).describe()["files"]["train"]["sha256"] != before


sentence = st.text(
    st.characters(exclude_characters="\t\n\r\ufeff", exclude_categories=("Cs",)), min_size=1, max_size=20
).filter(str.strip)


@given(st.lists(st.tuples(sentence, sentence, st.integers(0, 1)), min_size=1, max_size=6))
def test_any_text_comes_back_as_it_was_written(tmp_path_factory, rows):
    """Quotation marks, unusual line separators and everything else that is no tab or newline."""
    folder = tmp_path_factory.mktemp("qqp")
    lines = [f"{k}\t1\t2\t{a}\t{b}\t{label}" for k, (a, b, label) in enumerate(rows)]
    put(folder, "QQP", lines, lines, packed=True)
    found = load_task("QQP", data_dir=folder)
    assert [(row["text"], row["text_pair"], row["label"]) for row in found.splits["train"]] == rows
    assert found.sha256["train"] == found.sha256["dev"]


# ---------------------------------------------------------------------------------------------- folders and names


def test_the_folder_may_be_the_task_its_parent_or_the_one_above(tmp_path):
    folder = put(tmp_path / "glue", "SST-2", sst("a", "b"), sst("c"))
    hashes = {str(load_task("sst2", data_dir=place).sha256) for place in (tmp_path, tmp_path / "glue", folder)}
    assert len(hashes) == 1
    write(tmp_path / "mine" / "train.tsv", table("sentence\tlabel", *sst("a")))
    write(tmp_path / "mine" / "dev.tsv", table("sentence\tlabel", *sst("b")))
    assert load_task("SST-2", data_dir=tmp_path / "mine").name == "SST-2"  # any other name says nothing


def test_a_part_of_a_set_keeps_its_own_name(tmp_path):
    row = "It rains.\tIt is wet.\tneutral"
    write(tmp_path / "MNLI-10k" / "train.tsv", table("text_a\ttext_b\tlabel", row))
    write(tmp_path / "MNLI-10k" / "dev.tsv", table("text_a\ttext_b\tlabel", row))
    found = load_task("MNLI-10k", data_dir=tmp_path)
    assert (found.name, found.task.base, found.task.labels) == ("MNLI-10k", "MNLI", TASKS["MNLI"].labels)
    assert found.splits["train"][0]["label"] == 1 and found.describe()["task"] == "MNLI-10k"
    assert load_task("MNLI", data_dir=tmp_path / "MNLI-10k").name == "MNLI-10k"
    with pytest.raises(DataNotFoundError, match="There is MNLI-10k: a part of MNLI"):
        load_task("MNLI", data_dir=tmp_path)
    with pytest.raises(DataNotFoundError, match="is that of MNLI-10k, not of QNLI"):
        load_task("QNLI", data_dir=tmp_path / "MNLI-10k")


def test_a_part_that_is_marked_by_its_files(tmp_path):
    header, row, _ = RELEASED["IMDB"]
    write(tmp_path / "imdb" / "train-5k.tsv", table(header, row), packed=True)
    write(tmp_path / "imdb" / "dev-2k.tsv", table(header, row), packed=True)
    found = load_task("IMDB-5k", data_dir=tmp_path)
    assert found.name == "IMDB-5k" and found.origin == "folder imdb: train-5k.tsv.gz, dev-2k.tsv.gz"
    with pytest.raises(DataNotFoundError, match=r"train-5k\.tsv\.gz is a part of the set: load it as 'IMDB-5k'"):
        load_task("IMDB", data_dir=tmp_path)
    write(tmp_path / "imdb" / "train.tsv", table(header, row))
    write(tmp_path / "imdb" / "dev.tsv", table(header, row))
    with pytest.raises(DataNotFoundError, match="no file of IMDB-7k"):
        load_task("IMDB-7k", data_dir=tmp_path)


def test_names():
    assert task_named("sst2") is TASKS["SST-2"] and task_named("stsb") is TASKS["STS-B"]
    assert task_named("toy-mnli") == dataclasses.replace(TASKS["MNLI"], name="toy-MNLI")
    assert task_named("SST-2-tiny").name == "SST-2-tiny"
    with pytest.raises(UnknownNameError, match="Did you mean 'MNLI'"):
        load_task("MNL")
    for name, task in TASKS.items():
        assert task.name == task.base == name and task.main_metric in task.metrics
        assert set(OFFICIAL_ROWS[name]) == set(task.splits)
    assert [TASKS[name].num_labels for name in ("SST-2", "MNLI", "STS-B", "SQuAD")] == [2, 3, 1, 2]


# ------------------------------------------------------------------------------------------------------ bad input


def test_a_missing_folder_file_and_split_list_what_is_there(tmp_path):
    with pytest.raises(DataNotFoundError, match="does not exist"):
        load_task("RTE", data_dir=tmp_path / "nowhere")
    folder = put(tmp_path, "SST-2", sst("a"), sst("b"))
    with pytest.raises(DataNotFoundError, match=r"no folder 'RTE' .* holds SST-2/"):
        load_task("RTE", data_dir=tmp_path)
    (folder / "train.tsv").unlink()
    with pytest.raises(DataNotFoundError, match=r"no train file \(train\.tsv\[\.gz\]\).*dev\.tsv.*splits=\('dev',\)"):
        load_task("SST-2", data_dir=tmp_path)
    assert load_task("SST-2", data_dir=tmp_path, splits=("dev",)).rows == {"dev": 1}
    with pytest.raises(DataNotFoundError, match="no split 'train' here"):
        load_task("SST-2", data_dir=tmp_path, splits=("dev",)).sample()
    with pytest.raises(UnknownNameError, match="unknown split"):
        load_task("SST-2", data_dir=tmp_path, splits=("valid",))


BAD = {
    "columns": ("SST-2", "one cell", r"line 3: 1 columns, expected 2"),
    "more columns": ("SST-2", "a\tb\t1", r"line 3: 3 columns, expected 2"),
    "label": ("SST-2", "fine\t2", r"line 3: unknown label '2', expected 'negative' or 'positive' or 0\.\.1"),
    "word label": ("RTE", "0\tA.\tB.\t1", r"line 3: unknown label '1', expected 'entailment' or 'not_entailment'"),
    "score": ("STS-B", "0\tg\tf\ty\to\ts\ts\tA.\tB.\t5.5", r"line 3: score '5\.5', expected a number from 0 to 5"),
    "nan": ("STS-B", "0\tg\tf\ty\to\ts\ts\tA.\tB.\tnan", r"line 3: score 'nan'"),
    "empty text": ("SST-2", "  \t1", r"line 3: an empty text"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named_by_file_and_line(tmp_path, case):
    name, bad, message = BAD[case]
    good = RELEASED[name][1]
    put(tmp_path, name, [good, bad, good], [good])
    with pytest.raises(DataError, match=rf"train\.tsv: 1 bad row beside 2 good ones\. {message}"):
        load_task(name, data_dir=tmp_path)
    dropped = load_task(name, data_dir=tmp_path, bad_rows="drop")
    assert dropped.rows["train"] == 2
    assert any("1 bad row left out (line 3" in note for note in dropped.describe()["notes"])


def test_short_and_foreign_files(tmp_path):
    folder = put(tmp_path, "SST-2", sst("a"), sst("b"))
    for text, message in (
        ("", "is empty"),
        ("sentence\tlabel\n", "has no rows"),
        ("premise\thypothesis\n", "the header names the columns 'premise', 'hypothesis'"),
        ("sentence\tother\na\t1\n", "no column 'label'; only a test split"),
        ("sentence\tlabel\na\t1\nhalf a li", "line 3: 1 columns"),  # cut in the middle of a row
    ):
        write(folder / "train.tsv", text)
        with pytest.raises(DataError, match=message):
            load_task("SST-2", data_dir=tmp_path)
    (folder / "train.tsv").write_bytes(b"sentence\tlabel\nfine\t1\ncaf\xe9\t1\n")
    with pytest.raises(DataError, match=r"train\.tsv, line 3: byte 0xe9 is no UTF-8"):
        load_task("SST-2", data_dir=tmp_path)
    (folder / "train.tsv").unlink()
    whole = write(folder / "train.tsv", table("sentence\tlabel", *sst("some words " * 50)), packed=True)
    whole.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train\.tsv\.gz cannot be unpacked"):
        load_task("SST-2", data_dir=tmp_path)


def test_a_short_release_is_said_to_be_short(tmp_path):
    put(tmp_path, "RTE", [RELEASED["RTE"][1]], [RELEASED["RTE"][1]])
    assert "train: 1 rows, where the original release has 2,490" in load_task("RTE", data_dir=tmp_path).notes


def test_contradicting_arguments(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown source 'web'"):
        load_task("RTE", source="web")
    with pytest.raises(DataError, match="needs data_dir"):
        load_task("RTE", source="folder")
    with pytest.raises(DataError, match="reads no folder"):
        load_task("RTE", source="hub", data_dir=tmp_path)
    with pytest.raises(UnknownNameError, match="bad rows"):
        load_task("RTE", data_dir=tmp_path, bad_rows="ignore")


# ---------------------------------------------------------------------------------------------------------- SQuAD


def test_squad(tmp_path):
    put_squad(tmp_path / "squad", [squad(("Boll", 24), ("past Boll", 19))], packed=True)
    found = load_task("SQuAD", data_dir=tmp_path)
    assert found.splits["train"] == [
        {
            "id": "q1",
            "question": "Where?",
            "context": CONTEXT,
            "answers": {"text": ["Boll", "past Boll"], "answer_start": [24, 19]},
        }
    ]
    write(tmp_path / "squad" / "train-v1.1.head.json", json.dumps({"data": [squad(("Boll", 24))]}))
    assert load_task("SQuAD-head", data_dir=tmp_path).origin.startswith("folder squad: train-v1.1.head.json, dev-v1.1")


@pytest.mark.parametrize(
    ("articles", "message"),
    [
        ([squad(("Boll", 23))], r"article 2 \(Ax\), paragraph 1, question 'q1': at character 23 stands ' Bol', not"),
        ([squad(("long", -5))], "at character -5"),  # from the end it would fit
        ([squad(("", 3))], "not the answer ''"),
        ([squad()], "no answer"),
        ([squad(("Boll", 24)), squad(("Boll", 24))], r"article 3 \(Ax\), paragraph 1, question 'q1': this id occurs"),
    ],
)
def test_squad_answers_are_checked_where_they_stand(tmp_path, articles, message):
    put_squad(tmp_path, [squad(("Ax", 10), key="good"), *articles])
    with pytest.raises(DataError, match=message):
        load_task("SQuAD", data_dir=tmp_path)
    assert load_task("SQuAD", data_dir=tmp_path, bad_rows="drop").splits["train"][0]["id"] == "good"


def test_a_squad_file_that_is_short_or_another(tmp_path):
    put_squad(tmp_path, [squad(("Boll", 24))])
    for text, message in (
        ('{"version": "1.1", "data": [{"tit', "no SQuAD file"),
        ('{"version": "1.1"}', "no SQuAD file"),
        ('{"data": [{"title": "Ax"}]}', "not the structure of SQuAD"),
        ('{"data": []}', "has no rows"),
    ):
        write(tmp_path / "train-v1.1.json", text)
        with pytest.raises(DataError, match=message):
            load_task("SQuAD", data_dir=tmp_path)


# --------------------------------------------------------------------------------------------------------- offline


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_an_offline_set_of_its_own_name(name):
    sizes = {split: 12 for split in TASKS[name].splits}
    found = load_task(name, source="offline", seed=3, sizes=sizes)
    assert found.name == f"toy-{name}" and found.origin == "offline grammar, seed 3"
    assert found.rows == sizes and found.task.num_labels == TASKS[name].num_labels
    again = load_task(f"toy-{name}", seed=3, sizes=sizes)
    assert again.sha256 == found.sha256 != load_task(name, source="offline", seed=4, sizes=sizes).sha256
    for row in (row for rows in found.splits.values() for row in rows):
        if found.task.kind == "span":
            start, text = row["answers"]["answer_start"][0], row["answers"]["text"][0]
            assert row["context"][start:].startswith(text)
        else:
            assert ("text_pair" in row) == found.task.pair
            assert 0 <= row["label"] <= (5 if found.task.kind == "regression" else found.task.num_labels - 1)
    if "train" in sizes:
        sampled = found.sample(select=2)
        # Nothing that the grammar makes stands in two splits.
        assert sum(sampled.rows[split] for split in ("train", "select")) <= 12
        assert not any("repeat a reported row" in note for note in sampled.notes)


def test_tasks_that_exist_offline_only():
    found = load_task("probing-tense", sizes={"train": 4, "dev": 4})
    assert found.task.labels == ("past", "present") and found.name == "probing-tense"
    assert metrics.glue("probing-tense", [0, 1], [0, 0]) == {"accuracy": 50.0}
    assert set(load_task("probing", sizes={"dev": 2}).splits["dev"][0]) >= {"text", "tree", "features"}
    assert load_task("RTE", source="offline", splits=("dev",), sizes={"train": 2, "dev": 3}).rows == {"dev": 3}
    with pytest.raises(DataNotFoundError, match="made with train, without test"):
        load_task("RTE", source="offline", sizes={"train": 2}, splits=("test",))
    for name in ("RTE", "probing-tense", "package-origin"):
        with pytest.raises(UnknownNameError, match=r"unknown split of .* in sizes 'trian'\. Did you mean 'train'"):
            load_task(name, source="offline", sizes={"trian": 3})
        with pytest.raises(DataError, match=r"sizes=10: the rows of each split"):
            load_task(name, source="offline", sizes=10)
    with pytest.raises(UnknownNameError, match="Did you mean 'probing-tense'"):
        load_task("probing-tenses")
    for name in ("toy-RTE", "probing", "package-origin"):
        for place in ({"source": "hub"}, {"data_dir": "."}):
            with pytest.raises(DataError, match=f"'{name}' is made offline"):
                load_task(name, **place)


def test_which_package_a_sentence_is_from(monkeypatch):
    def package_origin(sizes, seed):
        row = {"id": "0", "text": "A tensor.", "label": 1}
        return {split: [row] * count for split, count in sizes.items()}, ("os", "torch")

    monkeypatch.setattr(texts, "package_origin", package_origin)
    found = load_task("package-origin", sizes={"train": 3, "dev": 1})
    assert found.task.labels == ("os", "torch") and found.rows == {"train": 3, "dev": 1}
    assert metrics.glue(found.task, [1, 0], [1, 1]) == {"accuracy": 50.0}


# --------------------------------------------------------------------------------------------------------- records


def test_a_record_is_json_without_paths(tmp_path):
    put(tmp_path, "SST-2", sst("a", "b"), sst("c"))
    found = load_task("SST-2", data_dir=tmp_path).sample(train=1, select=1, dev=1)
    text = json.dumps(found.describe())
    assert str(tmp_path) not in text and str(tmp_path) in found.place
    about = json.loads(text)
    assert about["rows"] == {"train": 1, "select": 1, "dev": 1}
    row = json.dumps(without_id(found.splits["dev"][0]), sort_keys=True) + "\n"
    assert about["sha256"]["dev"] == hashlib.sha256(row.encode()).hexdigest()
