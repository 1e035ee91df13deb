"""Probing: the files, the treebank, the states, the probes, the control task, and all of it together."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import family, message, sentences, tiny_model, tiny_tokenizer
from torch import nn

from mpolab import grammar
from mpolab.errors import CheckpointError, DataError, DataNotFoundError, TrainingError, UnknownNameError
from mpolab.pretrained import load_pretrained
from mpolab.probing import PROBES, TEN, ProbeResult, Score, States, TaskResult, load_probing, load_results, probe
from mpolab.probing.classifiers import STRENGTHS, fit, standardise
from mpolab.probing.conllu import read_conllu
from mpolab.probing.run import control_labels
from mpolab.probing.tasks import checked, probe_named
from mpolab.probing.trend import load_trends
from mpolab.tasks import Task, TaskData

ROOT = Path(__file__).resolve().parent.parent
ALL = {"train": None, "dev": None, "test": None}


def write(folder: Path, name: str, text: str, packed: bool = False) -> Path:
    path = folder / (name + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


def official(folder: Path, name: str = "past_present", lines: list[str] | None = None, packed: bool = False) -> Path:
    """A file in SentEval's layout."""
    lines = lines or [
        "tr\tPAST\tThe dog ran .", "tr\tPRES\tThe dog runs .", "tr\tPAST\tThe cat slept .",
        "va\tPRES\tThe cat sleeps .", "te\tPAST\tThe bird ate .",
    ]  # fmt: skip
    return write(folder, f"{name}.txt", "\n".join(lines) + "\n", packed)


# ---------------------------------------------------------------------------------------------------- SentEval's files


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "probing", "data/probing"])
def test_the_official_files_are_read(tmp_path, packed, below):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    official(tmp_path / below, packed=packed)
    (data,) = load_probing("Tense", "senteval", tmp_path, ALL)
    assert data.name == "senteval-tense" and data.task.labels == ("PAST", "PRES")
    assert [(row["text"], row["label"]) for row in data.splits["train"]] == [
        ("The dog ran .", 0), ("The dog runs .", 1), ("The cat slept .", 0),
    ]  # fmt: skip
    assert [row["label"] for row in data.splits["dev"]] == [1] and data.rows["test"] == 1
    assert str(tmp_path) not in json.dumps(data.describe())  # a record names no path


def test_numbered_classes_stand_in_their_order(tmp_path):
    lines = [f"{part}\t{n}\ttext {part} {n}" for part in ("tr", "va", "te") for n in (10, 2, 0)]
    official(tmp_path, "sentence_length", lines)
    (data,) = load_probing(["sentence_length"], "senteval", tmp_path, ALL)
    assert data.task.labels == ("0", "2", "10") and [row["label"] for row in data.splits["train"]] == [2, 1, 0]


def test_all_ten_are_loaded_in_the_order_of_the_table(tmp_path):
    for name in TEN:
        official(tmp_path, PROBES[name].file)
    found = load_probing(source="senteval", data_dir=tmp_path, sizes=ALL)
    assert [data.name for data in found] == [f"senteval-{name}" for name in TEN]
    assert Counter(PROBES[name].group for name in TEN) == {"surface": 2, "syntactic": 3, "semantic": 5}


def test_a_text_of_the_test_split_is_never_trained_on(tmp_path):
    lines = ["tr\tPAST\tthe  DOG ran .", "tr\tPRES\tit runs .", "tr\tPAST\tit ran .", "va\tPAST\tit ran .",
             "va\tPAST\tthe dog ran .", "te\tPAST\tThe dog ran ."]  # fmt: skip
    official(tmp_path, lines=[*lines, "tr\tPAST\tshe ran ."])
    (data,) = load_probing("tense", "senteval", tmp_path, ALL)
    texts = {split: [row["text"] for row in rows] for split, rows in data.splits.items()}
    assert texts == {"train": ["it runs .", "she ran ."], "dev": ["it ran ."], "test": ["The dog ran ."]}
    assert "train: 2 rows left out, whose text stands in a later split" in data.notes
    assert "dev: 1 rows left out, whose text stands in a later split" in data.notes


def test_fewer_rows_are_a_seeded_sample(tmp_path):
    lines = [f"{part}\t{k % 2}\t{part} number {k}" for part in ("tr", "va", "te") for k in range(50)]
    official(tmp_path, lines=lines)
    sizes = {"train": 20, "dev": 5, "test": 7}
    one, again, other = (load_probing("tense", "senteval", tmp_path, sizes, seed)[0] for seed in (0, 0, 1))
    assert one.rows == sizes and one.sha256 == again.sha256 != other.sha256


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("tr\tPAST", "line 3: 2 fields between tabs, expected 3"),
        ("tr\tPAST\tone\ttwo", "line 3: 4 fields between tabs"),
        ("", "line 3: 1 fields"),
        ("dev\tPAST\tIt ran .", "line 3: partition 'dev', expected one of tr, va, te"),
        ("tr\t\tIt ran .", "line 3: no label"),
        ("tr\tPAST\t ", "line 3: no text"),
    ],
)
def test_a_bad_line_is_named_with_its_file(tmp_path, line, says):
    official(tmp_path, lines=["tr\tPAST\tIt ran .", "va\tPRES\tIt runs .", line, "te\tPAST\tHe ran ."])
    with pytest.raises(DataError) as error:
        load_probing("tense", "senteval", tmp_path)
    message(error, "past_present.txt", says)


def test_missing_folders_and_files(tmp_path):
    with pytest.raises(DataNotFoundError) as error:
        load_probing("tense", "senteval", tmp_path / "nowhere")
    message(error, "nowhere", "does not exist")
    official(tmp_path, "tree_depth")
    with pytest.raises(DataNotFoundError) as error:
        load_probing("tense", "senteval", tmp_path)
    message(error, "no past_present.txt", "SentEval's Tense", "tree_depth.txt")
    with pytest.raises(DataError) as error:
        load_probing("tense", "senteval")
    message(error, "source='senteval' needs data_dir")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["tr\tA\tone", "va\tA\ttwo", "te\tA\tthree"], "the only label of train is 'A'"),
        (["tr\tA\tone", "tr\tB\ttwo", "te\tA\tthree"], "no rows in its split 'dev'"),
        (["va\tA\tone", "te\tB\ttwo"], "has none"),  # no train, so no labels
        (["tr\tA\tone", "tr\tB\ttwo", "va\tC\tthree", "te\tA\tfour"], "has the label 'C', which no row of train has"),
        (["tr\tA\tone", "tr\tB\ttwo", "va\tA\tOne", "va\tA\tTWO", "te\tA\tfour"], "every text of train stands"),
    ],
)
def test_sets_that_cannot_be_probed(tmp_path, lines, says):
    official(tmp_path, lines=lines)
    with pytest.raises(DataError) as error:
        load_probing("tense", "senteval", tmp_path)
    message(error, "senteval-tense", says)


