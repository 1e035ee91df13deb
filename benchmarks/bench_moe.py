"""Speed and memory of an MPOE layer beside dense experts, and what its few parameters cost in time.

    python benchmarks/bench_moe.py [--quick] [--only training,eval,memory] [--tokens 1024,4096] [--repeats N]
                                   [--json FILE]

One layer, 8 experts, 768 -> 3072 -> 768, ReLU without biases (what transformers' Switch layer has), top-1 with the same
router weights for all, no capacity limit. All contenders start as copies of one block, compute the same (checked), and
run in one process in turns (A B C A B C ...) after a warm-up. A ratio is the median over the rounds.

With one thread, times are CPU seconds of the process: on a machine where others compute they say more than a clock on
the wall does. With more threads they are those of the clock. A product of 1024 x 1024 matrices runs in turn with the
contenders; its rate makes the floor from the FLOPs of `flops`. `--json` adds the run to the file, so that long sections
can be measured in several calls.
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
from torch.utils.flop_counter import FlopCounterMode
from transformers import SwitchTransformersConfig
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersSparseMLP

sys.path[:0] = [folder for folder in [str(Path(__file__).resolve().parent)] if folder not in sys.path]

from bench_decomposition import machine, print_table  # noqa: E402
from bench_layers import at_least, clock, clock_name, in_turns, judged, over, step  # noqa: E402
from own_process import medians  # noqa: E402

from mpolab.experts import DenseExperts, MPOExperts  # noqa: E402
from mpolab.meter import Meter  # noqa: E402
from mpolab.moe_layer import MoELayer  # noqa: E402
from mpolab.rebuild import _sizes, left_first, rebuild_flops  # noqa: E402
from mpolab.routers import SwitchRouter  # noqa: E402

SECTIONS = ("training", "eval", "memory")
EXPERTS, HIDDEN, INNER = 8, 768, 3072
TOKENS = (1024, 4096, 8192, 16384, 32768)
OURS, DENSE, LOOP, SWITCH, GEMM = "MPOE", "dense experts", "MPOE, W by W", "transformers' Switch", "gemm"

FLOOR, EVALUATION, STATE = 0.85, 0.95, 0.25
"""Least share of the floor in a training step; least speed in evaluation over dense experts; most bytes of parameters
and AdamW's state over theirs."""


# -- the contenders --------------------------------------------------------------------------------------


def switch(tokens: int) -> SwitchTransformersSparseMLP:
    """All experts copies of the first, room for every token."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = SwitchTransformersSparseMLP(
            SwitchTransformersConfig(
                d_model=HIDDEN, d_ff=INNER, num_experts=EXPERTS, expert_capacity=tokens, dropout_rate=0.0,
                router_jitter_noise=0.0,
            )
        )  # fmt: skip
        nn.init.normal_(layer.router.classifier.weight, std=HIDDEN**-0.5)
    one = layer.experts["expert_0"].state_dict()
    for expert in layer.experts.values():
        expert.load_state_dict(one)
    return layer


def layer(name: str, theirs: SwitchTransformersSparseMLP) -> nn.Module:
    """A contender that computes what theirs does."""
    if name == SWITCH:
        return theirs
    block = theirs.experts["expert_0"]
    make = {
        OURS: partial(MPOExperts.from_ffn, block, EXPERTS),
        LOOP: partial(MPOExperts.from_ffn, block, EXPERTS, rebuild="loop"),
        DENSE: partial(DenseExperts.from_ffn, block, EXPERTS),
    }
    router = SwitchRouter(HIDDEN, EXPERTS, None, None, jitter=0.0)
    with torch.no_grad():
        router.classifier.weight.copy_(theirs.router.classifier.weight)
    return MoELayer(router, make[name]())


def contenders(tokens: int, *names: str) -> dict[str, nn.Module]:
    theirs = switch(tokens)
    return {name: layer(name, theirs) for name in names}


def given(tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and gradient of the output, (1, tokens, hidden) both: one sequence."""
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(1, tokens, HIDDEN, generator=generator) for _ in range(2))


