"""Speed and memory of the MPO layers beside dense layers and beside tensorly-torch's FactorizedLinear.

    python benchmarks/bench_layers.py [--quick] [--only training,eval,auto,lookup] [--repeats N] [--json record.json]

All contenders run in one process on the same numbers, in turns (A B C A B C ...), after a warm-up. A ratio is the
median over the rounds of a contender's time over the dense layer's in the same round, so that a machine that gets
slower slows both. Thread counts are those of the environment (OMP_NUM_THREADS=1 for one).
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path[:0] = [folder for folder in [str(Path(__file__).resolve().parent)] if folder not in sys.path]

from bench_decomposition import machine, print_table  # noqa: E402

from mpolab import cost  # noqa: E402
from mpolab.layers import MODES, MPOEmbedding, MPOLinear  # noqa: E402

SECTIONS = ("training", "eval", "auto", "lookup")
SHAPES = ((3072, 768), (768, 3072))  # (out, in)
TOKENS = (1, 4, 16, 32, 64, 256, 1024, 4096)
RATIOS = (0.05, 0.1, 0.3, 0.6, 1.0)
HOPELESS = 5.0  # a mode that was so many times slower is not tried with more tokens
BATCH = 0.01  # seconds: short calls are repeated to last at least as long

# What the layers promise.
KEPT, NOTHING_KEPT = 1.2, 1.3  # a training step of 4,096 tokens over the dense one
EVALUATION, FROM_TOKENS = 1.03, 32  # evaluation over dense, from so many tokens up
AUTO = 1.1  # auto over the best of all modes
MEMORY, TIME = 0.25, 0.1  # a look-up: extra memory over its output, time over the model's forward pass


# -- timing ------------------------------------------------------------------------------------------


def clock() -> Callable[[], float]:
    """With one thread the process' own CPU seconds, which others on the machine disturb least; else the wall's."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def clock_name() -> str:
    return "CPU seconds" if clock() is time.process_time else "seconds"


def in_turns(
    calls: dict[str, Callable[[], object]], rounds: int, warmup: int = 2, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every call in every round, by the clock."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + rounds):
        for name, call in calls.items():
            gc.collect()
            start = clock()
            call()
            if turn >= warmup:
                times[name].append(clock() - start)
    return times


def batched(call: Callable[[], object]) -> Callable[[], None]:
    """The call repeated until it takes about `BATCH` seconds."""
    call()
    start = time.perf_counter()
    call()
    count = max(1, int(BATCH / max(time.perf_counter() - start, 1e-7)))

    def many() -> None:
        for _ in range(count):
            call()

    many.count = count
    return many


def over(times: dict[str, list[float]], name: str, base: str) -> float:
    """Median of the ratios of the rounds."""
    return statistics.median(a / b for a, b in zip(times[name], times[base]))


def judged(value: float, limit: float | None) -> str:
    if limit is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({'within' if value <= limit else 'ABOVE'} {limit:g})"


def at_least(value: float, least: float | None) -> str:
    if least is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({'within' if value >= least else 'BELOW'} {least:g})"


# -- section: a training step --------------------------------------------------------------------------


def linear(shape: tuple[int, int]) -> nn.Linear:
    """A dense layer whose spectrum falls slowly, as trained ones' do."""
    height, width = shape
    layer = nn.Linear(width, height)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        falling = torch.arange(1, width + 1, dtype=torch.float32) ** -0.5
        layer.weight.copy_(torch.randn(height, width, generator=generator) * falling)
        layer.bias.zero_()
    return layer


def peers(layer: MPOLinear) -> dict[str, nn.Module]:
    """tensorly-torch with the very same cores; empty where it is not installed."""
    try:
        import tltorch
        from tltorch.factorized_tensors.tensorized_matrices import BlockTT
    except ImportError as error:
        print(f"tensorly-torch MISSING ({error})")
        return {}
    plan, found = layer.plan, {}
    for implementation in ("factorized", "reconstructed"):
        cores = [nn.Parameter(core.detach().clone()) for core in layer.cores]
        tensor = BlockTT(cores, tensorized_shape=(plan.rows, plan.cols), rank=tuple(layer.bonds))
        peer = tltorch.FactorizedLinear(plan.cols, plan.rows, factorization=tensor, implementation=implementation)
        with torch.no_grad():
            peer.bias.copy_(layer.bias)
        found[f"tensorly-torch {implementation}"] = peer
    return found


def step(layer: nn.Module, x: torch.Tensor, seen: torch.Tensor) -> Callable[[], None]:
    """Forward and backward pass, gradients of the input and of all parameters that train."""

    def call() -> None:
        layer.zero_grad()
        x.grad = None
        layer(x).backward(seen)

    return call


def saved_beside(layer: nn.Module, x: torch.Tensor) -> int:
    """Bytes that a forward pass saves for the backward pass beside the input and the parameters."""
    known = {x.data_ptr(), *(parameter.data_ptr() for parameter in layer.parameters())}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in known:
            saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x)
    del y
    return sum(saved.values())