def task(rows: dict[str, list[dict]], labels=("a", "b"), name="own", kind="single") -> TaskData:
    return TaskData(Task(name, kind, tuple(labels)), rows, "made up")


@pytest.mark.parametrize(
    ("change", "labels", "says"),
    [
        ({}, (), "has no labels"),
        ({"label": 2}, ("a", "b"), "the label 2; expected a number below 2"),
        ({"label": None}, ("a", "b"), "the label None"),
        ({"label": 0, "text_pair": "x"}, ("a", "b"), "a row has one text"),
    ],
)
def test_rows_that_are_none_of_a_probing_task(change, labels, says):
    rows = [{"id": str(k), "text": f"text {k}", "label": k % 2} for k in range(6)]
    rows[0] |= change
    with pytest.raises(DataError) as error:
        checked(task({"train": rows[:2], "dev": rows[2:4], "test": rows[4:]}, labels))
    message(error, "own", says)


def test_names_and_their_nearest():
    assert probe_named("SubjNumber") is probe_named("senteval-subject_number") is PROBES["subject-number"]
    assert probe_named("probing-bigram-shift") is probe_named("BigramShift")
    with pytest.raises(UnknownNameError) as error:
        load_probing("tree-deepth")
    message(error, "unknown probing task 'tree-deepth'", "Did you mean 'tree-depth'")
    with pytest.raises(UnknownNameError, match="Did you mean 'treebank'"):
        load_probing("tense", "treebnk")
    with pytest.raises(DataError, match="'pos' is a task on words, which only a treebank has"):
        load_probing(["tense", "pos"])
    with pytest.raises(UnknownNameError, match="'valid'"):
        load_probing("tense", sizes={"valid": 3})
    with pytest.raises(DataError, match="reads no folder"):
        load_probing("tense", data_dir="somewhere")


def test_the_offline_sets_are_the_grammar_s():
    found = load_probing(sizes={"train": 20, "dev": 10, "test": 10}, seed=3)
    assert (
        [data.name for data in found] == [f"probing-{name}" for name in TEN] == [f"probing-{n}" for n in grammar.PROBES]
    )
    for data in found:
        rows = grammar.offline_task(data.name, {"train": 20, "dev": 10, "test": 10}, seed=3)
        assert data.splits == rows and data.task.labels == grammar.PROBES[data.name.removeprefix("probing-")]


# --------------------------------------------------------------------------------------------------------- a treebank

HAND = """# sent_id = 1
# text = I don't see dogs.
1\tI\tI\tPRON\tPRP\tNumber=Sing\t4\tnsubj\t4:nsubj\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\tTense=Pres|VerbForm=Fin\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\tsee\tsee\tVERB\tVB\tVerbForm=Inf\t0\troot\t_\t_
5\tdogs\tdog\tNOUN\tNNS\tNumber=Plur\t4\tobj\t_\tSpaceAfter=No
5.1\tghost\t_\t_\t_\t_\t_\t_\t_\t_
6\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

1-2\tzum\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
1\tzu\tzu\tADP\t_\t_\t3\tcase\t_\t_
2\tdem\tder\tDET\t_\t_\t3\tdet:def\t_\t_
3\tHaus\tHaus\tNOUN\t_\t_\t0\troot\t_\t_
"""


def test_conllu_by_hand():
    one, two = read_conllu(HAND.encode(), Path("hand.conllu"))
    assert one.text == "I don't see dogs." and one.tokens == 5 and len(one.words) == 6
    assert [one.text[word.span[0] : word.span[1]] for word in one.words] == ["I", "do", "n't", "see", "dogs", "."]
    assert [word.alone for word in one.words] == [True, False, False, True, True, True]
    assert one.root.form == "see" and [word.form for word in one.children[4]] == ["I", "do", "n't", "dogs", "."]
    assert one.depth == 2 and one.below(4) == {1, 2, 3, 4, 5, 6} and one.words[4].features == {"Number": "Plur"}
    assert two.text == "zumHaus" and [word.span for word in two.words] == [None, None, (3, 7)] and two.depth == 2


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_", "3\tn't\tnot\tPART\tRB\t_\t4\tadvmod", "line 6: 8 columns"),
        ("4\tsee", "5\tsee", "line 7: the word is numbered 5, and the next one should be 4"),
        ("4\tsee", "four\tsee", "line 7: the first column is 'four'"),
        (
            "NNS\tNumber=Plur\t4\tobj",
            "NNS\tNumber=Plur\t_\tobj",
            "line 8: the word 'dogs' has the tag 'NOUN', the head '_'",
        ),
        ("5\tdogs\tdog\tNOUN", "5\tdogs\tdog\tNN", "line 8: the word 'dogs' has the tag 'NN'"),
        ("4\tobj", "4\tdobj", "the relation 'dobj'"),
        ("4\tobj", "0\tobj", "line 3: the sentence that begins here has 2 roots"),
        ("4\tobj", "5\tobj", "line 3: the sentence that begins here has words that do not hang on its root"),
        ("4\tobj", "9\tobj", "line 3: the sentence that begins here has words that do not hang on its root"),
    ],
)
def test_a_bad_treebank_is_named_with_its_line(old, new, says):
    assert HAND.count(old) >= 1
    with pytest.raises(DataError) as error:
        read_conllu(HAND.replace(old, new, 1).encode(), Path("hand.conllu"))
    message(error, "hand.conllu", says)


def test_an_empty_treebank_says_so():
    with pytest.raises(DataError, match=r"hand.conllu has no sentence"):
        read_conllu(b"# nothing\n\n", Path("hand.conllu"))


NOUNS = {"dog": "dogs", "cat": "cats", "bird": "birds", "river": "rivers"}
VERBS = {"sees": "saw", "finds": "found", "likes": "liked"}
EXTRA = ("often", "today", "here")


