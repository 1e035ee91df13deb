"""Running text: WikiText and EMNLP2017 News in their layouts, plain text of one's own, and where it ends offline."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from released import RELEASED, fake_hub, table, write

from mpolab import corpora, hub, texts
from mpolab.data import TextData, load_text
from mpolab.errors import DataError, DataNotFoundError, UnknownNameError

WIKI = (
    " \n = First one = \n \n Some text = here . \n = Legend = \n more \n \n = A title = \n of a book \n \n"
    " = = Part = = \n \n Text . \n \n = Second = \n \n End . \n"
)


@pytest.mark.parametrize("name", ["wiki.{}.tokens", "{}.txt", "wikitext-2.{}.txt"])
def test_wikitext_is_cut_at_its_headings(tmp_path, name):
    for split in ("train", "valid", "test"):
        write(tmp_path / "wikitext-2" / name.format(split), WIKI, packed=split == "test")
    found = load_text("wikitext-2", data_dir=tmp_path)
    assert [text.split("\n")[1] for text in found.splits["train"]] == [" = First one = ", " = Second = "]
    assert "".join(found.splits["test"]) == WIKI
    assert found.words["valid"] == len(WIKI.split()) and found.describe()["pieces"]["train"] == 2
    assert "of train's pieces stand in valid or test too" in found.notes[0]  # it is the same text three times


def test_corpora_that_share_a_folder_and_parts_of_them(tmp_path):
    folder = tmp_path / "wikitext"
    for name in ("wikitext-2.valid", "wikitext-2.test", "wikitext-103.train-head", "wikitext-103.valid",
                 "wikitext-103.test"):  # fmt: skip
        write(folder / f"{name}.txt", WIKI.replace("First", name), packed=True)
    write(folder / "train.txt", WIKI)  # whose it is, nobody can say
    with pytest.raises(DataNotFoundError, match=r"lacks of wikitext-2: train .*splits=\('valid', 'test'\)"):
        load_text("wikitext-2", data_dir=tmp_path)
    assert load_text("wikitext-2", data_dir=folder, splits=("test",)).pieces == {"test": 2}
    found = load_text("wikitext-103-head", data_dir=tmp_path)
    assert found.name == "wikitext-103-head" and "wikitext-103.train-head.txt.gz" in found.origin
    with pytest.raises(DataNotFoundError, match=r"wikitext-103\.train-head\.txt\.gz is a part of the set"):
        load_text("wikitext-103", data_dir=tmp_path)
    with pytest.raises(DataNotFoundError, match="is marked 'tail'"):
        load_text("wikitext-103-tail", data_dir=tmp_path, splits=("valid",))


def test_emnlp_news_is_one_sentence_a_line(tmp_path):
    for name, lines in (("train", "a b .\nc .\n\n"), ("valid", "d .\n"), ("test", "c .\n")):
        write(tmp_path / "emnlp2017_news" / f"{name}.txt", lines)
    found = load_text("emnlp2017-news", data_dir=tmp_path)
    assert found.splits["train"] == ["a b .", "c ."] and found.unit == "line"
    assert found.notes == ("1 of train's pieces stand in valid or test too (left as published)",)


def test_one_published_file_is_enough_to_be_divided(tmp_path):
    """For those who have the validation file alone; the name says so, and no sentence is in two splits."""
    lines = [f"sentence {k} ." for k in range(40)]
    write(tmp_path / "emnlp2017_news" / "valid.txt", "\n".join([*lines, *lines[:20]]))  # some stand there twice
    with pytest.raises(DataNotFoundError, match="lacks of emnlp2017-news: train"):
        load_text("emnlp2017-news", data_dir=tmp_path)
    found = load_text("emnlp2017-news-valid", data_dir=tmp_path)
    assert {split: len(pieces) for split, pieces in found.splits.items()} == {"train": 36, "valid": 2, "test": 2}
    assert sorted(itertools.chain(*found.splits.values())) == sorted(lines)
    assert found.name == "emnlp2017-news-valid" and "valid.txt" in found.origin and "divided here" in found.notes[0]
    assert set(load_text("emnlp2017-news-valid", data_dir=tmp_path, splits=("test",)).splits) == {"test"}
    other = load_text("emnlp2017-news-valid", data_dir=tmp_path, seed=1)
    assert other.splits["train"] != found.splits["train"]
    with pytest.raises(DataNotFoundError, match="lacks of emnlp2017-news-test: test"):
        load_text("emnlp2017-news-test", data_dir=tmp_path)


def test_plain_text_with_splits_of_its_own(tmp_path):
    story = "\ufeffOnce.\n\nThen.\n<|endoftext|>\n\ufeffAgain.\n"  # some files begin with such a mark
    write(tmp_path / "tales.train.txt", story, packed=True)
    write(tmp_path / "tales.valid.txt", "== A ==\nNever.\n== B ==\nOnce more.\n")
    write(tmp_path / "other.txt", "x")
    found = load_text("tales", data_dir=tmp_path)
    assert found.splits["train"] == ["Once.\n\nThen.", "Again."] and found.pieces["valid"] == 1
    assert load_text("tales", data_dir=tmp_path, separator="== .* ==").splits["valid"] == ["Never.", "Once more."]
    with pytest.raises(DataError, match=r"are not \(other\.txt\)"):
        load_text(tmp_path)
    with pytest.raises(DataNotFoundError, match=r"no text called 'tale' .* holds other\.txt, tales"):
        load_text("tale", data_dir=tmp_path)
    with pytest.raises(DataNotFoundError, match="no file of test"):
        load_text("tales", data_dir=tmp_path, splits=("test",))


@given(st.one_of(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.just(list(range(50)))), st.integers(0, 2))
def test_a_division_loses_and_repeats_nothing(numbers, seed):
    pieces = ["".join(f"line {k} of document {n}\n" for k in range(60)) for n in numbers]
    texts, notes = corpora.divide(pieces, seed)
    assert all(texts.values()) and notes[0].startswith("divided here")
    every = [line for split in texts.values() for piece in split for line in piece.splitlines()]
    assert sorted(every) == sorted({line for piece in pieces for line in piece.splitlines()})
    if len(set(pieces)) >= corpora.MANY_DOCUMENTS:
        assert all(piece in pieces for split in texts.values() for piece in split)
        assert abs(len(texts["train"]) / len(set(pieces)) - 0.9) < 0.06
    else:
        assert abs(len("".join(texts["train"])) / len("".join(dict.fromkeys(pieces))) - 0.9) < 0.02
    assert corpora.divide(pieces, seed) == (texts, notes)


def test_one_plain_file_and_its_errors(tmp_path, monkeypatch):
    path = write(tmp_path / "book.txt", "".join(f"line {k}\n" for k in range(100)), packed=True)
    found = load_text(path)
    assert found.name == "book" and found.words == {"train": 180, "valid": 10, "test": 10}
    assert str(tmp_path) not in json.dumps(found.describe())
    write(path.with_name("empty.txt"), " \n")
    write(path.with_name("short.txt"), "one line\n")
    with pytest.raises(DataError, match="has no text"):
        load_text(tmp_path / "empty.txt")
    with pytest.raises(DataError, match="too little to divide"):
        load_text(tmp_path / "short.txt")
    with pytest.raises(DataNotFoundError, match="no text called 'nothing'"):
        load_text(tmp_path / "nothing")
    with pytest.raises(UnknownNameError, match="Did you mean 'wikitext-2'"):
        load_text("wikitex-2")
    monkeypatch.chdir(tmp_path)  # which has text files
    for nothing in ("", " "):
        for place in ({}, {"data_dir": tmp_path}, {"source": "folder"}):
            with pytest.raises(UnknownNameError, match=f"unknown corpus '{nothing}'"):
                load_text(nothing, **place)


def test_imdb_as_text_and_text_from_the_hub(tmp_path, monkeypatch):
    header = RELEASED["IMDB"][0]
    write(tmp_path / "imdb" / "train.tsv", table(header, *(f"{k}\t9\t1\treview {k}" for k in range(20))))
    write(tmp_path / "imdb" / "test.tsv", table(header, "0\t9\t1\treview 3", "1\t9\t1\tlast"))
    found = load_text("imdb", data_dir=tmp_path)
    assert found.pieces == {"train": 18, "valid": 1, "test": 2} and set(found.files) == {"train", "test"}
    lines = [line + "\n" for line in WIKI.split("\n")[:-1]]
    splits = {split: {"text": lines} for split in ("train", "validation", "test")}
    for name in ("wikitext-2", "wikitext-2-raw", "wikitext-103", "wikitext-103-raw"):
        fake_hub(monkeypatch, {("Salesforce/wikitext", f"{name}-v1"): splits})
        found = load_text(name, source="hub")
        assert found.pieces == {"train": 2, "valid": 2, "test": 2} and found.name == name
        assert found.origin.startswith("hub Salesforce/wikitext")


def test_text_that_ends_offline_says_so(monkeypatch):
    def made(name):
        return lambda seed: TextData(name, {"train": ["a"], "valid": ["b"], "test": [f"c{seed}"]}, "this Python")

    monkeypatch.setattr(texts, "stdlib_text", made("stdlib"))
    monkeypatch.setattr(texts, "package_text", made("packages"))
    fake_hub(monkeypatch, {})
    monkeypatch.setattr(hub, "unreachable", lambda repository: "no network")
    assert load_text("stdlib").origin == "this Python" and load_text("packages").name == "packages"
    found = load_text("wikitext-2")
    assert found.name == "stdlib" and "instead of wikitext-2: no source was named" in found.origin
    assert load_text("emnlp2017-news", seed=4).splits["test"] == ["c4"]
    assert load_text("imdb", splits=("test",)).pieces == {"test": 1}
    assert load_text("wikitext-2", source="offline").origin == "this Python (offline set for wikitext-2)"
    with pytest.raises(DataNotFoundError, match="cannot be had from the hub"):
        load_text("wikitext-2", source="hub")
    with pytest.raises(DataNotFoundError, match="not on the hub"):
        load_text("emnlp2017-news", source="hub")
    with pytest.raises(DataError, match="leave out data_dir"):
        load_text("stdlib", source="hub")
