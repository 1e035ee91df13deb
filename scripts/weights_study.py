"""Plans, errors that travel through layers, and centres of neighbouring layers: three claims about trained weights.

    python scripts/weights_study.py [plans plans-ffn growth growth-albert centres]

Each case is a file of its own, results/weights_CASE.json with "_" for "-"; all numbers are float64. Notebooks 02
(sections 5 and 7) and 03 (section 2) had shown each once, with other sentences or random numbers; what is measured over
seeds, and what the ledger makes of it (`mpolab.ledger.studies`), was written down here before it was run:

plans    MPOP section 4.4. Seed k: the query matrix of layer k, 0 to 4, by seven plans: n = 3, 5, 7 and 9, and n = 5
         with the factors of rows and columns rising, falling, or rows rising and columns falling. Errors after cuts to
         ratios 0.3, 0.5 and 0.7. A seed's number is (largest - smallest) / mean of the errors at ratio 0.5, over the
         four n alone and over all seven plans; alike means within 0.05.
growth   MPOP section 4.2. Seed k: the k-th draw of sixteen sentences from the offline grammar. The attention and FFN
         matrices of one layer are cut (to an error of 0.1, of 0.2, to ratio 0.5), and the relative error of the hidden
         states of all tokens is taken after it and after every later layer. A step is the error after a layer, divided
         by the one before. A seed's number is the geometric mean of all steps, with layers 0 to 4 cut to 0.1 one at a
         time; above 1 is amplified. Also with all layers cut at once: the same of the steps behind layer 0.
centres  MPOBERT section 3.2. Seed k: layers k and k + 1. How much of the matrix of layer k + 1 is left over by layer
         k's centre between free auxiliary tensors (alternating least squares, 8 and 40 rounds), and how much by a
         random centre; the same started from the best rotations. Also the largest cosine that rotations give the two
         layers, and two random matrices, or a random one and the layer. A seed's number is the mean over query and FFN
         in of the error left with the layer's centre after 8 rounds, less that with the random one; below 0 is alike.

The factor in the first half of the steps with all layers cut to 0.1, less that in the last half, was added later and
for the same file; alike means within 0.05. The other ratios, levels, layers, rounds, starts and cosines are looked at
where these numbers do not come out. For two of them more was tried, written down here before it was run as well; what
is measured is the same:

plans-ffn      the matrices of the FFN that widen, 1536 x 384, in place of the query matrices, 384 x 384: rows and
               columns have other factors, where a square has the same ones twice.
growth-albert  albert-mini in place of MiniLM: MPOP's own kind of model, and twelve layers in place of six. Its one
               layer stands in every place as a copy, so that the copies can be cut one at a time.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from mpolab.grammar import offline_task
from mpolab.ledger.studies import EVERY_LAYER, WEIGHTS_FORMAT, weights_file
from mpolab.matrices import Matrix, matrices
from mpolab.mpo import MPO
from mpolab.plans import Plan, make_plan
from mpolab.pretrained import Pretrained, load_pretrained
from mpolab.runs import refuse_paths, results_folder, surroundings
from mpolab.whole import write_whole

SEEDS = (0, 1, 2, 3, 4)
RATIOS = (0.3, 0.5, 0.7)
LEVELS: dict[str, dict[str, float]] = {"error 0.1": {"error": 0.1}, "error 0.2": {"error": 0.2},
                                       "ratio 0.5": {"ratio": 0.5}}  # fmt: skip
SENTENCES = 16
KINDS = ("query", "FFN in")
ROUNDS = (8, 40)


def of_layers(found: Pretrained) -> dict[str, Matrix]:
    """Attention's and the FFN's matrices by name."""
    return {name: matrix for name, matrix in matrices(found).items() if matrix.layer is not None}


def of_kind(found: Pretrained, kind: str) -> list[torch.Tensor]:
    """Layer by layer, float64."""
    return [matrix.weight.double() for matrix in of_layers(found).values() if matrix.kind == kind]


def short(value: float) -> float:
    return float(f"{value:.6g}")


# -- plans -------------------------------------------------------------------------------------------------


def seven_plans(shape: tuple[int, int]) -> dict[str, Plan]:
    base = make_plan(shape)
    rows, cols = sorted(base.rows), sorted(base.cols)
    found = {f"n = {n}": make_plan(shape, n) for n in (3, 5, 7, 9)}
    return found | {
        "n = 5, factors rising": make_plan(shape, rows=rows, cols=cols),
        "n = 5, falling": make_plan(shape, rows=rows[::-1], cols=cols[::-1]),
        "n = 5, rows rise, cols fall": make_plan(shape, rows=rows, cols=cols[::-1]),
    }


def plans(found: Pretrained, seed: int, kind: str = "query") -> list[dict[str, Any]]:
    matrix, rows = of_kind(found, kind)[seed], []
    for name, plan in seven_plans(tuple(matrix.shape)).items():
        whole = MPO.decompose(matrix, rows=plan.rows, cols=plan.cols)
        for ratio in RATIOS:
            cut = whole.truncate(ratio=ratio)
            rows.append({"plan": name, "ratio": ratio, "error": short(cut.error()), "parameters": cut.parameters})
    return rows


# -- growth ------------------------------------------------------------------------------------------------


def in_every_place(found: Pretrained) -> Pretrained:
    """An ALBERT with a copy of its layer in every place: the same function, and layers that can be cut apart."""
    config = copy.deepcopy(found.model.config)
    config.num_hidden_groups = config.num_hidden_layers
    model, shared = type(found.model)(config), found.model.state_dict()
    model.load_state_dict({name: shared[re.sub(r"(layer_groups)\.\d+", r"\1.0", name)] for name in model.state_dict()})
    return replace(found, model=model.eval())


def sentences(seed: int) -> list[str]:
    return [row["text"] for row in offline_task("probing", {"test": SENTENCES}, seed)["test"]]


class Travelling:
    """A model in float64 some of whose matrices are cut for a while. Its parts are made once, for all seeds."""

    def __init__(self, found: Pretrained):
        self.model, self.tokenizer = found.model.double(), found.tokenizer
        self.own = of_layers(found)
        self.layers = sorted({matrix.layer for matrix in self.own.values()})
        self.kept = {name: matrix.weight.clone() for name, matrix in self.own.items()}
        whole = {name: MPO.decompose(weight) for name, weight in self.kept.items()}
        self.cuts = {level: {name: mpo.truncate(**request).to_matrix() for name, mpo in whole.items()}
                     for level, request in LEVELS.items()}  # fmt: skip

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """After every layer, (tokens of all texts, hidden). One text after the other: no padding."""
        ids = [self.tokenizer(text, return_tensors="pt").input_ids for text in texts]
        runs = [self.model(input_ids=row, output_hidden_states=True).hidden_states for row in ids]
        return [torch.cat([run[layer + 1][0] for run in runs]) for layer in self.layers]

    def put(self, weights: Mapping[str, torch.Tensor]) -> None:
        for name, weight in weights.items():
            self.own[name].weight.copy_(weight)

    def errors(self, level: str, layers: Sequence[int], texts: Sequence[str], exact: list[torch.Tensor]) -> list[float]:
        """Relative errors after the first of the layers that are cut, and after every later one."""
        names = [name for name, matrix in self.own.items() if matrix.layer in layers]
        self.put({name: self.cuts[level][name] for name in names})
        states = self.states(texts)
        self.put({name: self.kept[name] for name in names})
        behind = self.layers.index(layers[0])
        return [short(float((a - b).norm() / a.norm())) for a, b in zip(exact[behind:], states[behind:])]


def growth(found: Travelling, seed: int) -> list[dict[str, Any]]:
    texts, rows = sentences(seed), []
    exact = found.states(texts)
    for level in LEVELS:
        for layer in found.layers[:-1]:
            rows.append({"level": level, "cut": layer, "errors": found.errors(level, [layer], texts, exact)})
        rows.append({"level": level, "cut": EVERY_LAYER, "errors": found.errors(level, found.layers, texts, exact)})
    return rows


# -- centres -----------------------------------------------------------------------------------------------


def folded(matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(I, J) -> (left legs, middle leg, right legs), zero-padded: the centre at full bonds, in another basis."""
    padding = (0, plan.padded[1] - matrix.shape[1], 0, plan.padded[0] - matrix.shape[0])
    order = [axis for k in range(plan.n) for axis in (k, plan.n + k)]
    legs = torch.nn.functional.pad(matrix, padding).reshape(*plan.rows, *plan.cols).permute(order)
    left, right = math.prod(plan.sizes[: plan.centre]), math.prod(plan.sizes[plan.centre + 1 :])
    return legs.reshape(left, -1, right)