def clause(noun: str, plural: bool, verb: str, past: bool, other: str, others: bool, start: int = 1) -> list[tuple]:
    """(form, upos, features, head, relation) of "the dogs see the cat", the verb being word `start + 2`."""
    number = lambda many: f"Number={'Plur' if many else 'Sing'}"  # noqa: E731
    tense = f"Tense={'Past' if past else 'Pres'}|VerbForm=Fin"
    return [
        ("the", "DET", "_", start + 1, "det"),
        (NOUNS[noun] if plural else noun, "NOUN", number(plural), start + 2, "nsubj"),
        (VERBS[verb] if past else verb, "VERB", tense, 0, "root"),
        ("the", "DET", "_", start + 4, "det"),
        (NOUNS[other] if others else other, "NOUN", number(others), start + 2, "obj"),
    ]


def conllu(words: list[tuple]) -> str:
    lines = []
    for k, (form, upos, features, head, relation) in enumerate(words, start=1):
        form = form.capitalize() if k == 1 else form
        after = "SpaceAfter=No" if k + 1 <= len(words) and words[k][0] in ".," else "_"
        lines.append("\t".join((str(k), form, "_", upos, "_", features, str(head), relation, "_", after)))
    return "\n".join(lines) + "\n\n"


STOP = (".", "PUNCT", "_", 3, "punct")


def simple(choice: tuple, extra: tuple[str, ...] = ()) -> list[tuple]:
    words = clause(*choice)
    return [*words, *((word, "ADV", "_", 3, "advmod") for word in extra), STOP]


def joined(one: tuple, two: tuple) -> list[tuple]:
    """ "The dog sees the cat, and the birds liked the river.\""""
    second = [
        (f, u, x, 10 if r == "root" else h, "conj" if r == "root" else r) for f, u, x, h, r in clause(*two, start=8)
    ]
    second = [(f, u, x, 3 if r == "conj" else h, r) for f, u, x, h, r in second]
    return [*clause(*one), (",", "PUNCT", "_", 10, "punct"), ("and", "CCONJ", "_", 10, "cc"), *second, STOP]