def flops(experts: MPOExperts, tokens: int) -> dict[str, int]:
    """Of a training step: "tokens", what dense experts need for them, and "rebuild", what all experts' W cost.

    A token meets each matrix three times (forward, gradient of the input, of W). A W is two products; taking its
    gradient to L, C and R is four more, and the first of the two again, as it is not kept (`rebuild.Thirds.gradients`):
    four products of the first one's size and three of the second's. Routing, and what is done number by number, is left
    out.
    """
    for_tokens = for_weights = 0
    for matrix in experts.matrices.values():
        for_tokens += 3 * 2 * matrix.plan.shape[0] * matrix.plan.shape[1]
        left, d, centre, e, right = sizes = _sizes(matrix.plan, matrix.bonds)
        first = 2 * d * centre * e * (left if left_first(*sizes) else right)
        for_weights += 4 * first + 3 * (rebuild_flops(matrix.plan, matrix.bonds) - first)
    return {"tokens": for_tokens * tokens, "rebuild": for_weights * experts.count}


def checked(layers: dict[str, nn.Module], x: torch.Tensor, seen: torch.Tensor) -> None:
    """Raises where a contender computes something else, or where the FLOPs counted at work are not those of `flops`."""
    outputs = {name: layer(x).detach() for name, layer in layers.items()}
    expected = outputs[DENSE]
    for name, y in outputs.items():
        error = float((y - expected).norm() / expected.norm())
        if not error < 1e-4:
            raise AssertionError(f"{name} computes something else: relative error {error:.2g}")
    if LOOP in layers:
        with FlopCounterMode(display=False) as counter:
            step(layers[LOOP], x, seen)()
        counted, worked_out = counter.get_total_flops(), sum(flops(layers[LOOP].experts, x.shape[1]).values())
        if not 1 <= counted / worked_out < 1.02:  # the router and the halves of the chains come on top
            raise AssertionError(f"{counted:,} FLOPs were counted, and {worked_out:,} worked out")


# -- timing ------------------------------------------------------------------------------------------------


def gemm() -> tuple[Callable[[], None], float]:
    """A call of about as many FLOPs as 512 tokens of an expert, and their number."""
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(1024, 1024, generator=generator) for _ in range(2))
    out, times = torch.empty_like(a), 4

    def call() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    return call, 2.0 * 1024**3 * times


def training(tokens: list[int], rounds: int) -> list[dict]:
    """One row for each number of tokens: a forward and a backward pass, with the gradient of the input.

    break_even: at how many tokens a step of MPOE takes twice as long as one of dense experts, that is what all the
    rebuilding costs, counted in tokens of dense work.
    """
    rows = []
    for count in tokens:
        layers = contenders(count, OURS, DENSE, LOOP, SWITCH)
        x, seen = given(count)
        checked(layers, x.requires_grad_(), seen)
        multiply, work = gemm()
        calls = {name: step(layer, x, seen) for name, layer in layers.items()}
        times = in_turns({**calls, GEMM: multiply}, rounds, warmup=1, clock=clock())
        rate = work / statistics.median(times[GEMM])
        parts = flops(layers[OURS].experts, count)
        floor = sum(parts.values()) / rate
        load = layers[OURS].router(x).load(EXPERTS).tolist()
        rows.append(
            {
                "tokens": count,
                "rounds": rounds,
                "tokens_by_expert": load,
                "seconds": {name: round(statistics.median(times[name]), 4) for name in calls},
                "speed_over": {name: round(1 / over(times, OURS, name), 4) for name in (DENSE, LOOP, SWITCH)},
                "flops": parts,
                "gflops_of_gemm": round(rate / 1e9, 1),
                "break_even_by_flops": round(parts["rebuild"] / (parts["tokens"] / count)),
                "break_even": round(count * (over(times, OURS, DENSE) - 1)),
                "speed_over_dense_by_flops": round(parts["tokens"] / sum(parts.values()), 4),
                "floor_seconds": round(floor, 4),
                "share_of_floor": round(statistics.median(floor / t for t in times[OURS]), 4),
            }
        )
    return rows


@torch.no_grad()
def evaluation(tokens: list[int], rounds: int) -> list[dict]:
    rows = []
    for count in tokens:
        layers = {name: layer.eval() for name, layer in contenders(count, OURS, DENSE, SWITCH).items()}
        x, seen = given(count)
        checked(layers, x, seen)
        calls = {name: partial(layer, x) for name, layer in layers.items()}
        # dense experts twice: how far the noise goes
        times = in_turns({**calls, "dense again": calls[DENSE]}, rounds, warmup=1, clock=clock())
        rows.append(
            {
                "tokens": count,
                "rounds": rounds,
                "seconds": {name: round(statistics.median(times[name]), 4) for name in calls},
                "speed_over": {name: round(1 / over(times, OURS, name), 4) for name in (DENSE, SWITCH)},
                "dense_over_itself": round(1 / over(times, "dense again", DENSE), 4),
            }
        )
    return rows


# -- memory ------------------------------------------------------------------------------------------------


