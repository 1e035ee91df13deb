"""Time of the scores of generated text: Self-BLEU beside nltk's counting, and perplexity over documents.

    python benchmarks/bench_generation.py [--quick] [--only self_bleu,perplexity] [--model FOLDER] [--json FILE]

Texts are made up: words drawn by Zipf's law, so that pairs repeat as in English. Perplexity is that of GPT-2s with
random weights in the shapes of small checkpoints, or of the model in FOLDER with its own tokenizer. Times are those of
`bench_layers.clock`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

sys.path[:0] = [folder for folder in [str(Path(__file__).resolve().parent)] if folder not in sys.path]

from bench_decomposition import machine, print_table  # noqa: E402
from bench_layers import clock, clock_name  # noqa: E402

from mpolab import metrics  # noqa: E402

SECTIONS = ("self_bleu", "perplexity")
VOCABULARY = 8000
SELF_BLEU, PERPLEXITY = 30.0, 60.0
"""Most seconds for Self-BLEU-2 of 1,000 texts of about 25 words, and for the perplexity of 100,000 tokens."""


def made_up(texts: int, words: int, seed: int = 0) -> list[str]:
    """Texts of half to one and a half times `words` words."""
    generator = np.random.default_rng(seed)
    ranks = np.arange(1, VOCABULARY - 9)
    chance = 1 / ranks
    lengths = generator.integers(words // 2, words + words // 2 + 1, texts)
    return [
        " ".join(f"w{word}" for word in generator.choice(ranks, length, p=chance / chance.sum())) for length in lengths
    ]


def seconds(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """(the median time, what came out)"""
    times, now = [], clock()
    for _ in range(repeats):
        begin = now()
        found = call()
        times.append(now() - begin)
    return statistics.median(times), found


def self_bleu(repeats: int, quick: bool, folder: str | None) -> list[dict]:
    rows = []
    for texts, words, n in ((1000, 25, 2), (1000, 25, 4), (1000, 25, 5), (10_000, 25, 2), (1000, 230, 4)):
        if quick and texts * words > 25_000:
            continue
        generated = made_up(texts, words)
        took, found = seconds(lambda generated=generated, n=n: metrics.self_bleu(generated, n), repeats)
        row = {"texts": texts, "words": words, "n": n, "seconds": took, "self_bleu": found, "nltk_seconds": None,
               "most": SELF_BLEU if (texts, words, n) == (1000, 25, 2) else None}  # fmt: skip
        if row["most"] and importlib.util.find_spec("nltk"):
            row["nltk_seconds"], row["nltk_of_texts"] = _nltk(generated, n, 10 if quick else 30)
        rows.append(row)
    return rows


def _nltk(generated: list[str], n: int, of: int) -> tuple[float, int]:
    """(seconds for all texts, by the time of the first few, how many those were): each against all others."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    cut, method = [text.split() for text in generated], SmoothingFunction().method1
    weights = (1 / n,) * n
    took, found = seconds(
        lambda: [sentence_bleu(cut[:k] + cut[k + 1 :], cut[k], weights, method) for k in range(of)], 1
    )
    assert len(found) == of
    return took * len(cut) / of, of


def perplexity(repeats: int, quick: bool, folder: str | None) -> list[dict]:
    if folder is None:
        models = {name: (random_gpt2(**shape), word_tokenizer(shape["vocab_size"])) for name, shape in SHAPES.items()}
    else:
        found = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        models = {Path(folder).name: found}
    texts = made_up(4 if quick else 40, 2500)
    rows = []
    for name, (model, tokenizer) in models.items():
        room = getattr(model.config, "n_positions", 256)
        for stride in (room // 2, room - 1) if quick else (room // 4, room // 2, room - 1):
            took, found = seconds(
                lambda model=model, tokenizer=tokenizer, stride=stride: metrics.perplexity(
                    model, tokenizer, texts, stride=stride
                ),
                1 if quick else repeats,
            )
            rows.append({"model": name, "parameters": sum(p.numel() for p in model.parameters()), "max_length": room,
                         "stride": stride, "tokens": found["tokens"], "seconds": took,
                         "seconds_per_100k": took * 1e5 / found["tokens"],
                         "most": PERPLEXITY if stride == room // 2 else None})  # fmt: skip
    return rows


SHAPES = {
    "random GPT-2, 4 x 256": {"vocab_size": VOCABULARY, "n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": 256},
    "random GPT-2, 6 x 192": {"vocab_size": 5000, "n_embd": 192, "n_layer": 6, "n_head": 6, "n_positions": 128},
}


def random_gpt2(**shape: int) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **shape))


def word_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A number for each of the most frequent of the made-up words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    inside = Tokenizer(models.WordLevel({"[UNK]": 0} | {f"w{k}": k for k in range(1, size)}, unk_token="[UNK]"))
    inside.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inside, unk_token="[UNK]", eos_token="[UNK]")


RUN = {"self_bleu": self_bleu, "perplexity": perplexity}


def shown(section: str, rows: list[dict]) -> None:
    if section == "self_bleu":
        table = [("texts", "words each", "n", "seconds", "nltk, seconds", "Self-BLEU")]
        for row in rows:
            peer = (
                "-" if row["nltk_seconds"] is None else f"{row['nltk_seconds']:.0f} (by {row['nltk_of_texts']} texts)"
            )
            table.append((f"{row['texts']:,}", str(row["words"]), str(row["n"]), _judged(row["seconds"], row["most"]),
                          peer, f"{row['self_bleu']:.2f}"))  # fmt: skip
    else:
        table = [("model", "parameters", "window", "stride", "tokens", "seconds", "seconds for 100k tokens")]
        for row in rows:
            table.append((row["model"], f"{row['parameters']:,}", str(row["max_length"]), str(row["stride"]),
                          f"{row['tokens']:,}", f"{row['seconds']:.2f}",
                          _judged(row["seconds_per_100k"], row["most"])))  # fmt: skip
    print_table(table)


def _judged(value: float, most: float | None) -> str:
    return f"{value:.2f}" if most is None else f"{value:.2f} ({'within' if value <= most else 'ABOVE'} {most:g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and smaller sets of texts")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--model", help="a folder with a causal language model and its tokenizer")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    options = (("--quick", asked.quick), (f"--only {asked.only}", asked.only != ",".join(SECTIONS)))
    kept = " ".join(option for option, given in options if given)  # no path of this machine
    record = {
        "machine": machine(f"python benchmarks/bench_generation.py {kept}".strip()),
        "clock": clock_name(),
        "repeats": asked.repeats,
    }
    print(json.dumps(record["machine"]))
    for section in asked.only.split(","):
        print(f"\n{section}")
        record[section] = RUN[section](asked.repeats, asked.quick, asked.model)
        shown(section, record[section])
        if asked.json:
            asked.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