CHOICES = list(itertools.product(NOUNS, (False, True), VERBS, (False, True), NOUNS, (False, True)))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A folder with train and dev in CoNLL-U: sentences of six to nine tokens, and some that join two clauses."""
    folder = tmp_path_factory.mktemp("my_treebank")
    g = torch.Generator().manual_seed(0)
    order = torch.randperm(len(CHOICES), generator=g).tolist()
    parts = {"train": order[:300], "dev": order[300:380]}
    for name, numbers in parts.items():
        blocks = [conllu(simple(CHOICES[n], EXTRA[: k % 4])) for k, n in enumerate(numbers)]
        blocks += [conllu(joined(CHOICES[a], CHOICES[b])) for a, b in zip(numbers[::3], numbers[1::3])]
        blocks.append(blocks[0])  # twice
        write(folder, f"xx_own-ud-{name}.conllu", "".join(blocks), packed=name == "train")
    return folder


@pytest.fixture(scope="module")
def built(bank):
    return {data.name.removeprefix("treebank-"): data for data in load_probing(None, "treebank", bank, ALL)}


def test_what_a_treebank_allows_is_built(built):
    assert set(built) == set(PROBES) - {"top-constituents"}
    for data in built.values():
        texts = {split: {row["text"].casefold() for row in rows} for split, rows in data.splits.items()}
        assert not (texts["train"] & texts["dev"] | texts["train"] & texts["test"] | texts["dev"] & texts["test"])
        name = Path(data.place).resolve().name
        assert data.origin == f"folder {name}: xx_own-ud-train.conllu.gz, xx_own-ud-dev.conllu"
        assert any("no test file" in note for note in data.notes)


def test_labels_read_off_a_treebank_are_those_of_its_words(built):
    plurals, past = set(NOUNS.values()), set(VERBS.values())
    for name, read in {
        "sentence-length": lambda words: next(
            f"{a}-{b}" for a, b in ((5, 8), (9, 12), (13, 16)) if a <= len(words) + 1 + words.count(",") <= b
        ),
        "tense": lambda words: "past" if words[2] in past else "present",
        "subject-number": lambda words: "plural" if words[1] in plurals else "singular",
        "object-number": lambda words: "plural" if words[4] in plurals else "singular",
    }.items():
        data = built[name]
        for rows in data.splits.values():
            counts = Counter(row["label"] for row in rows)
            assert len(set(counts.values())) == 1 and len(counts) > 1  # balanced
            for row in rows:
                words = row["text"].lower().removesuffix(".").replace(",", " ,").split()
                assert data.task.labels[row["label"]] == read(words), (name, row)


def test_depth_and_content_of_treebank_sentences(bank):
    (depth,) = load_probing("tree-depth", "treebank", bank, ALL)
    for row in depth.splits["train"]:
        assert depth.task.labels[row["label"]] == ("4" if " and " in row["text"] else "3")
    (content,) = load_probing("word-content", "treebank", bank, ALL)
    for row in content.splits["test"]:
        words = row["text"].lower().strip(".").replace(",", "").split()
        assert [word for word in words if word in content.task.labels] == [content.task.labels[row["label"]]]


def test_shifted_bigrams_are_exchanges_of_two_neighbours(built, bank):
    whole = {sentence.text for split in ("train", "dev") for sentence in read_bank(bank, split)}
    data = built["bigram-shift"]
    for row in data.splits["train"]:
        if data.task.labels[row["label"]] == "original":
            assert row["text"] in whole
            continue
        words = row["text"].replace(".", " .").replace(",", " ,").split()
        undone = [words[:k] + [words[k + 1], words[k]] + words[k + 2 :] for k in range(1, len(words) - 1)]
        texts = [" ".join(each).replace(" .", ".").replace(" ,", ",") for each in undone]
        assert row["text"] not in whole and any(text in whole for text in texts), row["text"]


def read_bank(folder: Path, split: str) -> list:
    path = next(folder.glob(f"*-{split}.conllu*"))
    data = path.read_bytes()
    return read_conllu(gzip.decompress(data) if path.suffix == ".gz" else data, path)


def test_an_odd_man_has_the_features_of_the_one_he_replaces(built, bank):
    whole = {sentence.text for split in ("train", "dev") for sentence in read_bank(bank, split)}
    data = built["odd-man-out"]
    kinds = [set(NOUNS), set(NOUNS.values()), set(VERBS), set(VERBS.values())]
    new: dict[str, set[str]] = {}
    for split, rows in data.splits.items():
        for row in rows:
            if data.task.labels[row["label"]] == "original":
                assert row["text"] in whole
                continue
            words = row["text"].split()
            pairs = []
            for k, word in enumerate(words):
                bare = word.strip(".,").lower()
                kind = next((kind for kind in kinds if bare in kind), set())
                pairs += [bare for other in kind - {bare} if " ".join([*words[:k], word.lower().replace(bare, other),
                          *words[k + 1 :]]) in whole]  # fmt: skip
            assert pairs, row["text"]
            if row["text"] not in whole:
                new.setdefault(split, set()).update(pairs if len(set(pairs)) == 1 else ())
    assert not new["train"] & new["test"]  # what replaces belongs to one split


def test_inverted_coordination_by_hand(tmp_path):
    a, b = ("dog", False, "sees", True, "cat", True), ("bird", True, "likes", False, "river", False)
    sentence = "The dog saw the cats, and the birds likes the river."
    assert read_conllu(conllu(joined(a, b)).encode(), Path("x"))[0].text == sentence
    from mpolab.grammar.dice import Dice
    from mpolab.probing.treebank import _invert

    spoil = _invert({})
    (found,) = read_conllu(conllu(joined(a, b)).encode(), Path("x"))
    assert spoil(found, Dice(0), "train") == "The birds likes the river, and the dog saw the cats."
    (plain,) = read_conllu(conllu(simple(a)).encode(), Path("x"))
    assert spoil(plain, Dice(0), "train") is None
    shared = conllu(joined(a, b)).replace("\tnsubj\t", "\tdep\t")  # no subject: two verbs, and not two clauses
    assert spoil(read_conllu(shared.encode(), Path("x"))[0], Dice(0), "train") is None
    name = conllu(joined(a, b)).replace("1\tThe\t_\tDET", "1\tAnn\t_\tPROPN")  # a name keeps its capital
    assert spoil(read_conllu(name.encode(), Path("x"))[0], Dice(0), "train").endswith("and Ann dog saw the cats.")


def test_words_and_edges_of_a_treebank(built, bank):
    data, edges = built["pos"], built["dependency"]
    by_text = {sentence.text: sentence for split in ("train", "dev") for sentence in read_bank(bank, split)}
    row = next(row for row in data.splits["test"] if row["text"][slice(*row["spans"][0])] in ("saw", "found", "liked"))
    assert data.task.labels[row["label"]] == "VERB" and row["type"] in VERBS.values()
    assert sum(data.rows.values()) == sum(len(sentence.words) for sentence in by_text.values())
    assert sum(edges.rows.values()) == sum(len(sentence.words) - 1 for sentence in by_text.values())  # no root
    for row in edges.splits["test"]:
        head, word = (row["text"][slice(*span)] for span in row["spans"])
        if edges.task.labels[row["label"]] == "det":
            assert word.lower() == "the" == row["type"] and head in {*NOUNS, *NOUNS.values()}


def test_what_a_treebank_does_not_allow(bank, tmp_path):
    with pytest.raises(DataError) as error:
        load_probing(["tense", "top-constituents"], "treebank", bank)
    message(error, "'top-constituents' cannot be built", "no constituents", "tree-depth")
    with pytest.raises(DataNotFoundError) as error:
        load_probing("tense", "treebank", tmp_path)
    message(error, "no train file in CoNLL-U", "it holds nothing")
    write(tmp_path, "train.conllu", HAND)
    with pytest.raises(DataNotFoundError, match="no dev or test file"):
        load_probing("tense", "treebank", tmp_path)


def test_a_treebank_with_a_test_file_keeps_its_splits(bank, tmp_path):
    train = "".join(conllu(simple(choice)) for choice in CHOICES[::4])
    for split, text in {"train": train, "dev": conllu(simple(CHOICES[1])) + conllu(simple(CHOICES[7])),
                        "test": "".join(conllu(simple(choice)) for choice in CHOICES[2:40:4])}.items():  # fmt: skip
        write(tmp_path, f"{split}.conllu", text)
    (data,) = load_probing("pos", "treebank", tmp_path, ALL)
    assert {row["text"] for row in data.splits["dev"]} == {
        read_conllu(conllu(simple(CHOICES[k])).encode(), Path("x"))[0].text for k in (1, 7)
    }
    assert not any("no test file" in note for note in data.notes)


# --------------------------------------------------------------------------------------------------------- the states

TEXTS = ["the cat sleeps", "a dog eats the big fish and is not nice .", "bird"]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def model():
    return tiny_model("BertModel").eval()


def alone(model, tokenizer, text) -> torch.Tensor:
    """(layers + 1, tokens, hidden) of one text, unpadded."""
    with torch.no_grad():
        return torch.stack(model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states)[:, 0]


def test_a_sentence_is_the_mean_over_its_tokens_or_the_first(model, tokenizer):
    for pooling, pooled in {"mean": lambda h: h.mean(1), "first": lambda h: h[:, 0]}.items():
        states, there = States(model, tokenizer, pooling).take([(text, None) for text in TEXTS])
        assert states.shape == (3, 3, 32) and there.all()
        for text, state in zip(TEXTS, states):
            torch.testing.assert_close(state, pooled(alone(model, tokenizer, text)), rtol=1e-5, atol=1e-5)


def test_a_word_is_the_mean_over_its_pieces(model, tokenizer):
    text = "the xyz sleeps"  # x ##y ##z
    hidden = alone(model, tokenizer, text)
    for pooling, state in {"mean": hidden[:, 2:5].mean(1), "first": hidden[:, 2]}.items():
        found, there = States(model, tokenizer, pooling).take([(text, (4, 7)), (text, (8, 14)), (text, (3, 4))])
        torch.testing.assert_close(found[0], state, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found[1], hidden[:, 5], rtol=1e-5, atol=1e-5)
        assert there.tolist() == [True, True, False] and not found[2].any()  # a blank has no piece


def test_what_lies_behind_the_end_has_no_state(model, tokenizer):
    states = States(model, tokenizer, max_length=5)  # [CLS] the cat sleeps [SEP]
    text = "the cat sleeps on the dog"
    _, there = states.take([(text, (4, 7)), (text, (22, 25)), (text, None)])
    assert there.tolist() == [True, False, True] and states.full == 1


def test_every_sentence_is_read_once(model, tokenizer, request):
    passed = []
    hook = model.register_forward_pre_hook(lambda _, args, given: passed.extend(given["input_ids"]), with_kwargs=True)
    request.addfinalizer(hook.remove)
    states = States(model, tokenizer)
    first = [(text, None) for text in TEXTS]
    second = [(TEXTS[0], (0, 3)), (TEXTS[1], None), (TEXTS[0], (0, 3))]
    states.announce(first)
    states.announce(second)
    one, _ = states.take(first)
    two, _ = states.take(second)
    assert len(passed) == 3 == states.read and not states._kept  # nothing is kept longer than needed
    assert torch.equal(two[1], one[1]) and torch.equal(two[0], two[2])


def test_states_are_kept_on_disk_for_the_same_weights_only(model, tokenizer, tmp_path):
    places = [(TEXTS[0], None), (TEXTS[0], (4, 7)), (TEXTS[1], (900, 901))]
    fresh = States(model, tokenizer, cache=tmp_path)
    expected, there = fresh.take(places)
    (file,) = tmp_path.iterdir()
    kept = States(model, tokenizer, cache=tmp_path)
    found, again = kept.take(places)
    assert kept.read == 0 and torch.equal(found, expected) and torch.equal(there, again)
    for other in (
        States(model, tokenizer, "first", cache=tmp_path),
        States(model, tokenizer, max_length=4, cache=tmp_path),
        States(tiny_model("BertModel", seed=1), tokenizer, cache=tmp_path),
    ):
        other.take(places)
        assert other.read == 2
    assert len(list(tmp_path.iterdir())) == 4
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="delete it, and they are computed again"):
        States(model, tokenizer, cache=tmp_path).take(places)


def test_the_model_is_left_as_it_was(tokenizer):
    model = tiny_model("BertModel", dropout=0.5).train()
    states = [States(model, tokenizer).take([(TEXTS[0], None)])[0] for _ in range(2)]
    assert model.training and torch.equal(*states) and not states[0].requires_grad


@pytest.mark.parametrize(
    ("make", "layers", "width"),
    [
        (lambda: tiny_model("BertForSequenceClassification"), 3, 32),
        (lambda: tiny_model("BertForMaskedLM"), 3, 32),
        (lambda: tiny_model("GPT2LMHeadModel"), 3, 32),
        (lambda: family("albert"), 13, 16),
        (lambda: family("roberta"), 3, 16),
        (lambda: family("distilbert"), 3, 16),
        (lambda: family("t5"), 3, 16),
    ],
    ids=["BERT classifier", "BERT masked", "GPT-2", "ALBERT", "RoBERTa", "DistilBERT", "T5"],
)
def test_every_family_has_states(make, layers, width, tokenizer):
    model = make().eval()

    def few(texts, **kwargs):  # the families of `small` know 50 tokens
        found = dict(tokenizer(texts, **kwargs))
        found["input_ids"] = [[token % 40 + 3 for token in row] for row in found["input_ids"]]
        return found

    few.is_fast = True
    states, _ = States(model, few).take([(text, None) for text in TEXTS])
    assert states.shape == (3, layers, width) and not torch.equal(states[:, 0], states[:, -1])
    one, _ = States(model, few).take([(TEXTS[2], None)])
    torch.testing.assert_close(states[2], one[0], rtol=1e-4, atol=1e-5)  # padding beside longer texts changes nothing


def test_mpobert_has_states(tokenizer):
    from mpolab.mpobert import MPOBertModel
    from mpolab.mpobert_config import MPOBertConfig

    config = MPOBertConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=16, intermediate_size=32, num_attention_heads=2,
        num_hidden_layers=4, max_position_embeddings=64, mpo_n=3,
    )  # fmt: skip
    torch.manual_seed(0)
    states, _ = States(MPOBertModel(config).eval(), tokenizer).take([(text, None) for text in TEXTS])
    assert states.shape == (3, 5, 16)


class Mute(nn.Module):
    """Reads text and says nothing of its layers."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask, output_hidden_states=False):
        return SimpleNamespace(hidden_states=None)