def training_case(shape: tuple[int, int], tokens: int, rounds: int) -> dict:
    dense = linear(shape)
    kept = MPOLinear.from_linear(dense, mode="reconstruct")
    nothing = MPOLinear.from_mpo(kept.mpo(), dense.bias, mode="reconstruct", keep_weight=False)
    light = MPOLinear.from_mpo(kept.mpo(), dense.bias, mode="reconstruct")
    light.central.requires_grad_(False)
    layers = {"dense": dense, "one W kept": kept, "nothing kept": nothing, "centre frozen": light, **peers(kept)}
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(tokens, shape[1], generator=generator).requires_grad_()
    seen = torch.randn(tokens, shape[0], generator=generator)
    expected = dense(x).detach()
    flops, saved = {}, {}
    for name, layer in layers.items():
        error = float((layer(x).detach() - expected).norm() / expected.norm())
        if error > 1e-4:
            raise AssertionError(f"{name} computes something else: relative error {error:.2g}")
        with FlopCounterMode(display=False) as counter:
            step(layer, x, seen)()
        flops[name], saved[name] = counter.get_total_flops(), saved_beside(layer, x)
    times = in_turns({name: step(layer, x, seen) for name, layer in layers.items()}, rounds)
    return {
        "shape": shape,
        "tokens": tokens,
        "bonds": kept.bonds,
        "rounds": rounds,
        "ms": {name: round(1e3 * statistics.median(seconds), 2) for name, seconds in times.items()},
        "over_dense": {name: round(over(times, name, "dense"), 4) for name in layers},
        "flops_over_dense": {name: round(count / flops["dense"], 4) for name, count in flops.items()},
        "saved_over_weight": {name: round(count / (4 * math.prod(shape)), 3) for name, count in saved.items()},
    }


def training(quick: bool, rounds: int) -> list[dict]:
    print("\n## Training step: forward and backward pass, n = 5, full bonds, gradient of the input included\n")
    cases = []
    for shape in SHAPES:
        case = training_case(shape, 1024 if quick else 4096, rounds)
        limits = {} if quick else {"one W kept": KEPT, "nothing kept": NOTHING_KEPT}
        print(f"### {shape[1]} -> {shape[0]}, {case['tokens']} tokens, bonds {case['bonds']}\n")
        rows = [["", "ms", "over dense", "FLOPs over dense", "saved for backward, in W's"]]
        for name in case["ms"]:
            found = judged(case["over_dense"][name], limits.get(name))
            saved, flops = case["saved_over_weight"][name], case["flops_over_dense"][name]
            rows.append([name, f"{case['ms'][name]:.1f}", found, f"{flops:.3f}", f"{saved:.2f}"])
        print_table(rows)
        print()
        cases.append(case)
    return cases


# -- section: evaluation ---------------------------------------------------------------------------------


@torch.no_grad()
def evaluation(quick: bool, rounds: int) -> list[dict]:
    print(f"\n## Evaluation, W kept, over dense (from {FROM_TOKENS} tokens up at most {EVALUATION})\n")
    rows, cases = [["", *(f"{tokens} tokens" for tokens in TOKENS)]], []
    for shape in SHAPES:
        dense = linear(shape).eval()
        layer = MPOLinear.from_linear(dense).eval()
        ratios = {}
        for tokens in TOKENS[:-2] if quick else TOKENS:
            x = torch.randn(tokens, shape[1], generator=torch.Generator().manual_seed(1))
            # each on its own copy of W; the dense one is asked twice, which shows how far the noise goes
            calls = {"dense": batched(partial(dense, x)), "ours": batched(partial(layer, x))}
            counts = {name: call.count for name, call in calls.items()}
            calls["dense again"], counts["dense again"] = calls["dense"], counts["dense"]
            times = in_turns(calls, 3 * rounds)
            times = {name: [seconds / counts[name] for seconds in times[name]] for name in times}
            ratios[tokens] = [round(over(times, name, "dense"), 4) for name in ("ours", "dense again")]
        cases.append({"shape": shape, "over_dense": {tokens: pair[0] for tokens, pair in ratios.items()}})
        cases[-1]["dense_over_itself"] = {tokens: pair[1] for tokens, pair in ratios.items()}
        cells = []
        for tokens in TOKENS:
            limit = EVALUATION if tokens >= FROM_TOKENS else None
            cells.append(judged(ratios[tokens][0], limit) if tokens in ratios else "-")
        rows.append([f"{shape[1]} -> {shape[0]}", *cells])
        again = (f"{ratios[tokens][1]:.3f}" if tokens in ratios else "-" for tokens in TOKENS)
        rows.append(["(dense over itself)", *again])
    print_table(rows)
    return cases