def state_bytes(layer: nn.Module) -> tuple[int, int]:
    """(parameters, AdamW's state after a step), in bytes."""
    optimizer = torch.optim.AdamW(layer.parameters(), 1e-4)
    x, seen = given(64)
    step(layer, x.requires_grad_(), seen)()
    optimizer.step()
    state = [value for entry in optimizer.state.values() for value in entry.values() if torch.is_tensor(value)]
    return sum(p.nbytes for p in layer.parameters()), sum(value.nbytes for value in state)


def _peak(tokens: int, name: str, queue) -> None:
    """In a process of its own: the peak of a step above the layer and its gradients."""
    found = contenders(tokens, name)[name]
    x, seen = given(tokens)
    run = step(found, x.requires_grad_(), seen)
    run()
    meter = Meter()  # gradients exist
    found.zero_grad(set_to_none=False)
    x.grad = None
    found(x).backward(seen)
    queue.put(meter.peak_bytes)


def memory(tokens: list[int], rounds: int) -> list[dict]:
    names = (OURS, DENSE, LOOP, SWITCH)
    peaks = medians(partial(_peak, min(tokens)), names, rounds)
    layers, rows = contenders(min(tokens), *names), []
    for name in names:
        parameters, state = state_bytes(layers[name])
        rows.append({"layer": name, "parameters": sum(p.numel() for p in layers[name].parameters()),
                     "bytes": parameters + state, "tokens": min(tokens), "peak_bytes": peaks[name]})  # fmt: skip
    dense = next(row["bytes"] for row in rows if row["layer"] == DENSE)
    return [{**row, "over_dense": round(row["bytes"] / dense, 4)} for row in rows]


# -- all of it ---------------------------------------------------------------------------------------------

RUN = {"training": training, "eval": evaluation, "memory": memory}


def shown(section: str, rows: list[dict]) -> None:
    if section == "memory":
        table = [("layer", "parameters", "with AdamW's state, MB", "over dense", "peak of a step, MB")]
        for row in rows:
            limit = partial(judged, limit=STATE if row["layer"] == OURS else None)
            table.append((row["layer"], f"{row['parameters']:,}", f"{row['bytes'] / 1e6:.0f}",
                          limit(row["over_dense"]), f"{row['peak_bytes'] / 1e6:.0f}"))  # fmt: skip
    elif section == "eval":
        table = [("tokens", *(f"{name}, s" for name in rows[0]["seconds"]), "speed over dense", "dense over itself")]
        for row in rows:
            table.append((f"{row['tokens']:,}", *(f"{t:.3f}" for t in row["seconds"].values()),
                          at_least(row["speed_over"][DENSE], EVALUATION),
                          f"{row['dense_over_itself']:.3f}"))  # fmt: skip
    else:
        table = [("tokens", *(f"{name}, s" for name in rows[0]["seconds"]), "speed over dense", "by FLOPs",
                  "over W by W", "over Switch", "share of the floor", "rebuilding, in tokens", "by FLOPs")]  # fmt: skip
        for row in rows:
            speeds = row["speed_over"]
            table.append((f"{row['tokens']:,}", *(f"{t:.2f}" for t in row["seconds"].values()),
                          f"{speeds[DENSE]:.2f}", f"{row['speed_over_dense_by_flops']:.2f}",
                          at_least(speeds[LOOP], 1.0), f"{speeds[SWITCH]:.2f}",
                          at_least(row["share_of_floor"], FLOOR), f"{row['break_even']:,}",
                          f"{row['break_even_by_flops']:,}"))  # fmt: skip
    print_table(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,024 tokens only")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--tokens", help="numbers of tokens, separated by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    tokens = [int(part) for part in asked.tokens.split(",")] if asked.tokens else TOKENS[: 1 if asked.quick else None]
    kept = " ".join(word for word in sys.argv[1:] if not word.endswith(".json") and word != "--json")
    began = time.perf_counter()
    record = {"machine": machine(f"python benchmarks/bench_moe.py {kept}".strip())}
    record["clock"] = clock_name()
    print(json.dumps(record["machine"]))
    for section in asked.only.split(","):
        print(f"\n{section}\n")
        record[section] = RUN[section](list(tokens), asked.repeats)
        shown(section, record[section])
    record["seconds"] = round(time.perf_counter() - began, 1)
    print(f"\n{record['seconds']:.0f} s in all.")
    if asked.json:
        runs = json.loads(asked.json.read_text())["runs"] if asked.json.exists() else []
        asked.json.write_text(json.dumps({"runs": [*runs, record]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