def test_models_and_tokenizers_that_do_not_serve(model, tokenizer, monkeypatch):
    with pytest.raises(TrainingError, match="Linear gives no hidden states"):
        States(nn.Linear(3, 3), tokenizer)
    with pytest.raises(TrainingError, match="Mute gives no hidden states"):
        States(Mute(), tokenizer).take([(TEXTS[0], None)])
    with pytest.raises(TrainingError) as error:
        probe(model, None, "tense")
    message(error, "tokenizer=None is no tokenizer", "load_pretrained(name).tokenizer")
    with pytest.raises(UnknownNameError, match="Did you mean 'mean'"):
        States(model, tokenizer, "meen")

    def slow(texts, **kwargs):
        return tokenizer(texts, **kwargs)

    with pytest.raises(TrainingError, match="does not say where its pieces stand"):
        States(model, slow).take([(TEXTS[0], (0, 3))])
    broken = tiny_model("BertModel")
    with torch.no_grad():
        broken.encoder.layer[1].output.dense.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="NaN or infinite"):
        States(broken, tokenizer).take([(TEXTS[0], None)])
    with pytest.raises(TrainingError, match="makes no token of the text ''"):
        States(model, lambda texts, **kwargs: {"input_ids": [[] for _ in texts]}).take([("", None)])


# --------------------------------------------------------------------------------------------------------- the probes


