"""Text that is always there: cleaning by hand-written cases, splits, checksums, and what happens without sources."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpolab import texts
from mpolab.errors import DataError, DataNotFoundError
from mpolab.tasks import TextData


@pytest.fixture(scope="module")
def stdlib() -> TextData:
    return texts.stdlib_text(progress=False)


def sentences(data: TextData, split: str) -> list[str]:
    return [line for document in data.splits[split] for line in document.split("\n")]


# ------------------------------------------------------------------------------------------------ the standard library


def test_the_standard_library_is_about_200_000_words(stdlib):
    """Ranges, never exact values: the text belongs to the Python that runs this."""
    assert isinstance(stdlib, TextData) and stdlib.name == "stdlib" and set(stdlib.splits) == {"train", "valid", "test"}
    total = sum(stdlib.words.values())
    assert 120_000 < total < 400_000
    for split in ("valid", "test"):
        assert 0.05 < stdlib.words[split] / total < 0.12
        assert stdlib.pieces[split] >= 20


def test_it_is_english_prose(stdlib):
    every = [s for split in stdlib.splits for s in sentences(stdlib, split)]
    assert len(every) > 8_000
    for sentence in every:
        assert 5 <= len(sentence.split()) <= 60 and sentence[-1] in ".!?" and "\n" not in sentence, sentence
        assert sentence.isascii() and not re.search(r">>>|[{}\\|<>=]|::", sentence), sentence
    words = Counter(word.lower().strip(".,") for s in every for word in s.split())
    assert words["the"] > 0.05 * sum(words.values())  # as in any English; code has none
    assert {"is", "of", "a", "to", "and", "if", "return"} <= {word for word, _ in words.most_common(40)}


def test_no_sentence_is_in_two_splits_or_twice(stdlib):
    every = [s for split in stdlib.splits for s in sentences(stdlib, split)]
    assert len(set(every)) == len(every)


def test_another_seed_is_another_split_of_the_same_text(stdlib):
    other = texts.stdlib_text(seed=1, progress=False)
    assert texts.text_sha256(other) != texts.text_sha256(stdlib)
    assert {s for split in other.splits for s in sentences(other, split)} == {
        s for split in stdlib.splits for s in sentences(stdlib, split)
    }
    assert stdlib.splits["test"] != other.splits["test"]


def test_the_record_names_no_path_and_holds_no_text(stdlib):
    about = str(stdlib.describe())
    assert sysconfig.get_paths()["stdlib"] not in about and sentences(stdlib, "train")[0] not in about
    assert "Python" in stdlib.origin and len(stdlib.sha256["train"]) == 64


def test_nothing_is_imported_or_run(tmp_path, monkeypatch):
    """A module that would fail when imported is read all the same."""
    root = tmp_path / "lib"
    root.mkdir()
    (root / "angry.py").write_text('"""This module must never be run by anybody."""\nraise SystemExit(3)\n')
    assert texts.docstrings(root / "angry.py") == ["This module must never be run by anybody."]


# ------------------------------------------------------------------------------------------------------------ cleaning


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Return the number of items in a list.", ["Return the number of items in a list."]),
        ("Return the number.\n\nIt is never smaller than the\nlength of the list.",
         ["It is never smaller than the length of the list."]),
        ("Open :func:`open` or ``read`` the *whole* file at once.", ["Open open or read the whole file at once."]),
        ("This is how to use it here::\n\n    the code is not English.\n    And this is none either.\n\n"
         "This text comes after the code.", ["This text comes after the code."]),
        ("    >>> print('This is no sentence of prose.')\n    This is no sentence of prose.", []),
        ("==== =====\nName  Use\n==== =====\n", []),
        ("Parameters\n----------\nx : float\n    The value to be taken from the list.\n",
         ["The value to be taken from the list."]),
        (":param x: The value to be taken from the list.", []),
        ("timeout: The seconds to wait for an answer.\n   They may be a fraction of one.",
         ["The seconds to wait for an answer.", "They may be a fraction of one."]),
        ("* The first of all the items here.\n* The second of all the items,\n  which is longer than the first.",
         ["The first of all the items here.", "The second of all the items, which is longer than the first."]),
        ("open(file, mode='r', buffering=-1) -> file object", []),
        ("It works for e.g. Lists and also for i.e. Tuples of numbers.",
         ["It works for e.g. Lists and also for i.e. Tuples of numbers."]),
        ("Python’s own “words” are kept – in plain letters.", ["Python's own \"words\" are kept - in plain letters."]),
        ("See https://example.org for all of the details.", []),
        ("and this begins in the middle of something.", []),
        ("Two words only.", []),
        ("Set x = y + 1 and then go on with it.", []),
        ("XYZ ABC DEF GHI JKL MNO are not words.", []),
    ],
)  # fmt: skip
def test_prose_keeps_sentences_and_drops_the_rest(text, expected):
    assert texts.prose(text) == expected


@given(st.text(max_size=120))
def test_prose_never_fails_and_cleans_what_it_returns(text):
    for sentence in texts.prose(text):
        assert texts.is_prose(sentence)


def test_files_that_cannot_be_parsed_are_no_text(tmp_path):
    for name, content in {
        "two.py": b'print "Python 2 is not read here"\n"""x"""',
        "nul.py": b'"""a\0b"""',
        "template.py": b'"""This has a docstring."""\n{% if cookiecutter %}',
        "latin.py": b'"""caf\xe9"""',
    }.items():
        (tmp_path / name).write_bytes(content)
        assert texts.docstrings(tmp_path / name) == []
    assert texts.docstrings(tmp_path / "missing.py") == []


def test_docstrings_come_in_the_order_of_the_file(tmp_path):
    (tmp_path / "a.py").write_text(
        '"""Module."""\nclass A:\n    """Class."""\n    def f(self):\n        """Method."""\n'
        "        def g():\n            '''Inner.'''\n\nasync def h():\n    \"\"\"Last.\"\"\"\n"
    )
    assert texts.docstrings(tmp_path / "a.py") == ["Module.", "Class.", "Method.", "Inner.", "Last."]


# ------------------------------------------------------------------------------------------------------------ packages

NOUNS = "number list value file result module answer server letter string window signal record cursor filter".split()
VERBS = "returns changes removes keeps prints reads sends sorts".split()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages with 40 files each; `left`, `middle` and `right` have prose of their own."""
    for number, package in enumerate(("left", "middle", "right")):
        for file in range(40):
            folder = tmp_path / package / f"part{file % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            said = [
                f"The {NOUNS[(file + k) % 15]} of the {NOUNS[number + k]} {VERBS[(k + number) % 8]} the "
                f"{NOUNS[(file * 3 + k) % 15]} when it {VERBS[file % 8]} a {NOUNS[(number * 4 + file) % 15]}."
                for k in range(5)
            ]
            said.append(f"The {package} package would give this sentence away at once.")
            body = "\n\n".join(said)
            (folder / f"file{file}.py").write_text(f'"""{body}\n"""\n' + f"x = {number}\n" * (number + 1))
    (tmp_path / "left" / "tests").mkdir()
    (tmp_path / "left" / "tests" / "test_it.py").write_text('"""The tests of a package are never read here."""')
    (tmp_path / "mpolab").mkdir()
    (tmp_path / "mpolab" / "own.py").write_text('"""The text of this very package is never read here."""')
    monkeypatch.setattr(texts, "_roots", lambda: [tmp_path])
    return tmp_path


