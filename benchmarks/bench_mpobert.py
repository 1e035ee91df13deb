"""Speed and memory of MPOBERT beside transformers' BERT and ALBERT of the same shape, and of the two ways to rebuild.

    python benchmarks/bench_mpobert.py [--quick] [--only training,eval,memory,rebuild,accelerations,probing]
                                        [--repeats N] [--json FILE]

All contenders run in one process on the same tokens, in turns (A B C A B C ...), after a warm-up; a ratio is the median
over the rounds. sdpa attention and no dropout everywhere. `memory` runs one step each in a process of its own.
`accelerations`: what each way to make a step of pre-training faster buys (accelerations.py). `probing`: the ten tasks
of the offline grammar in all layers of MiniLM, once each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel

sys.path[:0] = [folder for folder in [str(Path(__file__).resolve().parent)] if folder not in sys.path]

from accelerations import accelerations  # noqa: E402
from accelerations import table as accelerations_table  # noqa: E402
from bench_decomposition import machine, print_table  # noqa: E402
from bench_layers import at_least, in_turns, judged, over  # noqa: E402
from own_process import medians  # noqa: E402

from mpolab import shared_rebuild  # noqa: E402
from mpolab.meter import Meter  # noqa: E402
from mpolab.mpobert import MPOBertModel  # noqa: E402
from mpolab.mpobert_config import MPOBertConfig  # noqa: E402
from mpolab.pretrained import load_pretrained  # noqa: E402
from mpolab.probing import load_probing, probe  # noqa: E402
from mpolab.rebuild import rebuild  # noqa: E402

SECTIONS = ("training", "eval", "memory", "rebuild", "accelerations", "probing")
SHAPE = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "num_hidden_layers": 12,
         "hidden_act": "gelu"}  # fmt: skip
BATCH, TOKENS = 16, 128
TRAINING, EVALUATION, MEMORY = 0.85, 0.97, 1.15
"""Least tokens/s over BERT's and ALBERT's in training and evaluation; most activation memory over BERT's."""
PROBED, PROBING = 5000, 180.0
"""Sentences of ten tasks together, and the most seconds for them."""


def models(**changes) -> dict[str, nn.Module]:
    """All contenders, random numbers from one seed, vocabulary 8,000."""
    shape = {**SHAPE, **changes, "vocab_size": 8000, "max_position_embeddings": TOKENS, "hidden_dropout_prob": 0.0,
             "attention_probs_dropout_prob": 0.0}  # fmt: skip
    made = {}
    for name, make in {
        "BertModel": lambda: BertModel(BertConfig(**shape)),
        "AlbertModel": lambda: AlbertModel(AlbertConfig(**shape)),
        "MPOBERT, layer by layer": lambda: MPOBertModel(MPOBertConfig(**shape, mpo_rebuild="layer")),
        "MPOBERT, one batch": lambda: MPOBertModel(MPOBertConfig(**shape, mpo_rebuild="batch")),
        "MPOBERT, auto": lambda: MPOBertModel(MPOBertConfig(**shape)),
    }.items():
        torch.manual_seed(0)
        made[name] = make()
    return made


def tokens(batch: int = BATCH) -> torch.Tensor:
    return torch.randint(5, 8000, (batch, TOKENS), generator=torch.Generator().manual_seed(0))


def step(model: nn.Module, ids: torch.Tensor) -> None:
    """Forward and backward; the optimizer is left out, as it is the same work per parameter for all."""
    model.zero_grad(set_to_none=True)
    model(ids).last_hidden_state.square().mean().backward()


def speeds(found: dict[str, nn.Module], call: Callable, rounds: int, least: float) -> list[dict]:
    ids = tokens()
    times = in_turns({name: partial(call, model, ids) for name, model in found.items()}, rounds)
    return [
        {
            "model": name,
            "parameters": sum(p.numel() for p in model.parameters()),
            "tokens_per_second": ids.numel() / statistics.median(times[name]),
            "over_bert": 1 / over(times, name, "BertModel"),
            "over_albert": 1 / over(times, name, "AlbertModel"),
            "least": least if name.endswith("auto") else None,
        }
        for name, model in found.items()
    ]


def training(rounds: int, quick: bool) -> list[dict]:
    found = {name: model.train() for name, model in models(num_hidden_layers=4 if quick else 12).items()}
    return speeds(found, step, rounds, TRAINING)


def evaluation(rounds: int, quick: bool) -> list[dict]:
    found = {name: model.eval() for name, model in models(num_hidden_layers=4 if quick else 12).items()}
    with torch.no_grad():
        return speeds(found, lambda model, ids: model(ids), 2 * rounds, EVALUATION)


def _one_step(depth: int, name: str, queue) -> None:
    """In a process of its own: the peak of a step with activation checkpointing, above the model and its gradients."""
    model = models(num_hidden_layers=depth)[name].train()
    model.activation_checkpointing_enable()
    step(model, tokens(2))  # gradients exist, buffers are warm
    for parameter in model.parameters():
        if parameter.grad is not None:  # the pooler's have none
            parameter.grad.zero_()
    meter = Meter()
    model(tokens()).last_hidden_state.square().mean().backward()
    queue.put(meter.peak_bytes)