def blobs(classes: int, layers: int = 2, size: int = 10, noise: float = 1.5, seed: int = 0, rows=(240, 80, 80)):
    """Features (rows, layers, size) around one point a class, off centre, and labels."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, layers, size, generator=g)
    labels = {split: torch.randint(classes, (n,), generator=g) for split, n in zip(("train", "dev", "test"), rows)}
    return {
        split: 5 + centres[y] + noise * torch.randn(len(y), layers, size, generator=g) for split, y in labels.items()
    }, labels


def test_features_are_standardised_by_train_alone():
    x, _ = blobs(2)
    x["train"][:, 0, 3] = 7.0  # varies elsewhere only
    found = standardise(x)
    assert found["train"].shape == (2, 240, 10)
    train = x["train"].double().numpy()
    mean, spread = train.mean(0), train.std(0)
    spread[0, 3] = np.inf
    for split in x:
        expected = ((x[split].double().numpy() - mean) / spread).transpose(1, 0, 2)
        np.testing.assert_allclose(found[split].numpy(), expected, atol=1e-5)
    moved = standardise({**x, "test": x["test"] + 100})
    assert torch.equal(moved["train"], found["train"]) and not torch.equal(moved["test"], found["test"])


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("alpha", [1.0, 100.0, 10000.0])
def test_the_linear_probe_is_scikit_learn_s(classes, alpha):
    from sklearn.linear_model import RidgeClassifier

    x, y = blobs(classes)
    features = standardise(x)
    found = fit("linear", features, y, classes, strengths=[alpha] * 2)
    for layer in range(2):
        peer = RidgeClassifier(alpha=alpha).fit(features["train"][layer].numpy(), y["train"].numpy())
        for split in x:
            expected = peer.score(features[split][layer].numpy(), y[split].numpy())
            assert found.accuracy[split][layer] == pytest.approx(expected, abs=1e-9)


def test_strengths_are_chosen_on_dev_and_the_stronger_wins_a_tie():
    x, y = blobs(3, noise=2.5, rows=(60, 60, 60))
    features = standardise(x)
    found = fit("linear", features, y, 3)
    each = [fit("linear", features, y, 3, strengths=[alpha] * 2) for alpha in STRENGTHS["linear"]]
    for layer in range(2):
        best = max(range(len(each)), key=lambda s: (each[s].accuracy["dev"][layer], s))
        assert found.strengths[layer] == STRENGTHS["linear"][best]
        assert found.accuracy["test"][layer] == each[best].accuracy["test"][layer]
    easy, labels = blobs(2, noise=0.01)
    assert set(fit("linear", standardise(easy), labels, 2).strengths) == {max(STRENGTHS["linear"])}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_hidden_layer_finds_what_no_line_does():
    from sklearn.neural_network import MLPClassifier

    g = torch.Generator().manual_seed(0)
    x = {split: torch.randn(n, 1, 2, generator=g) for split, n in (("train", 600), ("dev", 200), ("test", 300))}
    y = {split: (of[:, 0].prod(-1) > 0).long() for split, of in x.items()}  # the sign of the product
    features = standardise(x)
    linear, hidden = (fit(kind, features, y, 2) for kind in ("linear", "hidden"))
    peer = MLPClassifier((64,), max_iter=400, random_state=0, alpha=0.01)
    peer.fit(features["train"][0].numpy(), y["train"].numpy())
    expected = peer.score(features["test"][0].numpy(), y["test"].numpy())
    assert linear.accuracy["test"][0] < 0.6 and hidden.accuracy["test"][0] == pytest.approx(expected, abs=0.04)
    assert expected > 0.9


def test_probes_of_several_layers_share_nothing():
    x, y = blobs(3, layers=3)
    features = standardise(x)
    strengths = [0.0001, 0.01, 0.001]
    together = fit("hidden", features, y, 3, strengths=strengths)
    for layer in range(3):
        single = {split: of[layer : layer + 1] for split, of in features.items()}
        one = fit("hidden", single, y, 3, strengths=strengths[layer : layer + 1])
        for split in x:  # a row or two on the border may go the other way: sums are taken in another order
            assert one.accuracy[split][0] == pytest.approx(together.accuracy[split][layer], abs=0.02)
    assert together == fit("hidden", features, y, 3, strengths=strengths)
    assert together.accuracy != fit("hidden", features, y, 3, seed=1, strengths=strengths).accuracy


def test_a_strong_penalty_leaves_the_majority():
    x, y = blobs(2, noise=3.0, rows=(300, 100, 100))
    y["train"][:200] = 0
    strong = fit("hidden", standardise(x), y, 2, strengths=[1000.0] * 2)
    assert strong.accuracy["test"][0] == pytest.approx(float((y["test"] == 0).double().mean()))


def test_a_thousand_classes_finish():
    x, y = blobs(1000, size=48, noise=0.2, rows=(3000, 500, 500))
    for kind in ("linear", "hidden"):
        assert fit(kind, standardise(x), y, 1000).accuracy["test"][0] > 0.5


# ---------------------------------------------------------------------------------------------------- the control task


def test_control_labels_belong_to_types_and_have_the_frequencies_of_train():
    labels = [0] * 5 + [1] * 3 + [2] * 2
    rows = [{"text": f"s {k}", "type": f"w{k % 4000}", "label": labels[k % 10]} for k in range(9000)]
    splits = {"train": rows[:6000], "test": rows[6000:]}
    found = control_labels("t", splits, 3, seed=0)
    of_type: dict[str, set[int]] = {}
    for split in splits:
        for row, label in zip(splits[split], found[split].tolist()):
            of_type.setdefault(row["type"], set()).add(label)
    assert all(len(each) == 1 for each in of_type.values())  # in both splits
    shares = torch.bincount(found["train"], minlength=3) / 6000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    true = torch.tensor([row["label"] for row in splits["train"]])
    assert float((found["train"] == true).double().mean()) == pytest.approx(0.25 + 0.09 + 0.04, abs=0.03)
    assert not torch.equal(found["train"], control_labels("t", splits, 3, seed=1)["train"])
    assert torch.equal(found["train"], control_labels("t", splits, 3, seed=0)["train"])


def test_a_sentence_s_type_is_the_sentence():
    rows = [{"text": f"number {k}", "label": k % 2} for k in range(400)]
    found = control_labels("t", {"train": rows, "test": [{**row, "text": row["text"].upper()} for row in rows]}, 2, 0)
    assert torch.equal(found["train"], found["test"])  # up to capitals: the content that splits must not share
    assert 150 < int(found["train"].sum()) < 250


# ------------------------------------------------------------------------------------------------------- all together


def good_or_bad(train: int = 200, dev: int = 60, test: int = 80) -> TaskData:
    rows, labels = sentences(train + dev + test, seed=5), Counter()
    seen: dict[str, dict] = {row["text"]: row for row in rows}
    rows = list(seen.values())
    labels.update(row["label"] for row in rows)
    return task(
        {"train": rows[:train], "dev": rows[train : train + dev], "test": rows[train + dev :]}, ("bad", "good"), "good"
    )


@pytest.fixture(scope="module")
def result(model, tokenizer):
    return probe(model, tokenizer, good_or_bad(), name="tiny")


def test_a_word_that_gives_the_label_away_is_found_at_every_layer(result):
    (found,) = result.tasks
    assert found.layers == 3 == result.layers and found.level == "sentence" and found.group == "other"
    for kind in ("linear", "hidden"):
        assert min(found.values("accuracy", kind)) > 0.9
    data = good_or_bad()
    most = Counter(row["label"] for row in data.splits["train"]).most_common(1)[0][0]
    right = [row["label"] == most for row in data.splits["test"]]
    assert found.majority == pytest.approx(sum(right) / len(right), abs=1e-5)
    assert found.rows == data.rows and found.sha256 == data.sha256
    assert result.sentences == sum(data.rows.values())
    assert "BertModel, 2 layers, hidden size 32" in result.about


def test_control_is_chance_on_sentences_and_selectivity_the_rest(result):
    (found,) = result.tasks
    for score in found.scores:
        assert 0.25 < score.control < 0.75 and score.selectivity == score.accuracy - score.control
    hidden = [score for score in found.scores if score.kind == "hidden"]
    assert max(score.memorised for score in hidden) > 0.7  # it remembers a good part of 200 random labels


def test_a_probe_remembers_words_it_has_met(model, tokenizer):
    """On embeddings that tell the words apart, random labels of words can be learnt, and known again in test."""
    words = [f"{a}{b}" for a in "bcdfg" for b in "hjklm"]
    g = torch.Generator().manual_seed(0)

    def rows(count: int, name: str) -> list[dict]:
        found = []
        for k in range(count):
            order = torch.randperm(len(words), generator=g)[:4].tolist()
            text = " ".join(words[n] for n in order) + f" {name} {k}"
            found.append({"text": text, "spans": [[0, 2]], "type": words[order[0]], "label": order[0] % 2})
        return found

    data = task(
        {"train": rows(600, "x"), "dev": rows(150, "y"), "test": rows(150, "z")}, ("even", "odd"), kind="tokens"
    )
    (found,) = probe(model, tokenizer, data).tasks
    assert found.level == "word" and found.score(0, "hidden").accuracy > 0.95
    assert found.score(0, "hidden").control > 0.75  # chance is a half, as on sentences: the penalty holds it down
    assert found.score(0, "linear").control > 0.7


def test_edges_take_both_ends_in_their_order(model, tokenizer):
    """The label is which of the two is the head: of the same two words in the same text, either may be."""
    g = torch.Generator().manual_seed(0)
    animals = ("cat", "dog", "bird", "fish")

    def rows(count: int, last: str) -> list[dict]:
        found = []
        for k in range(count):
            a, b = torch.randperm(4, generator=g)[:2].tolist()
            text = f"{animals[a]} {animals[b]} {last} {k}"
            spans = [[0, len(animals[a])], [len(animals[a]) + 1, len(animals[a]) + 1 + len(animals[b])]]
            for label in (0, 1):
                ends = spans[::-1] if label else spans
                found.append({"text": text, "spans": ends, "type": animals[b], "label": label})
        return found

    data = task({"train": rows(200, "x"), "dev": rows(50, "y"), "test": rows(50, "z")}, ("no", "yes"), kind="tokens")
    (found,) = probe(model, tokenizer, data, kinds=["linear"]).tasks
    assert found.level == "edge" and found.values("accuracy")[0] > 0.9


def test_words_beyond_the_end_are_left_out_and_counted(model, tokenizer):
    def rows(name: str) -> list[dict]:
        return [
            {"text": f"{name} {k} " + "the " * (20 if k == 3 else 2) + "dog", "spans": [[-3, -1]], "type": "dog",
             "label": k % 2} for k in range(10)
        ]  # fmt: skip

    data = task({split: rows(split) for split in ("train", "dev", "test")}, kind="tokens")
    for of in data.splits.values():
        for row in of:
            row["spans"] = [[len(row["text"]) - 3, len(row["text"])]]
    (found,) = probe(model, tokenizer, data, kinds=["linear"], max_length=16).tasks
    assert found.rows == {"train": 9, "dev": 9, "test": 9}
    assert "3 rows left out, whose words the tokenizer cuts off or drops" in found.notes


def test_the_same_call_gives_the_same_result(model, tokenizer, result):
    again = probe(model, tokenizer, good_or_bad(), name="tiny")
    strip = lambda r: [(t.name, t.scores, t.majority) for t in r.tasks]  # noqa: E731
    assert strip(again) == strip(result)
    assert strip(probe(model, tokenizer, good_or_bad(), seed=1)) != strip(result)


def test_named_tasks_are_the_offline_ones(model, tokenizer):
    sizes = {"train": 40, "dev": 20, "test": 20}
    found = probe(model, tokenizer, ["tense", "probing-tree-depth"], sizes=sizes, kinds=["linear"], seed=2)
    assert [task.name for task in found.tasks] == ["probing-tense", "probing-tree-depth"]
    assert [task.group for task in found.tasks] == ["semantic", "syntactic"]
    assert found.tasks[0].sha256 == load_probing("tense", sizes=sizes, seed=2)[0].sha256
    for bad, says in {
        ("tense", "probing-tense"): "'probing-tense' is given twice",
        (): "names none",
        (3,): "3 is no task",
        ("senteval-tense",): "source='senteval', data_dir=",
    }.items():
        with pytest.raises(DataError) as error:
            probe(model, tokenizer, list(bad), sizes=sizes)
        message(error, says)
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        probe(model, tokenizer, "tense", kinds=["linaer"])
    with pytest.raises(TrainingError, match="asks for no probe"):
        probe(model, tokenizer, "tense", kinds=[])


def test_tasks_of_one_text_read_it_once(model, tokenizer, bank):
    tasks = load_probing(["tense", "subject-number", "pos", "dependency"], "treebank", bank, ALL)
    found = probe(model, tokenizer, tasks, kinds=["linear"])
    texts = {row["text"] for data in tasks for rows in data.splits.values() for row in rows}
    assert found.sentences == len(texts)
    assert found.task("treebank-pos").score(0).accuracy > 0.9 and found.task("treebank-dependency").level == "edge"


# -------------------------------------------------------------------------------------------------------- the results


def score(layer: int, kind: str, dev: float, accuracy: float, control: float = 0.5) -> Score:
    return Score(layer, kind, 1.0, 1.0, dev, accuracy, control, 0.75)


BY_HAND = TaskResult(
    "probing-tense", "semantic", "sentence", ("past", "present"), {"train": 4, "dev": 2, "test": 2}, {}, 0.5,
    (
        score(0, "linear", 0.6, 0.55), score(1, "linear", 0.9, 0.7), score(2, "linear", 0.8, 0.95),
        score(0, "hidden", 0.6, 0.65), score(1, "hidden", 0.95, 0.8, 0.2), score(2, "hidden", 0.7, 0.99),
    ),
    "made up",
)  # fmt: skip


def test_the_probe_of_each_layer_is_chosen_on_dev():
    assert BY_HAND.values() == [0.55, 0.8, 0.95]  # of equals the linear one, and never by the reported number
    assert BY_HAND.values("selectivity") == pytest.approx([0.05, 0.6, 0.45])
    assert BY_HAND.values("above majority", "hidden") == pytest.approx([0.15, 0.3, 0.49])
    assert (BY_HAND.best(), BY_HAND.best("selectivity"), BY_HAND.best("control")) == (2, 1, 0)
    with pytest.raises(UnknownNameError, match="Did you mean 'accuracy'"):
        BY_HAND.values("acuracy")
    with pytest.raises(UnknownNameError, match="layer and kind of probe '3 linear'"):
        BY_HAND.score(3, "linear")


def test_a_result_is_json_and_comes_back(result, tmp_path):
    content = json.loads(json.dumps(result.to_dict()))
    assert ProbeResult.from_dict({**content, "command": "python", "versions": {}}) == result
    assert result.table() == {"good": result.tasks[0].values()}
    with pytest.raises(UnknownNameError, match="Did you mean 'good'"):
        result.task("god")
    with pytest.raises(AttributeError):
        result.seed = 1
    for wrong in ({}, {**content, "format": "other"}, {**content, "tasks": []}, {**content, "tasks": [{"name": "x"}]}):
        with pytest.raises(CheckpointError, match=r"no result of mpolab.probing.probe"):
            ProbeResult.from_dict(wrong)
    with pytest.raises(DataNotFoundError, match="no record of probing"):
        load_results(tmp_path)
    (tmp_path / "tiny.json").write_text(json.dumps(content))
    assert load_results(tmp_path) == {"tiny": result}
    (tmp_path / "torn.json").write_text(json.dumps(content)[:500])
    with pytest.raises(CheckpointError, match=r"torn.json"):
        load_results(tmp_path)


def script_named(name: str):
    """A file of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_script_writes_a_record(tmp_path, monkeypatch, tokenizer):
    folder = tmp_path / "tiny"
    tiny_model("BertModel", seed=5).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    script = script_named("probe_models")
    base = ["probe_models.py", str(folder), "--rows", "40", "20", "20", "--out", str(tmp_path / "results")]
    base += ["--tasks", "tense", "WordContent"]
    for more in ([], ["--untrained"]):
        monkeypatch.setattr(sys, "argv", base + more)
        script.main()
    found = load_results(tmp_path / "results")
    assert set(found) == {"tiny", "tiny-untrained"}
    assert [task.name for task in found["tiny"].tasks] == ["probing-tense", "probing-word-content"]
    text = (tmp_path / "results" / "tiny.json").read_text()
    content = json.loads(text)
    assert str(tmp_path) not in text and content["command"].startswith("python scripts/probe_models.py tiny --source")
    assert content["versions"]["torch"] and content["seed"] == 0 and content["total_seconds"] > 0
    assert found["tiny"].tasks[0].scores != found["tiny-untrained"].tasks[0].scores