def reached(a: torch.Tensor, b: torch.Tensor, rounds: Sequence[int], y: torch.Tensor | None = None) -> list[float]:
    """Relative errors of x a y as an approximation of b with any matrices x, y, after so many rounds of least squares
    by turns. a, b: (left, middle, right). y: what it starts from, by default 1.
    """
    y, found = torch.eye(a.shape[2], dtype=a.dtype) if y is None else y, []
    for k in range(1, max(rounds) + 1):
        x = torch.linalg.lstsq((a @ y).flatten(1).T, b.flatten(1).T).solution.T
        xa = torch.einsum("ml,lar->mar", x, a)
        y = torch.linalg.lstsq(xa.flatten(0, 1), b.flatten(0, 1)).solution
        if k in rounds:
            found.append(float((xa @ y - b).norm() / b.norm()))
    return found


def rotated(a: torch.Tensor, b: torch.Tensor, rounds: Sequence[int]) -> tuple[list[float], torch.Tensor]:
    """The largest cosines of x a y and b over rotations x, y, found by turns as in `reached`; and the last y."""
    y, found = torch.eye(a.shape[2], dtype=a.dtype), []
    for k in range(1, max(rounds) + 1):
        u, _, v = torch.linalg.svd(torch.einsum("las,mas->ml", a @ y, b))
        xa = torch.einsum("ml,lar->mar", u @ v, a)
        u, _, v = torch.linalg.svd(torch.einsum("mar,mas->rs", xa, b))
        y = u @ v
        if k in rounds:
            found.append(float((xa @ y * b).sum() / (a.norm() * b.norm())))
    return found, y


