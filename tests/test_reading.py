"""Text that stays in its files: the same documents, splits, checksums and tokens as from memory, and no more memory."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpolab import corpora, reading, segments
from mpolab.data import load_text
from mpolab.errors import DataError
from mpolab.ngrams import Counts, contexts, floors
from mpolab.vocabulary import train_tokenizer

WORDS = "the a cat dog walks walked talking talked under over river stone unbelievable never always café".split()
SEPARATOR = "=== .* ==="


def story(number: int, sentences: int) -> str:
    """Sentences and paragraphs of different lengths, with quotes; a function of its number."""
    draw = np.random.default_rng(number)
    made = []
    for k in range(sentences):
        words = " ".join(WORDS[int(n)] for n in draw.integers(len(WORDS), size=int(draw.integers(2, 12))))
        made.append(f'"{words}," said {number}.' if k % 7 == 3 else f"{words.capitalize()} {k}.")
        made.append("\n\n" if k % 5 == 4 else "\n" if k % 3 == 2 else " ")
    return "".join(made) + "\n"


def write(folder, splits: dict[str, list[int]], packed: bool = False, size: int = 40):
    """NAME.SPLIT.txt[.gz] of stories; `splits` has their numbers; "" = without a split."""
    for split, numbers in splits.items():
        text = "\n=== next ===\n".join(story(k, size + 7 * (k % 5)) for k in numbers)
        name = f"tales.{split}.txt" if split else "tales.txt"
        data = ("\ufeff" + text).encode()
        path = folder / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return folder


@pytest.fixture
def small_blocks(monkeypatch):
    """So that a small text has many pieces, and a document several."""
    monkeypatch.setattr(reading, "BLOCK", 97)
    monkeypatch.setattr(segments, "PIECE", 150)


LAYOUTS = {
    "train and valid": {"train": [0, 1, 2], "valid": [3]},
    "many documents, so that whole ones are held out": {"train": list(range(130)), "valid": [200, 5]},
    "three splits": {"train": [0, 1], "valid": [2], "test": [3]},
    "divided by lines": {"": [0, 1, 1, 2]},
    "divided by documents": {"": [*range(30), 3, 4]},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_result_is_that_of_a_text_in_memory(layout, packed, tmp_path, small_blocks):
    write(tmp_path, LAYOUTS[layout], packed, size=4 if len(LAYOUTS[layout].get("train", [])) > 100 else 40)
    whole, streamed = (load_text("tales", data_dir=tmp_path, separator=SEPARATOR, streamed=s) for s in (False, True))
    assert isinstance(streamed, corpora.StreamedText) and not isinstance(whole, corpora.StreamedText)
    assert streamed.describe() == whole.describe()
    assert {split: list(found) for split, found in streamed.splits.items()} == whole.splits
    splits = [segments.held_out(text.splits) for text in (whole, streamed)]
    assert {split: list(found) for split, found in splits[1].items()} == splits[0]
    tokenizers = [train_tokenizer(found["train"], 150, 32, progress=False) for found in splits]
    assert tokenizers[0].backend_tokenizer.to_str() == tokenizers[1].backend_tokenizer.to_str()
    for split in splits[0]:
        paths = [segments.token_folder("t", split, found[split], tokenizers[0], 24, tmp_path) for found in splits]
        assert paths[0] == paths[1], "a cache that is there already is found"
        for number, found in enumerate(splits):
            segments.tokenize(found[split], tokenizers[0], 24, tmp_path / f"{split}{number}")
        for file in sorted((tmp_path / f"{split}0").iterdir()):
            assert file.read_bytes() == (tmp_path / f"{split}1" / file.name).read_bytes(), file.name


def test_the_tokens_are_those_of_before_there_was_a_stream(tmp_path, small_blocks):
    """Recorded on the version that read each split whole."""
    write(tmp_path, LAYOUTS["train and valid"])
    found = segments.held_out(load_text("tales", data_dir=tmp_path, separator=SEPARATOR, streamed=True).splits)
    tokenizer = train_tokenizer(found["train"], 150, 32, progress=False)
    digest = hashlib.sha256()
    for split, documents in found.items():
        segments.tokenize(documents, tokenizer, 24, tmp_path / split)
        for name in ("ids", "starts", "sentences", "blocks", "about.json"):
            digest.update((tmp_path / split / name).read_bytes())
    assert digest.hexdigest() == RECORDED


RECORDED = "74106a676b72cd8de30ef7e7634d89ed71d27361642648b1c363f4623d277eb3"


@given(st.text(alphabet="a =\n\r\ufeff", max_size=60), st.integers(1, 9))
def test_documents_are_cut_as_in_memory(text, size):
    blocks = [text[k : k + size] for k in range(0, len(text), size)]
    for separator in (r"=+", r"a.*", r"\s*"):
        found: dict[int, str] = {}
        for number, piece in reading.cut(iter(blocks), separator):
            assert piece
            found[number] = found.get(number, "") + piece
        assert list(found) == list(range(len(found)))
        assert list(found.values()) == corpora.documents(text, separator)


@given(st.text(alphabet='aB1 .!?"\n', max_size=80), st.integers(1, 9), st.integers(0, 20))
def test_sentences_of_pieces_are_those_of_the_document(text, size, most):
    before, segments.PIECE = segments.PIECE, most
    try:
        parts = [text[k : k + size] for k in range(0, len(text), size)]

        class Pieces(reading.Documents):
            def __init__(self):
                pass

            def parts(self):
                return ((0, part) for part in parts)

        found = [piece for _, pieces in segments._in_pieces(Pieces()) for piece in pieces]
    finally:
        segments.PIECE = before
    assert found == segments.sentences(text)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028"])
def test_lines_end_as_python_ends_them(end, tmp_path, monkeypatch):
    text = end.join(["one", "", "two three", "four\x0bfive", ""])
    (tmp_path / "a.txt").write_bytes(text.encode())
    want = np.cumsum([len(line) for line in text.strip("\n").splitlines(keepends=True)]).tolist()
    for size in (3, 4, 5, 100):
        monkeypatch.setattr(reading, "BLOCK", size)
        documents = reading.Documents.of([tmp_path / "a.txt"], "never")
        assert [position for _, position in documents.line_ends()] == want


def test_a_line_without_end_is_cut_between_words(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 50)
    monkeypatch.setattr(reading, "BLOCK", 20)
    text = "=== " * 200 + "no separator, though its parts would be\n=== one ===\nlast"
    (tmp_path / "a.txt").write_text(text)
    documents = reading.Documents.of([tmp_path / "a.txt"], "=== .* ===")
    assert list(documents) == [text[: text.index("\n")], "last"] and documents.words == 208
    assert max(len(piece) for _, piece in documents.parts()) < 100


def test_slices_and_files_that_are_passed_over(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text("\n=\n".join(f"{name}{k}" for k in range(4)))
    documents = reading.Documents.of([tmp_path / f"{name}.txt" for name in "abc"], "=")
    assert list(documents[2:5]) == ["a2", "a3", "b0"] and list(documents[-1:]) == ["c3"]
    assert [number for number, _ in documents[5:9].parts()] == [0, 1, 2, 3]
    opened = []
    real = reading.blocks
    monkeypatch.setattr(reading, "blocks", lambda path: opened.append(path.name) or real(path))
    assert list(documents.choose([1, 10])) == ["a1", "c2"] and opened == ["a.txt", "c.txt"]


# -- memory --------------------------------------------------------------------------------------------


def peak(call) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def prepared(folder, root):
    """All that pre-training does with a text before it trains."""
    text = load_text("tales", data_dir=folder, separator=SEPARATOR, streamed=True)
    splits = segments.held_out(text.splits)
    tokenizer = train_tokenizer(splits["train"], 150, 32, progress=False)
    text.describe()
    segments.prepare("tales", splits, tokenizer, 32, root, progress=False)


BUDGET = 120_000  # bytes


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    """One long document and forty short ones, 20 times the budget; the tokenizer's own words are counted in it."""
    for room, value in ((reading, {"BLOCK": 128}), (segments, {"PIECE": 256, "BATCH": 16})):
        for name, number in value.items():
            monkeypatch.setattr(room, name, number)
    prepared(write(tmp_path, LAYOUTS["train and valid"]), tmp_path / "warm")  # imports
    folder = tmp_path / "long"
    folder.mkdir()
    texts = [story(1, 6000) * 5, *[story(2, 130) * 5] * 40]
    (folder / "tales.train.txt").write_text("\n=== next ===\n".join(texts))
    (folder / "tales.valid.txt").write_text(story(3, 20))
    assert (folder / "tales.train.txt").stat().st_size > 20 * BUDGET
    del texts
    assert peak(lambda: prepared(folder, folder / "tokens")) < BUDGET