# -- section: auto ---------------------------------------------------------------------------------------


def auto_case(layer: MPOLinear, train: bool, quick: bool, rounds: int) -> list[dict]:
    """One layer whose mode is switched, so that all modes share cores and kept W."""
    cases, tried = [], ["reconstruct", "factorized"]
    layer.train(train)
    for tokens in TOKENS[:-2] if quick else TOKENS:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(tokens, layer.in_features, generator=generator).requires_grad_(train)
        work = step(layer, x, torch.randn(tokens, layer.out_features, generator=generator)) if train else None

        def run(mode: str, x=x, work=work) -> None:
            layer.mode = mode
            if work is not None:
                work()
            else:
                with torch.no_grad():
                    layer(x)

        calls = {mode: batched(lambda mode=mode: run(mode)) for mode in ["auto", *tried]}
        times = in_turns(calls, rounds, warmup=1)
        times = {mode: [seconds / calls[mode].count for seconds in times[mode]] for mode in calls}
        medians = {mode: statistics.median(seconds) for mode, seconds in times.items()}
        best = min(tried, key=medians.get)
        layer.mode = "auto"
        with torch.set_grad_enabled(train):
            chosen = "factorized" if layer._factorized(x) else "reconstruct"
        cases.append(
            {
                "tokens": tokens,
                "chosen": chosen,
                "best": best,
                "over_best": round(over(times, "auto", best), 4),
                "chosen_over_best": round(over(times, chosen, best), 4) if chosen in times else None,
                "ms": {mode: round(1e3 * seconds, 4) for mode, seconds in medians.items()},
            }
        )
        if "factorized" in tried and medians["factorized"] > HOPELESS * medians["reconstruct"]:
            tried = ["reconstruct"]
    return cases


def auto(quick: bool, rounds: int) -> list[dict]:
    print(f"\n## `auto` over the best of {', '.join(MODES[:2])} (at most {AUTO})")
    print("\nR rebuilds W, F goes through the chain; F! or R!: the other one was faster by more than that.")
    found = []
    for train in (False, True):
        print(f"\n### {'a training step' if train else 'evaluation'}\n")
        rows = [["", "ratio", *(f"{tokens} tokens" for tokens in TOKENS)]]
        for shape in ((768, 768), *SHAPES):
            for ratio in RATIOS[1::2] if quick else RATIOS:
                layer = MPOLinear.from_linear(linear(shape), ratio=ratio if ratio < 1 else None)
                cases = auto_case(layer, train, quick, rounds)
                found += [{"shape": shape, "ratio": ratio, "bonds": layer.bonds, "train": train, **c} for c in cases]
                cells = {case["tokens"]: _choice(case) for case in cases}
                rows.append([f"{shape[1]} -> {shape[0]}", f"{ratio:g}", *(cells.get(tokens, "-") for tokens in TOKENS)])
        print_table(rows)
    return found


def _choice(case: dict) -> str:
    wrong = case["chosen"] != case["best"] and (case["chosen_over_best"] or math.inf) > AUTO
    return f"{case['chosen'][0].upper()}{'!' if wrong else ''} {case['over_best']:.2f}"


# -- section: look-up --------------------------------------------------------------------------------


def many_ids(kind: str, size: int) -> torch.Tensor:
    """32x128: all over the vocabulary, or as frequent as in text (the k-th word 1/k as often as the first)."""
    generator = torch.Generator().manual_seed(0)
    if kind == "uniform":
        return torch.randint(size, (32, 128), generator=generator)
    weights = 1 / torch.arange(1.0, size + 1)
    return torch.multinomial(weights, 32 * 128, replacement=True, generator=generator).view(32, 128)