def centres(found: Pretrained, seed: int) -> list[dict[str, Any]]:
    generator, rows = torch.Generator().manual_seed(seed), []
    for kind in KINDS:
        weights = of_kind(found, kind)
        plan = make_plan(tuple(weights[0].shape))
        a, b = (folded(weight, plan) for weight in weights[seed : seed + 2])
        one, other = (
            folded(torch.randn(weights[0].shape, generator=generator, dtype=torch.float64), plan) for _ in range(2)
        )
        likeness, y = rotated(a, b, ROUNDS)
        by_chance, start = rotated(one, b, ROUNDS)
        for measure, layer, random in (
            ("error left", reached(a, b, ROUNDS), reached(one, b, ROUNDS)),
            ("error left behind rotations", reached(a, b, ROUNDS, y), reached(one, b, ROUNDS, start)),
            ("largest cosine", likeness, rotated(one, other, ROUNDS)[0]),
            ("largest cosine with the layer", likeness, by_chance),
        ):
            for k, rounds in enumerate(ROUNDS):
                rows.append({"kind": kind, "measure": measure, "rounds": rounds,
                             "layer": short(layer[k]), "random": short(random[k])})  # fmt: skip
    return rows


# -- all of them -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """rows: of a seed, from what `prepare` makes of the model once."""

    scale: str
    rows: Callable[[Any, int], list[dict[str, Any]]]
    prepare: Callable[[Pretrained], Any] = lambda found: found
    model: str = "minilm"


CASES = {
    "plans": Case("the query matrices of five layers of MiniLM", plans),
    "plans-ffn": Case("the widening FFN matrices of five layers of MiniLM", partial(plans, kind="FFN in")),
    "growth": Case(f"MiniLM's six layers, five draws of {SENTENCES} sentences", growth, Travelling),
    "growth-albert": Case(
        f"albert-mini's twelve layers, five draws of {SENTENCES} sentences",
        growth,
        lambda found: Travelling(in_every_place(found)),
        "albert-mini",
    ),
    "centres": Case("five pairs of neighbouring layers of MiniLM", centres),
}


def study(name: str) -> None:
    case, start, used = CASES[name], time.perf_counter(), time.process_time()
    loaded = load_pretrained(case.model)
    about = loaded.describe()
    found, rows = case.prepare(loaded), []
    for seed in SEEDS:
        rows += [{"seed": seed, **row} for row in case.rows(found, seed)]
        print(f"{name}, seed {seed}: {time.process_time() - used:.0f} CPU seconds", flush=True)
    content = {
        "format": WEIGHTS_FORMAT,
        "case": name,
        "command": f"python scripts/weights_study.py {name}",
        "model": about,
        "scale": case.scale,
        "seeds": list(SEEDS),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        **surroundings(),
        "rows": rows,
    }
    refuse_paths(content)
    write_whole(results_folder() / weights_file(name), as_text(content))


def as_text(content: dict[str, Any]) -> bytes:
    """JSON with one row a line."""
    lines = ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in content["rows"])
    return (json.dumps({**content, "rows": ["@"]}, indent=1).replace('  "@"', lines) + "\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.cases or CASES:
        if name not in CASES:
            parser.error(f"no case {name!r}; there are {', '.join(CASES)}")
        study(name)


if __name__ == "__main__":
    main()