def test_the_same_files_give_the_same_text(site):
    one, two, other = (texts.package_text(seed, progress=False) for seed in (0, 0, 1))
    assert one.splits == two.splits != other.splits
    assert one.sha256 == two.sha256 and texts.text_sha256(one) == texts.text_sha256(two) != texts.text_sha256(other)


def test_package_text_reads_every_package_but_tests_and_itself(site):
    data = texts.package_text(progress=False)
    everything = "\n".join(document for split in data.splits.values() for document in split)
    assert "The right package would" in everything and "never read here" not in everything
    assert data.name == "packages" and "3 packages" in data.origin and str(site) not in str(data.describe())
    one = texts.package_text(progress=False, packages=["left"])
    assert "The right" not in "\n".join(one.splits["train"])


def test_splits_go_by_file(site):
    data = texts.package_text(progress=False)
    homes: dict[str, set[str]] = {}
    for path in site.rglob("file*.py"):
        for document in texts._documents(site, [path], False, ""):
            for sentence in document.sentences:
                homes.setdefault(sentence, set()).add(document.name)
    for split, documents in data.splits.items():
        for document in documents:
            shared = set.intersection(*(homes[sentence] for sentence in document.split("\n")))
            assert shared, (split, document)  # all of it comes from one file


def test_package_origin_is_a_balanced_task_that_names_nobody(site):
    rows, labels = texts.package_origin({"train": 60, "dev": 15, "test": 9}, classes=3, progress=False)
    assert labels == ("left", "middle", "right")
    assert {split: len(found) for split, found in rows.items()} == {"train": 60, "dev": 15, "test": 9}
    for found in rows.values():
        counts = Counter(row["label"] for row in found)
        assert max(counts.values()) == min(counts.values()) == len(found) // 3
        assert not any(re.search("left|middle|right", row["text"]) for row in found)
    every = [row["text"] for found in rows.values() for row in found]
    assert len(set(every)) == len(every)
    again, _ = texts.package_origin({"train": 60, "dev": 15, "test": 9}, classes=3, progress=False)
    other, _ = texts.package_origin({"train": 60, "dev": 15, "test": 9}, classes=3, seed=1, progress=False)
    assert again == rows != other


# ----------------------------------------------------------------------------------------------------------- bad input


def test_a_stripped_standard_library_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(texts.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path / "python311.zip")})
    with pytest.raises(DataNotFoundError, match=r"0 words .* zip file or a stripped copy.*data_dir") as problem:
        texts.stdlib_text(progress=False)
    assert str(tmp_path) not in str(problem.value)


def test_packages_without_text_are_an_error(site):
    with pytest.raises(DataNotFoundError, match="not installed"):
        texts.package_text(progress=False, packages=["nothing_of_that_name"])


@pytest.mark.parametrize("sizes", [{"train": 0}, {"train": "5"}, {"train": True}, {"valid": 5}])
def test_bad_sizes_of_package_origin(site, sizes):
    with pytest.raises(DataError, match="package-origin"):
        texts.package_origin(sizes, classes=3, progress=False)


def test_too_few_sentences_and_packages(site):
    with pytest.raises(DataError, match=r"enough sentences for \d+"):
        texts.package_origin({"train": 100_000}, classes=3, progress=False)
    with pytest.raises(DataError, match="4 packages were asked for and 3"):
        texts.package_origin(classes=4, progress=False)
    for classes in (1, True, 2.0):
        with pytest.raises(DataError, match="classes"):
            texts.package_origin(classes=classes, progress=False)


def test_a_bar_shows_on_stderr_when_it_takes_long(site, capsys, monkeypatch):
    """Nothing for a quick read; with the delay taken away the bar is there, on stderr."""
    texts.package_text()
    out, err = capsys.readouterr()
    assert out == "" and err == ""
    monkeypatch.setattr(texts, "BAR_AFTER", 0.0)
    texts.package_text()
    out, err = capsys.readouterr()
    assert out == "" and "reading the installed packages" in err