def test_a_study_of_trends_goes_on_where_it_stopped(tmp_path, monkeypatch, tokenizer, bank, capsys):
    models = []
    for k, name in enumerate(("one", "two")):
        models.append(str(tmp_path / name))
        tiny_model("BertModel", seed=k).save_pretrained(models[-1])
        tokenizer.save_pretrained(models[-1])
    script, out = script_named("trend_study"), tmp_path / "trend.json"
    argv = ["trend_study.py", "--data-dir", str(bank), "--seeds", "0", "1", "--rows", "40", "20", "20"]
    argv += ["--out", str(out), "--models", *models]
    monkeypatch.setattr(sys, "argv", argv)
    real, ran = script.probed, []

    def stops(found, model, seed, tasks, pooling):
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append((model, seed))
        return real(found, model, seed, tasks, pooling)

    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(script, "probed", stops)
        script.main()
    first = json.loads(out.read_text())["runs"]
    with pytest.raises(CheckpointError, match="it has no two, seed 1"):
        load_trends(out)
    script.main()
    content = load_trends(out)
    assert content["runs"][:3] == first
    assert [(run["model"], run["seed"]) for run in content["runs"]] == [("one", 0), ("two", 0), ("one", 1), ("two", 1)]
    before = out.read_bytes()
    script.main()
    assert out.read_bytes() == before, "nothing is left to do"
    text = before.decode()
    assert str(tmp_path) not in text and "dogs" not in text and content["versions"]["torch"]
    assert content["command"].startswith("python scripts/trend_study.py --data-dir DIR --models one two --seeds 0 1")

    one = content["runs"][2]
    tasks = script.tasks_of(1, content["sizes"], bank)
    assert [task["name"] for task in one["tasks"]] == [data.name for data in tasks]
    assert {PROBES[name.partition("-")[2]].group for name in (data.name for data in tasks)} == {"syntactic", "semantic"}
    loaded = load_pretrained(models[0])
    again = probe(loaded.model, loaded.tokenizer, tasks, seed=1, kinds=["linear"])
    for task, result in zip(one["tasks"], again.tasks):
        assert task["test"] == result.values() and task["dev"] == [score.dev for score in result.scores]
    assert one["tasks"] != content["runs"][0]["tasks"], "another seed, other rows"

    monkeypatch.setattr(sys, "argv", [*argv[:6], "--rows", "30", "20", "20", *argv[10:]])
    with pytest.raises(SystemExit):
        script.main()
    assert "other sizes" in capsys.readouterr().err and out.read_bytes() == before