def test_floors_need_no_more_memory_for_a_longer_text(monkeypatch):
    monkeypatch.setattr("mpolab.ngrams.PIECE", 1000)
    ids = np.random.default_rng(0).integers(0, 20, 200_000).astype("<u4")
    draw = np.random.default_rng(1)
    rows = [
        {"input_ids": draw.integers(0, 20, 12).tolist(), "labels": [0, *draw.integers(0, 20, 10).tolist(), -100]}
        for _ in range(20)
    ]
    asked = contexts(rows, {0}, 20)
    some, every = Counts(ids, 20, asked), Counts(ids, 20)
    assert floors(some, rows, {0}) == floors(every, rows, {0})
    assert len(some._found["both"][0]) < 0.5 * len(every._found["both"][0])
    peaks = [peak(lambda n=n: Counts(ids[:n], 20, asked)) for n in (100_000, 200_000)]
    assert peaks[1] < 1.1 * peaks[0] < 8 * len(ids)


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_bad_files_give_the_errors_of_a_text_in_memory(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 16)
    write(tmp_path, {"valid": [1]}, packed)
    path = tmp_path / ("tales.train.txt" + ".gz" * packed)
    good = story(0, 30).encode()
    cases = {
        "empty": b"",
        "white": b"\n \n\n",
        "latin": good + "caf\xe9 au lait\n".encode("latin-1") + good,
        "half a letter": good + "é".encode()[:1],
    }
    for name, data in cases.items():
        path.write_bytes(gzip.compress(data) if packed else data)
        words = []
        for streamed in (False, True):
            with pytest.raises(DataError) as error:
                load_text("tales", data_dir=tmp_path, separator=SEPARATOR, streamed=streamed)
            words.append(str(error.value))
        assert words[0] == words[1], name
    assert "line" in words[1] and "0xc3" in words[1]
    path = tmp_path / "tales.train.txt.gz"
    path.write_bytes(gzip.compress(good)[:-20] if packed else good)
    if packed:
        with pytest.raises(DataError, match="cannot be unpacked"):
            load_text("tales", data_dir=tmp_path, separator=SEPARATOR, streamed=True)
    (tmp_path / "book.txt").write_text("one line\n")
    with pytest.raises(DataError, match="too little to divide"):
        load_text("book", data_dir=tmp_path, streamed=True)
