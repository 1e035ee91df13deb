"""The figures of the papers side by side with this project's: one entry a figure, drawn when the page is made.

The printed figures belong to their publishers and are not here; an entry says in words what each shows. Ours are drawn
from records in results/, or from models that have only shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from .. import runs
from ..errors import DataNotFoundError
from ..papers import label, recomputed, table
from ..papers.mpobert import DEPTHS
from ..probing import GROUPS, ProbeResult, load_results
from ..probing.trend import levels_by_seed, load_trends
from . import counts
from .items import item_command
from .own_points import LAYERS, own_points
from .studies import low_rank

DPI = 110  # a figure 10 inches wide, shown at half of that, is sharp on a fine screen


@dataclass(frozen=True)
class Picture:
    """png: its bytes. alt: what is to be seen, for those who do not see it. caption: where its numbers come from."""

    png: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Side:
    """A figure of a paper. item: its id. printed: what the print shows, in words. draw: the folder of records -> our
    pictures; it raises DataNotFoundError where a record is missing, whose message says what makes it.
    """

    item: str
    printed: str
    draw: Callable[[Path], list[Picture]]


# -- from the objects ------------------------------------------------------------------------------------


def _drawn(high: float, draw: Callable[[Any], None], alt: str, caption: str) -> Picture:
    """One drawing that fills a figure 10 inches wide."""
    from .. import viz

    figure, (ax,) = viz.figure(10, high)
    ax.set_position((0.01, 0.01, 0.98, 0.98))
    draw(ax)
    return Picture(viz.png(figure, DPI), alt, caption)


@cache
def _mpop_1() -> list[Picture]:
    from .. import viz
    from ..anatomy import read_mpop
    from ..surgery import freeze_central, mpo_layers, to_mpo
    from ..surgery_plans import MPOP_RELEASED

    model = freeze_central(to_mpo(counts.on_meta("albert-base"), MPOP_RELEASED, progress=False))
    path = next(path for path in mpo_layers(model) if path.endswith("ffn"))
    found = read_mpop(model, path)
    cores = ", ".join(f"{core.name} {core.numbers:,}" for core in found.chain.cores)
    return [
        _drawn(
            5.6,
            lambda ax: viz.draw_mpop(ax, model, path),
            f"A weight matrix of {found.chain.shape[0]} by {found.chain.shape[1]} as a chain of tensors: {cores}. "
            f"{found.count(trains=True):,} of the model's {found.count():,} numbers train.",
            "An ALBERT-base after to_mpo with the released caps, and freeze_central.",
        )
    ]


@cache
def _mpobert_2() -> list[Picture]:
    import torch

    from .. import viz
    from ..anatomy import read_mpobert
    from ..mpobert import MPOBertModel
    from ..mpobert_config import MPOBertConfig

    pictures = []
    for preset, name in (("mpobert-12", "MPOBERT12"), ("mpobert-48plus", "MPOBERT48+")):
        with torch.device("meta"):
            model = MPOBertModel(MPOBertConfig.preset(preset, adapter_rank=8))
        found = read_mpobert(model)
        pictures.append(
            _drawn(
                5.9,
                lambda ax, model=model: viz.draw_mpobert(ax, model),
                f"{name}: {len(found.layers)} layers with auxiliary tensors and adapters of their own; central tensors "
                f"shared in {len(found.groups)} group(s), {found.groups[0]:,} numbers each; {found.total:,} in all.",
                f"{name} with adapters of rank 8, as the preset makes it.",
            )
        )
    return pictures


def _mixtures() -> Iterator[Any]:
    from ..moe import to_moe

    yield to_moe(counts.on_meta("gpt2"), "moe", experts=8)
    yield to_moe(counts.on_meta("gpt2"), "mpoe", experts=8, mask_probability=0.25)


@cache
def _mpoe() -> tuple[Picture, Picture]:
    from .. import viz
    from ..anatomy import read_mixture
    from ..moe_layer import MoELayer

    dense, mpo = _mixtures()
    first, second = (next(m for m in model.modules() if isinstance(m, MoELayer)) for model in (dense, mpo))
    found = read_mixture(mpo)
    experts = found.experts
    about = "GPT-2 with eight experts in each layer"
    return (
        _drawn(
            6.4,
            lambda ax: viz.draw_moe_and_mpoe(ax, first, second),
            f"Above, a matrix as a chain of tensors. Below, {experts.count} experts with matrices of their own beside "
            f"{experts.count} that share {experts.shared:,} numbers of central tensors and own {experts.own:,} each.",
            f"{about}: the experts of one layer. The print has the upper part alone.",
        ),
        _drawn(
            5.6,
            lambda ax: viz.draw_mpoe(ax, mpo),
            f"{experts.count} experts on one central tensor a matrix, their router, and the steps whose update of a "
            f"central tensor the mask discards, p_b = {found.mask:g}. The model has {found.total:,} numbers.",
            f"{about}, p_b = 0.25 (the paper does not state its own).",
        ),
    )


# -- from records ----------------------------------------------------------------------------------------


def _mpop_2(results: Path) -> list[Picture]:
    from .. import viz

    path = results / "low_rank.json"
    if not path.is_file():
        raise DataNotFoundError("there is no results/low_rank.json; python scripts/low_rank_study.py makes it.")
    content = low_rank(path)
    curves, spread = {}, {}
    for method, n in dict.fromkeys((row["method"], row["n"]) for row in content["rows"]):
        errors: dict[float, list[float]] = {}
        for row in content["rows"]:
            if (row["method"], row["n"]) == (method, n):
                errors.setdefault(row["ratio"], []).append(row["error"])
        name = f"{method}, n = {n}"
        curves[name] = list(errors), [sum(values) / len(values) for values in errors.values()]
        spread[name] = [(min(values), max(values)) for values in errors.values()]
    figure, (left, right) = viz.figure(10, 3.8, 2)
    three = {name.split(",")[0]: curve for name, curve in curves.items() if name.endswith("n = 3")}
    bands = {name.split(",")[0]: band for name, band in spread.items() if name.endswith("n = 3")}
    viz.draw_methods(left, three, "(a) methods, n = 3", spread=bands)
    several = {name: curve for name, curve in curves.items() if name.startswith("MPO")}
    viz.draw_methods(right, several, "(b) numbers of tensors", spread=spread)
    for ax in (left, right):
        ax.set_ylim(0, 1.25)  # room for the key above the curves
    low = min(row["ratio"] for row in content["rows"])
    said = "; ".join(f"{name} {curve[1][list(curve[0]).index(low)]:.3f}" for name, curve in curves.items())
    about = f"{content['scale']}, {len(content['seeds'])} seeds; a band from the least to the largest. {path.name}."
    return [Picture(viz.png(figure, DPI), f"Relative errors at the ratio {low}: {said}.", about)]


def _mpobert_1(results: Path) -> list[Picture]:
    from .. import viz

    printed, means = table("mpobert-tab1-dev").rows, recomputed("mpobert-tab1-dev")
    as_printed = {name: (row["#To"], DEPTHS[name], row["Avg."]) for name, row in printed.items()}
    ours = {name: (_recounted(name, row["#To"]), DEPTHS[name], means[name][1]) for name, row in printed.items()}
    mine = [name for name in printed if name.startswith("MPOBERT")]
    sides = {"MPOBERT24": "left", "MPOBERT48": "below", "BERT12": "left", "XLNet12": "below", "ALBERT24": "left",
             "RoBERTa12": "below", "MPOBERT48+": "above"}  # fmt: skip
    titles = ("as printed", "the means of the printed rows; MPOBERT, ALBERT12 and BERT12 counted anew")
    pictures = []
    for title, models in zip(titles, (as_printed, ours)):
        figure, (ax,) = viz.figure(10, 4.4)
        viz.draw_sizes(ax, models, f"GLUE and SQuAD, development set: {title}", "average score, %", mine, sides)
        ax.set_ylim(82, 86.5)  # the same for both
        said = "; ".join(
            f"{name} {size:.1f} M, {depth} layers, {mean:.1f}" for name, (size, depth, mean) in models.items()
        )
        caption = "Sizes and scores of the paper's Table 1. No score here is of a run of ours: those are below."
        pictures.append(Picture(viz.png(figure, DPI), f"Size, depth and average score, {title}: {said}.", caption))
    return [*pictures, _own_sizes(results)]


def _own_sizes(results: Path) -> Picture:
    """The models of this package, whose scores are of other tasks and fewer rows than those above."""
    from .. import viz

    found = own_points(results)
    figure, (ax,) = viz.figure(10, 3.4)
    tasks = ", ".join(found.tasks)
    viz.draw_sizes(ax, found.models, f"models of this package: mean of {tasks}", "mean score, %", ["mpobert-mini"])
    said = "; ".join(f"{name} {size:.1f} M, {depth} layers, {mean:.1f}" for name, (size, depth, mean) in
                     found.models.items())  # fmt: skip
    caption = (
        f"results/table1-*, scale laptop, seeds {' '.join(map(str, found.seeds))}; a thousand rows a task. Not to be "
        "compared with the pictures above: MiniLM was distilled from a large model, the other two have read novels for "
        "about an hour of one core."
    )
    return Picture(viz.png(figure, DPI), f"Size, depth and mean score of ours: {said}.", caption)


def _recounted(name: str, printed: float) -> float:
    """Million numbers, where this package can count the model."""
    presets = {"MPOBERT12": ("mpobert-12", 8), "MPOBERT24": ("mpobert-24", 0), "MPOBERT48": ("mpobert-48", 0),
               "MPOBERT48+": ("mpobert-48plus", 8)}  # fmt: skip
    if name in presets:
        preset, rank = presets[name]
        return counts.mpobert(preset, adapter_rank=rank)
    dense = {"ALBERT12": "albert-base", "BERT12": "bert-base"}
    return counts.dense(dense[name]) if name in dense else printed


_WAYS = {"scratch": "MPOBERT from random numbers", "decomposed": "MPOBERT from ALBERT's decomposition",
         "continued": "ALBERT, trained on"}  # fmt: skip


def _mpobert_3(results: Path) -> list[Picture]:
    from .. import viz

    found = {way: runs.records(f"fig3-{way}", results) for way in _WAYS}
    scales = [s for s in runs.SCALES if all(any(record.scale == s for record in records) for records in found.values())]
    if not scales:
        raise DataNotFoundError(f"there are no records of all three ways; {item_command('mpobert-fig3', 'laptop')}")
    scale, curves, ends = scales[-1], {}, []
    colours = dict(zip(_WAYS.values(), (viz.MUTED, viz.COLOURS["MPOBERT"], viz.COLOURS["ALBERT"])))
    for way, name in _WAYS.items():
        mine = [record for record in found[way] if record.scale == scale]
        steps = [entry["step"] for entry in mine[0].evaluations]
        rows = [[record.evaluations[k]["mlm_loss"] for record in mine] for k in range(len(steps))]
        curves[name] = steps, rows
        ends.append(f"{name} {sum(rows[-1]) / len(rows[-1]):.3f}")
    figure, (left, right) = viz.figure(10, 3.8, 2)
    about = {"ylabel": "nats", "xlabel": "update", "colours": colours}
    viz.draw_runs(left, curves, "loss on hidden tokens while pre-training goes on", **about)
    trained = {name: curve for name, curve in curves.items() if name != _WAYS["scratch"]}
    viz.draw_runs(right, trained, "the two that start from trained numbers, closer", **about)
    seeds = sorted({record.seed for records in found.values() for record in records if record.scale == scale})
    caption = (
        f"results/fig3-*, scale {scale}, seeds {' '.join(map(str, seeds))}; a band from the least to the largest. Of "
        "so few updates the loss is followed, not a fine-tuned score."
    )
    return [Picture(viz.png(figure, DPI), f"Mean losses after {steps[-1]} updates: {'; '.join(ends)}.", caption)]


def _mpobert_4(results: Path) -> list[Picture]:
    from .. import viz

    if not any((results / "probing").glob("*.json")):
        raise DataNotFoundError("there is no record in results/probing; python scripts/probe_models.py makes them.")
    found = load_results(results / "probing")
    deepest = max(len(task.values()) for result in found.values() for task in result.tasks)
    high = max(5.2, 2.4 + 0.2 * deepest)
    figure, axes = viz.figure(5.4 * len(found), high, len(found))
    said = []
    for number, (ax, (model, result)) in enumerate(zip(axes, found.items())):
        tasks = _by_group(result)
        left, right = 0.05 + 0.95 * number / len(found), 0.95 * (number + 1) / len(found)
        ax.set_position((left, 1.45 / high, right - left, 1 - 2.3 / high))  # room for names below and a title above
        viz.draw_layers(
            ax,
            [task.values() for task in tasks],
            [task.name.partition("-")[2] for task in tasks],
            title=f"{model.rpartition('/')[2]}: accuracy on test, %",
            groups=[task.group for task in tasks],
            ylabel="" if number else "layer (0: embeddings)",
        )
        best = ", ".join(f"{task.name.partition('-')[2]} {task.best()}" for task in tasks)
        said.append(f"{model.rpartition('/')[2]}, best layers: {best}")
    caption = (
        "results/probing, tasks of the offline grammar, one seed each; MiniLM stands for BERT, and mpobert-mini, 24 "
        "layers 192 wide, for an MPOBERT of the paper's size. Shades are of each column by itself."
    )
    return [Picture(viz.png(figure, DPI), "; ".join(said) + ".", caption), *_mpobert_4_trend(results)]


def _mpobert_4_trend(results: Path) -> list[Picture]:
    """mpobert-mini layer by layer, and how deep syntax and meaning stand in it and in the others."""
    from .. import viz

    path = results / "probing_trend.json"
    if not path.is_file():
        raise DataNotFoundError(
            f"there is no results/{path.name}; python scripts/trend_study.py --data-dir DIR makes it."
        )
    content = load_trends(path)
    draws = f"{path.name}, {len(content['seeds'])} draws of rows"
    tasks: dict[tuple[str, str], list[list[float]]] = {}
    for run in content["runs"]:
        for task in run["tasks"] if run["model"] == "mpobert-mini" else ():
            tasks.setdefault((task["group"], task["name"]), []).append(task["test"])
    order = sorted(tasks, key=lambda key: GROUPS.index(key[0]))
    means = [[mean(layer) for layer in zip(*tasks[key])] for key in order]
    names = [_task_name(name) for _, name in order]
    figure, (ax,) = viz.figure(10, 8.6)
    ax.set_position((0.07, 0.19, 0.92, 0.7))
    title = "mpobert-mini: accuracy on test, %"
    viz.draw_layers(ax, means, names, title, groups=[group for group, _ in order], ylabel="layer (0: embeddings)")
    best = ", ".join(f"{name} {column.index(max(column))}" for name, column in zip(names, means))
    about = (
        f"results/{draws}, of which these are the means; tasks of the offline grammar and of a treebank. mpobert-mini "
        "is a small MPOBERT of 24 layers, 192 wide. Shades are of each column by itself."
    )
    return [Picture(viz.png(figure, DPI), f"mpobert-mini, best layers: {best}.", about), _depths(content, draws)]


def _task_name(name: str) -> str:
    """ "probing-tense" -> "tense", "treebank-tense" -> "tense (treebank)"."""
    source, _, task = name.partition("-")
    return f"{task} (treebank)" if source == "treebank" else task


def _depths(content: dict[str, Any], draws: str) -> Picture:
    from .. import viz

    rows, colours, said = {}, {}, []
    for model, (name, layers) in LAYERS.items():
        name = f"{name} ({layers} layers)"
        syntax, meaning = zip(*levels_by_seed(content, model))
        rows |= {f"{name}: syntax": syntax, f"{name}: meaning": meaning}
        colours[f"{name}: meaning"] = viz.CENTRAL
        said.append(f"{name} {mean(syntax):.2f} and {mean(meaning):.2f}")
    figure, (ax,) = viz.figure(10, 3.2)
    ax.set_position((0.23, 0.17, 0.75, 0.7))
    viz.draw_seeds(ax, rows, "where in the stack syntax and meaning are read best", "0 first layer, 1 last",
                   colours=colours)  # fmt: skip
    caption = (
        f"results/{draws}: a ring a draw, a stroke at their mean. The depth of a task is the centre of its column in "
        "the heat map; the paper prints no such number."
    )
    return Picture(viz.png(figure, DPI), f"Mean depth of syntax and of meaning: {'; '.join(said)}.", caption)


def _by_group(result: ProbeResult) -> list[Any]:
    """Tasks of the offline grammar (all, where there are none of it): surface, syntactic, semantic."""
    mine = [task for task in result.tasks if task.name.startswith("probing-")] or list(result.tasks)
    return sorted(mine, key=lambda task: GROUPS.index(task.group) if task.group in GROUPS else len(GROUPS))


# -- side by side ----------------------------------------------------------------------------------------

SIDES: tuple[Side, ...] = (
    Side(
        "mpop-fig1",
        "A weight matrix M of I × J, and an arrow to its MPO with five local tensors. Four auxiliary tensors A1 to A4 "
        "in blue, the central tensor C in orange; dashed lines between neighbours are the bonds.",
        lambda _: _mpop_1(),
    ),
    Side(
        "mpop-fig2",
        "Two plots of reconstruction error (Frobenius norm) over compression ratio, of BERT's word embedding: (a) CPD "
        "above MPO at all ratios, (b) MPO with 3, 5 and 7 local tensors, whose curves lie close together.",
        _mpop_2,
    ),
    Side(
        "mpobert-fig1",
        "Models as points by size and GLUE score, with their depth as a third dimension: MPOBERT beside popular "
        "pre-trained models. Table 1 prints sizes and scores.",
        _mpobert_1,
    ),
    Side(
        "mpobert-fig2",
        "The encoders of MPOBERT and MPOBERT+. Each layer has auxiliary tensors (and adapters) of its own; blocks with "
        "dashed borders are the central tensors, shared across all layers in MPOBERT and within groups in MPOBERT+.",
        lambda _: _mpobert_2(),
    ),
    Side(
        "mpobert-fig3",
        "Accuracy on SST-2 over steps of pre-training: (a) MPOBERT from random numbers (Xavier), which needs some "
        "50,000 steps to reach BERT, (b) from ALBERT's decomposition, which gains within the first 10,000; ALBERT "
        "itself gains next to nothing by going on.",
        _mpobert_3,
    ),
    Side(
        "mpobert-fig4",
        "Heatmaps of probing: a column is a task (surface, syntactic, semantic), a row a Transformer layer, a red "
        "dashed box the layer that performs best. Of BERT, ALBERT and MPOBERT.",
        _mpobert_4,
    ),
    Side(
        "mpoe-fig1",
        "A weight matrix W of I × J and its MPO with five local tensors: four auxiliary ones in orange, the central "
        "one in blue; our colours are the other way round.",
        lambda _: [_mpoe()[0]],
    ),
    Side(
        "mpoe-fig2",
        "(a) A mixture of experts whose matrices are five tensors each: the central tensor is shared by all n experts, "
        "the auxiliary ones are each expert's own. (b) The gradient mask: each backward pass updates a set of "
        "auxiliary tensors, and the central tensor with a probability given by p_b.",
        lambda _: [_mpoe()[1]],
    ),
)
"""The figures of all papers, in order."""


def name_of(side: Side) -> str:
    """ "MPOP Figure 1"."""
    return label(side.item)