def test_settings_of_a_study_of_trends_are_chosen_by_what_probes_read_on_dev(tmp_path, monkeypatch, tokenizer, bank):
    model = str(tmp_path / "one")
    tiny_model("BertModel").save_pretrained(model)
    tokenizer.save_pretrained(model)
    script, out = script_named("trend_study"), tmp_path / "tries.json"
    assert script.SEED_TO_CHOOSE not in script.SEEDS and set(script.CHOOSING) < set(script.MODELS)
    assert script.TRIES["as before"] == {"train": script.SIZES["train"], "pooling": script.POOLING}
    monkeypatch.setattr(script, "CHOOSING", (model,))
    monkeypatch.setattr(script, "SIZES", {"train": 30, "dev": 20, "test": 20})
    monkeypatch.setattr(
        script, "TRIES", {"a": {"train": 30, "pooling": "mean"}, "b": {"train": 30, "pooling": "first"}}
    )
    monkeypatch.setattr(script, "refuse_paths", lambda content: None)  # the model's name is a path here
    monkeypatch.setattr(sys, "argv", ["trend_study.py", "--data-dir", str(bank), "--choose", "--out", str(out)])
    script.main()
    content = json.loads(out.read_text())
    assert content["seed"] == script.SEED_TO_CHOOSE and content["rows"] == {"dev": 20}
    tasks, loaded = script.tasks_of(script.SEED_TO_CHOOSE, script.SIZES, bank), load_pretrained(model)
    for label, pooling in (("a", "mean"), ("b", "first")):
        result = probe(
            loaded.model, loaded.tokenizer, tasks, seed=script.SEED_TO_CHOOSE, pooling=pooling, kinds=["linear"]
        )
        best = [max(score.dev for score in task.scores if score.layer > 0) for task in result.tasks]
        assert content["scores"][model][label] == pytest.approx(100 * sum(best) / len(best), abs=1e-3)