def lookup_case(name: str, config: dict, rounds: int) -> dict:
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(BertConfig(**config)).eval()
    dense = model.embeddings.word_embeddings
    layer = MPOEmbedding.from_embedding(dense, ratio=0.1).eval()
    ids = {kind: many_ids(kind, dense.num_embeddings) for kind in ("text", "uniform")}
    memory = {}
    for kind in ids:
        with torch.no_grad(), cost._Tensors() as seen:
            rows = layer(ids[kind])
        memory[kind] = (seen.peak - rows.nbytes) / rows.nbytes
    with torch.no_grad():
        calls = {kind: (lambda kind=kind: layer(ids[kind])) for kind in ids}
        times = in_turns({"model": lambda: model(ids["text"]), **calls}, rounds, warmup=1)
    backward = {kind: (lambda kind=kind: layer(ids[kind]).sum().backward()) for kind in ids}
    trained = in_turns(backward, rounds, warmup=1)
    return {
        "model": name,
        "bonds": layer.bonds,
        "ratio": round(layer.ratio, 4),
        "model_ms": round(1e3 * statistics.median(times["model"]), 1),
        "unique": {kind: len(ids[kind].unique()) for kind in ids},
        "ms": {kind: round(1e3 * statistics.median(times[kind]), 2) for kind in ids},
        "with_backward_ms": {kind: round(1e3 * statistics.median(trained[kind]), 2) for kind in ids},
        "over_model": {kind: round(over(times, kind, "model"), 4) for kind in ids},
        "memory_over_output": {kind: round(memory[kind], 4) for kind in ids},
    }


def lookup(quick: bool, rounds: int) -> list[dict]:
    print("\n## Look-up of 32x128 tokens in an embedding of 30522 words at ratio 0.1\n")
    minilm = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    models = {"MiniLM's shape (384, 6 layers)": minilm} | ({} if quick else {"BERT-base's shape (768, 12 layers)": {}})
    rows = [["", "ids", "ms", "forward and backward", "over the model's forward", "extra memory over output"]]
    cases = []
    for name, config in models.items():
        case = lookup_case(name, config, min(rounds, 5))
        for kind in case["ms"]:
            time_found = judged(case["over_model"][kind], TIME)
            memory_found = judged(case["memory_over_output"][kind], MEMORY)
            ids = f"{kind}, {case['unique'][kind]} different"
            ms, both = f"{case['ms'][kind]:.1f}", f"{case['with_backward_ms'][kind]:.1f} ms"
            rows.append([f"{name}, {case['model_ms']:.0f} ms", ids, ms, both, time_found, memory_found])
        cases.append(case)
    print_table(rows)
    return cases


# -- all of it -----------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="bench_layers.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer tokens and rounds, about a minute")
    parser.add_argument("--only", metavar="NAMES", help=f"comma-separated sections of {', '.join(SECTIONS)}")
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds (default: 15, quick 3)")
    parser.add_argument("--json", metavar="PATH", help="also write everything as a JSON record")
    options = parser.parse_args(arguments)
    asked = [part.strip() for part in (options.only or "").split(",") if part.strip()]
    if unknown := [part for part in asked if part not in SECTIONS]:
        parser.error(f"--only: unknown {', '.join(unknown)}; sections are {', '.join(SECTIONS)}")
    if options.json and not Path(options.json).resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {Path(options.json).parent}")
    rounds = options.repeats or (3 if options.quick else 15)
    kept = " ".join(a for k, a in enumerate(arguments) if "--json" not in a and arguments[k - 1 : k] != ["--json"])
    began = time.perf_counter()
    record: dict = {"machine": machine(f"python benchmarks/bench_layers.py {kept}".strip())}
    described = record["machine"]
    print("# MPO layers\n")
    print(f"{described['cpu']}, {described['cores']} cores, {described['threads']} threads; {described['date']}")
    if (described["load_before"] or 0) > 0.5:
        print(f"load before the start: {described['load_before']} - others are using this machine, times are noisy")
    run = {"training": training, "eval": evaluation, "auto": auto, "lookup": lookup}
    for section in SECTIONS:
        if not asked or section in asked:
            record[section] = run[section](options.quick, rounds)
    record["seconds"] = round(time.perf_counter() - began, 1)
    print(f"\n{record['seconds']:.0f} s in all.")
    if options.json:
        Path(options.json).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