def memory(rounds: int, quick: bool) -> list[dict]:
    depth = 12 if quick else 48
    # transformers' AlbertModel cannot be checkpointed
    found = medians(partial(_one_step, depth), ("BertModel", "MPOBERT, auto"), 1 if quick else rounds)
    return [
        {"model": name, "layers": depth, "peak_mb": peak / 1e6, "over_bert": peak / found["BertModel"]}
        for name, peak in found.items()
    ]


def rebuilding(rounds: int, quick: bool) -> list[dict]:
    """All matrices of all layers from the cores, and the cores' gradients from theirs."""
    rows = []
    for hidden in (192, 384) if quick else (128, 192, 256, 384, 512):
        for depth in (4, 12):
            config = MPOBertConfig(hidden_size=hidden, num_attention_heads=hidden // 64, intermediate_size=4 * hidden,
                                   num_hidden_layers=depth)  # fmt: skip
            for matrix in ("query", "ffn"):
                plan, bonds = config.plan(matrix), config.bonds(matrix)
                generator = torch.Generator().manual_seed(0)

                def core(k, plan=plan, bonds=bonds, generator=generator):
                    shape = plan.core_shape(k, bonds)
                    return nn.Parameter(torch.randn(shape, generator=generator) / shape[0] ** 0.5)

                central = core(plan.centre)
                own = [[core(k) for k in range(plan.n) if k != plan.centre] for _ in range(depth)]
                grads = torch.randn(depth, *plan.shape, generator=generator)
                c = plan.centre

                def alone(plan=plan, central=central, own=own, grads=grads, c=c):
                    for cores, grad in zip(own, grads):
                        rebuild(plan, [*cores[:c], central, *cores[c:]]).backward(grad)

                def together(plan=plan, central=central, own=own, grads=grads):
                    torch.autograd.backward(shared_rebuild.rebuild_all(plan, central, own), list(grads.unbind()))

                times = in_turns({"layer": alone, "batch": together}, rounds)
                ratio = over(times, "batch", "layer")
                rows.append(
                    {
                        "hidden": hidden, "layers": depth, "matrix": matrix, "entries": plan.shape[0] * plan.shape[1],
                        "layer_ms": 1e3 * statistics.median(times["layer"]),
                        "batch_ms": 1e3 * statistics.median(times["batch"]),
                        "batch_over_layer": ratio, "rule": "batch" if shared_rebuild.pays(plan, depth) else "layer",
                    }
                )  # fmt: skip
    return rows


def probing(rounds: int, quick: bool) -> list[dict]:
    """Ten tasks with PROBED sentences in all, and with four times as many: three in five to train, one to choose."""
    found, rows = load_pretrained("minilm"), []
    for sentences in (PROBED // 5,) if quick else (PROBED, 4 * PROBED):
        each = sentences // 10
        tasks = load_probing(sizes={"train": 3 * each // 5, "dev": each // 5, "test": each // 5})
        start = time.perf_counter()
        result = probe(found.model, found.tokenizer, tasks)
        rows.append(
            {
                "tasks": len(tasks), "sentences": sentences, "different": result.sentences,
                "seconds": time.perf_counter() - start, "of which hidden states": result.seconds,
                "most": PROBING if sentences == PROBED else None,
            }
        )  # fmt: skip
    return rows


RUN = {"training": training, "eval": evaluation, "memory": memory, "rebuild": rebuilding,
       "accelerations": accelerations, "probing": probing}  # fmt: skip


def shown(section: str, rows: list[dict]) -> None:
    if section in ("training", "eval"):
        table = [("model", "parameters", "tokens/s", "over BERT", "over ALBERT")]
        for row in rows:
            judge = partial(at_least, least=row["least"])
            table.append((row["model"], f"{row['parameters']:,}", f"{row['tokens_per_second']:,.0f}",
                          judge(row["over_bert"]), judge(row["over_albert"])))  # fmt: skip
    elif section == "memory":
        table = [("model", "layers", "peak of a step, MB", "over BERT")]
        for row in rows:
            limit = MEMORY if row["model"].startswith("MPOBERT") else None
            table.append((row["model"], str(row["layers"]), f"{row['peak_mb']:.0f}", judged(row["over_bert"], limit)))
    elif section == "accelerations":
        table = accelerations_table(rows)
    elif section == "probing":
        table = [("tasks", "sentences", "different", "s", "hidden states, s")]
        for row in rows:
            table.append((str(row["tasks"]), f"{row['sentences']:,}", f"{row['different']:,}",
                          judged(row["seconds"], row["most"]), f"{row['of which hidden states']:.1f}"))  # fmt: skip
    else:
        table = [("hidden", "layers", "matrix", "layer ms", "batch ms", "batch / layer", "rule")]
        for row in rows:
            table.append((str(row["hidden"]), str(row["layers"]), row["matrix"], f"{row['layer_ms']:.2f}",
                          f"{row['batch_ms']:.2f}", f"{row['batch_over_layer']:.2f}", row["rule"]))  # fmt: skip
    print_table(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer layers and shapes")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    kept = " ".join(word for word in sys.argv[1:] if not word.endswith(".json") and word != "--json")
    record = {"machine": machine(f"python benchmarks/bench_mpobert.py {kept}".strip()), "repeats": asked.repeats}
    print(json.dumps(record["machine"]))
    for section in asked.only.split(","):
        print(f"\n{section}")
        record[section] = RUN[section](asked.repeats, asked.quick)
        shown(section, record[section])
        if asked.json:
            asked.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
