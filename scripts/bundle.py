"""Takes a model that a pre-training recipe left in build/models/ into the package, with a card made from its record.

    python scripts/bundle.py albert-mini --scale laptop

Writes mpolab/checkpoints/NAME/: config.json, model.safetensors (at most 15 MB), the tokenizer's files and README.md.
Every number of the card is read from results/NAME/SCALE-seedSEED.json; the weights' checksum must be the record's.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from pathlib import Path

from mpolab import runs
from mpolab.pretrained import CHECKPOINTS
from mpolab.pretraining import models_folder
from mpolab.recipes import recipe_named

MOST = 15_000_000


def card(record: runs.Record) -> str:
    """The model card, Markdown."""
    about = recipe_named(record.recipe)
    data, settings = record.data, record.fields["settings"]
    phases = record.extra.get("phases")
    grown = _phases(phases) if phases else ""
    versions = ", ".join(f"{name} {record.versions[name]}" for name in ("torch", "transformers", "tokenizers"))
    files = "; ".join(f"{name} (sha256 {entry['sha256'][:12]})" for name, entry in data["files"].items())
    learned = _of_an_encoder if "sop_interval" in record.extra else _of_a_writer
    return f"""# {record.recipe}

{about.about} Trained by this project, for its notebooks; small, and trained little.

    mpolab run {record.recipe} --scale {record.scale} --seed {record.seed} --data-dir DIR

| | |
|---|---|
| parameters | {record.total:,} ({record.extra["weights"]["bytes"]:,} bytes, float32, sha256 {
        record.extra["weights"]["sha256"][:12]
    }) |
| started from | {"random numbers" if record.model == "none" else record.model} |
| text | {data["corpus"]}: {data["words"]["train"]:,} words of public-domain English novels; {files} |
| rows | {", ".join(f"{split} {count:,}" for split, count in data["rows"].items())}, of at most {
        settings["max_length"]
    } tokens |
| steps | {record.steps:,} of {settings["batch_size"]} rows, {settings["optimizer"]}{
        "" if phases else f", learning rate {settings['lr']:g}"
    } |
| device | {record.device}, {record.threads} thread(s), {record.seconds:,.0f} s, {versions} |
| run | {record.date[:10]}, commit {record.commit[:12]} |

{grown}{learned(record)}
Licence: Apache-2.0, as the project.
"""


def _phases(phases: list[dict]) -> str:
    """A sentence about a training in phases: of layers (an ALBERT), or of hidden spans (a T5)."""
    if "layers" in phases[0]:
        parts = ", ".join(
            f"{e['steps']:,} steps with {e['layers']} at rate {e['lr']:g}"
            + (f", {e['masked']:.0%} hidden" if "masked" in e else "")
            for e in phases
        )
        return f"The layer was applied fewer times at first: {parts}. "
    parts = ", then ".join(
        f"{e['steps']:,} steps at rate {e['lr']:g} with {e['hidden']:.0%} of the tokens hidden, {e['span']:g} in a row "
        "on average"
        for e in phases
    )
    return f"More was hidden at first: {parts}. "


def _evenly(curve: list[dict]) -> list[dict]:
    """Eight entries at most, spread over all."""
    return [curve[k] for k in sorted({round(k * (len(curve) - 1) / 7) for k in range(8)})] if curve else []


def _of_an_encoder(record: runs.Record) -> str:
    """What a card says of masked tokens and sentence order."""
    test, floors = record.scores["test"], record.extra["floors"]
    low, high = record.extra["sop_interval"]
    rows = [
        ("most frequent token (unigram)", floors["unigram"]),
        ("counts of both neighbours (trigram)", floors["trigram"]),
        (f"**{record.recipe}**", test),
    ]
    table = "\n".join(f"| {name} | {x['mlm_accuracy']:.1f} | {x['perplexity']:.1f} |" for name, x in rows)
    points = "\n".join(
        f"| {e['step']:,} | {e['mlm_loss']:.3f} | {e['mlm_accuracy']:.1f} | {e['sop_accuracy']:.1f} |"
        for e in _evenly(record.evaluations)
    )
    # transformers has ALBERT, but MPOBERT only once its file is imported, which takes transformers' own seconds
    auto = (
        "After\n`import mpolab.mpobert`, transformers' own `AutoModel` and `pipeline` know it by its folder as well. "
        if record.recipe.startswith("mpobert")
        else ""
    )
    use = f'`mpolab.load("{record.recipe}")`, or `mpolab.models.load_pretrained("{record.recipe}", head="masked-lm")`. '
    return f"""Masked tokens (15 %) and sentence order; the split that chose the step is the end of the training text.

On novels that were held out ({record.data["rows"]["test"]:,} rows):

| | accuracy on hidden tokens, % | perplexity |
|---|---|---|
{table}

Sentence order: {test["sop_accuracy"]:.1f} % right (95 % interval {low:.1f} to {high:.1f}; 50 is chance).

On the split that chooses, while it trained:

| step | loss on hidden tokens, nats | accuracy, % | sentence order, % |
|---|---|---|---|
{points}

Use: {use}{auto}Lower
case English prose of before 1930, with what its authors thought; not for anything that matters."""


def _of_a_writer(record: runs.Record) -> str:
    """What a card says of a model of the next token, or of hidden spans."""
    test, floors = record.scores["test"], record.extra["floors"]
    spans = "t5" in record.recipe
    rows = [
        ("most frequent token (unigram)", floors["unigram"]),
        ("Kneser-Ney, the four tokens before (5-gram)", floors["5-gram"]),
        (f"**{record.recipe}**", test),
    ]
    table = "\n".join(f"| {name} | {x['perplexity']:.1f} |" for name, x in rows)
    points = "\n".join(
        f"| {e['step']:,} | {e['loss']:.3f} | {e['perplexity']:.1f} |" for e in _evenly(record.evaluations)
    )
    what = "Hidden spans (15 % of the tokens, three on average)" if spans else "The next token"
    which = "of hidden tokens" if spans else "a token"
    seen = " The n-grams see the text before a span, the model both sides of it." if spans else ""
    head = "seq2seq-lm" if spans else "causal-lm"
    how = " A hole stands right behind the word before it: `had not<extra_id_0> the house`." if spans else ""
    return f"""{what}; the split that chose the step is the end of the training text.

On novels that were held out ({record.data["rows"]["test"]:,} windows of {record.data["window"]}, {
        floors["5-gram"]["tokens"]:,} tokens):

| | perplexity {which} |
|---|---|
{table}

The n-grams are counted on all of the training text.{seen}

On the split that chooses, while it trained:

| step | loss, nats | perplexity {which} |
|---|---|---|
{points}

Use: `mpolab.models.load_pretrained("{record.recipe}", head="{head}")`.{how} English prose of before 1930, with what its
authors thought; not for anything that matters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    record = runs.load(runs.record_path(asked.name, asked.scale, asked.seed))
    source = models_folder() / f"{asked.name}-{asked.scale}-seed{asked.seed}"
    weights = (source / "model.safetensors").read_bytes()
    if hashlib.sha256(weights).hexdigest() != record.extra["weights"]["sha256"]:
        sys.exit(f"{source} does not hold the weights of the record; run the recipe again.")
    if len(weights) > MOST:
        sys.exit(f"{len(weights):,} bytes of weights; a checkpoint of the package has at most {MOST:,}.")
    folder = CHECKPOINTS / asked.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    (folder / "README.md").write_text(card(record), encoding="utf-8")
    print(Path(folder))


if __name__ == "__main__":
    main()
