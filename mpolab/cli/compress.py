"""`mpolab compress`: a pre-trained model with MPOs in place of its matrices, tuned and squeezed, as a folder."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from . import heads, squeezing
from .shared import as_json, check_out, command, counted, not_negative, positive, say, show, table

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..pretrained import Pretrained
    from ..tasks import TaskData
    from ..trace import Trace
    from ..training import Settings

DESCRIPTION = """\
Put MPOs in place of a pre-trained model's matrices and save the whole model to a folder that

  model = mpolab.load("DIR")

reads without the original weights. Printed is a line for each matrix, as `mpolab decompose` has
them (its help says what the columns mean; error: |W - MPO| / |W| for the pre-trained matrix W,
right after the cut, or with --squeeze of the final one), then the model's size (#To) before and
after.

A cut alone loses much of what the model knew. With --task T a head for T is put on, and after the
cut everything but the central tensors is fine-tuned on T's rows ("lightweight fine-tuning", MPOP
section 4.1; #Pr are the numbers that train). With --squeeze nothing is cut at first: the full MPOs
are fine-tuned, then bond after bond is cut with some training steps in between (MPOP Algorithm 2),
down to the size that --ratio means, until the bonds next to the central tensors, which alone are
squeezed, are at most --bond, or until the metric has fallen by more than --max-drop. Without --task
nothing is tuned.
"""

EPILOG = f"""\
MODEL is looked for as `mpolab decompose --help` says.
With --task, checkpoints of the training are kept in DIR.part-... until all is done: after an
interruption the same command goes on from them. A squeezing that is interrupted with Ctrl-C, or
that fails, is saved to DIR as far as it came. While it runs, the model is kept after every
{squeezing.KEEP_EVERY} cuts, so that one that is killed leaves (here after {2 * squeezing.KEEP_EVERY} of them)
  model = mpolab.load("DIR.part-.../squeezed-{2 * squeezing.KEEP_EVERY}")
{heads.TASK_HELP}
examples:
  mpolab compress minilm --ratio 0.3 --out small
  mpolab compress gpt2 --head causal-lm --error 0.2 --out small-gpt2
  mpolab compress minilm --ratio 0.5 --task SST-2 --lr 1e-4 --out small-sst2
  mpolab compress minilm --ratio 0.3 --allocation spectra --out small-too
  mpolab compress minilm --bond 150 --task MRPC --data-dir ~/glue --rows 1000 --out small-mrpc
  mpolab compress minilm --ratio 0.8 --squeeze --max-drop 2 --task RTE --out squeezed
  mpolab compress minilm --bond 150 --squeeze --out squeezed-too
  mpolab eval small-sst2 --task SST-2
"""

COLUMNS = ("matrix", "shape", "rows", "cols", "bonds", "ratio", "error")
"""Columns of the table; under --json each of "matrices" has these keys, and "parameters" of its cores."""

SIZES = ("ratio", "bond", "error")
TRACE = "squeeze.json"
ONLY_WITH_TASK = {"data_dir": "--data-dir", "rows": "--rows", "dev_rows": "--dev-rows", "epochs": "--epochs",
                  "lr": "--lr", "tensor_lr": "--tensor-lr", "batch_size": "--batch-size",
                  "max_length": "--max-length", "max_drop": "--max-drop",
                  "tune_steps": "--tune-steps"}  # fmt: skip
ONLY_WITH_SQUEEZE = {"max_drop": "--max-drop", "step": "--step", "tune_steps": "--tune-steps"}


# -------------------------------------------------------------------------------------------------------- options


def add(commands: Any) -> None:
    about = "put MPOs in place of a model's matrices; fine-tune and squeeze them; save the model"
    parser = command(commands, "compress", compress, about, DESCRIPTION, EPILOG)
    parser.add_argument("model", metavar="MODEL", help="'minilm', a folder, or a name on the Hugging Face hub")

    parser.add_argument(
        "--head",
        metavar="NAME",
        help="keep this head of the model, e.g. causal-lm or masked-lm (default: no head, or the one for --task)",
    )

    size = parser.add_argument_group("how much to keep (one of them)").add_mutually_exclusive_group()
    size.add_argument("--ratio", type=float, metavar="R", help="at most this share of the matrices' numbers, e.g. 0.3")
    size.add_argument("--bond", type=int, metavar="N", help="no bond dimension above N")
    size.add_argument("--error", type=float, metavar="E", help="a relative error of at most E in each matrix, e.g. 0.1")

    what = parser.add_argument_group("which matrices, and how")
    what.add_argument(
        "--plan",
        default="mpop",
        help="mpop: word embedding, attention, FFN, pooler (the default); mpobert: attention and FFN; linear: all "
        "linear layers but the heads, for models of any family",
    )
    what.add_argument("--n", type=int, default=5, help="number of tensors in each MPO (default: 5)")
    what.add_argument(
        "--allocation",
        default="uniform",
        help="how --ratio is spread. uniform: the same for each matrix (the default); spectra: one budget for all, "
        "bond by bond where it saves most error; spectra-absolute: the same, with errors not relative to each "
        "matrix's norm",
    )

    tune = parser.add_argument_group("fine-tuning")
    tune.add_argument("--task", metavar="T", help="fine-tune on this task, see below")
    heads.add_data(tune)
    tune.add_argument("--rows", metavar="N", type=positive(int), help="train on N rows (default: all)")
    tune.add_argument("--dev-rows", metavar="N", type=positive(int), help="report N of the dev rows (default: all)")
    tune.add_argument("--epochs", metavar="E", type=positive(float), help="default: 3")
    tune.add_argument("--batch-size", metavar="N", type=positive(int), help="default: 32")
    tune.add_argument("--lr", metavar="RATE", type=positive(float), help="learning rate (default: 3e-5)")
    tune.add_argument("--tensor-lr", metavar="RATE", type=positive(float), help="that of the tensors (default: --lr)")
    tune.add_argument("--seed", type=int, default=0, help="of a new head, the rows' order, dropout (default: 0)")

    squeeze = parser.add_argument_group("squeezing")
    squeeze.add_argument("--squeeze", action="store_true", help="cut bond by bond, as said above")
    squeeze.add_argument(
        "--max-drop",
        metavar="D",
        type=not_negative,
        help="stop when the metric on the rows that choose has fallen by more than D percentage points, and take the "
        "last step back",
    )
    squeeze.add_argument(
        "--step",
        metavar="S",
        type=_step,
        help="what one cut takes from a bond: a whole number, or a share of its full size (default: 0.25)",
    )
    squeeze.add_argument("--tune-steps", metavar="K", type=positive(int), help="batches after each cut (default: 5)")

    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to save; new or empty")
    output.add_argument("--force", action="store_true", help="save to DIR even if it is not empty")
    output.add_argument("--json", action="store_true", help="a JSON object instead of text")
    output.add_argument("--quiet", action="store_true", help="no model and data lines, no progress bars on stderr")


def _step(text: str) -> int | float:
    value = float(text)
    if math.isfinite(value) and value >= 1 and value == int(value):
        return int(value)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is neither a whole number of at least 1 nor a share between 0 and 1")
    return value


_step.__name__ = "number"


def _check_usage(arguments: argparse.Namespace) -> None:
    """Ends with a usage error where options contradict each other."""
    complain = arguments.parser.error
    given = {name for name, value in vars(arguments).items() if value is not None and value is not False}
    sizes = [name for name in SIZES if name in given]
    for needed, options in (("squeeze", ONLY_WITH_SQUEEZE), ("task", ONLY_WITH_TASK)):
        idle = [option for name, option in options.items() if name in given]
        if idle and needed not in given:
            complain(f"{idle[0]} only means something together with --{needed}")
    if arguments.head and arguments.task:
        complain("--task puts on its own head; leave out --head")
    if arguments.squeeze:
        if "error" in sizes:
            complain("--squeeze goes down to a size given with --ratio or --bond, not --error")
        if not sizes and arguments.max_drop is None:
            complain("--squeeze needs an end: --ratio or --bond, with --task also --max-drop, or both")
        if arguments.allocation != "uniform":
            complain("--squeeze decides itself which bonds to cut; leave out --allocation")
    elif not sizes:
        complain("one of --ratio, --bond and --error is required")


# ----------------------------------------------------------------------------------------------------- the command


def compress(arguments: argparse.Namespace) -> int:
    _check_usage(arguments)
    if arguments.squeeze:
        from ..prepare import one_process

        one_process("a squeezing")
    quiet, start = arguments.quiet, time.perf_counter()
    arguments.out = arguments.out.expanduser()
    check_out(arguments.out, arguments.force)  # before any work is done
    if not arguments.out.resolve().name:
        raise FileExistsError(f"--out {str(arguments.out)!r} is a whole file system; give a folder, new or empty.")
    _check_source(arguments)

    from ..surgery import freeze_central, trainable_report
    from ..training import fine_tune

    data, settings = _data_and_settings(arguments)
    pretrained = _load(arguments, data, settings)
    model, tokenizer = pretrained.model, pretrained.tokenizer
    before = trainable_report(model).total
    originals = _cut(model, arguments)
    asked = {name: getattr(arguments, name) for name in ("plan", *SIZES) if getattr(arguments, name) is not None}
    result: dict[str, Any] = {"model": pretrained.describe(), "asked": asked}

    def tell(*lines: str) -> None:  # as soon as it is known, since training takes its time; JSON comes at the end
        if not arguments.json:
            show("\n".join(lines))

    if arguments.squeeze:  # complains before the long part
        aim = squeezing.aim(model, arguments.ratio, arguments.bond, arguments.step or squeezing.STEP)
    else:
        result["matrices"] = _records(model, originals)
        tell(*_matrix_lines(result["matrices"]))
        originals.clear()  # their memory
    part = _part(pretrained, data, settings, result["asked"], arguments)
    if data is not None:
        result["data"] = data.describe()
        freeze_central(model)
        outcome = fine_tune(model, tokenizer, data, settings, arguments.seed, out=part, progress=not quiet)
        result["scores"] = _reported(outcome.scores)
        tell(*heads.score_lines(data, result["scores"], ", before squeezing" if arguments.squeeze else ""))
    squeezed = squeezing.Squeezed()
    if arguments.squeeze:
        if data is not None:
            result["scores before squeezing"] = result.pop("scores")
        squeezed = squeezing.run(
            model, tokenizer, data, settings, aim, arguments, lambda trace: _keep(pretrained, part, trace)
        )
        result["matrices"] = _records(model, originals)
        result["squeeze"] = squeezing.summary(squeezed.trace)
        tell(*_matrix_lines(result["matrices"]), squeezing.line(squeezed.trace, data))
        if data is not None:
            result["scores"] = _reported(squeezed.scores)
            tell(*heads.score_lines(data, result["scores"], ", squeezed"))
    counts = trainable_report(model)
    result["parameters"] = {"before": before, "after": counts.total}
    line = f"#To: {before:,} before, {counts.total:,} after ({counts.total / before:.3f})"
    if data is not None:
        result["parameters"]["trainable"] = counts.trainable
        line += f"; #Pr: {counts.trainable:,}"
    tell(line)

    _save(pretrained, arguments.out, squeezed.trace)
    shutil.rmtree(part, ignore_errors=True)
    loads = f"model = mpolab.load({json.dumps(str(arguments.out))})"
    result |= {"out": str(arguments.out), "load": loads, "seconds": round(time.perf_counter() - start, 1)}
    if arguments.json:
        show(as_json(result))
    say(f"saved to {arguments.out} after {result['seconds']} s; this line loads it:\n  {loads}", quiet)
    if squeezed.problem is not None:  # now that all is saved
        raise squeezed.problem
    return 0


def _part(
    pretrained: Pretrained,
    data: TaskData | None,
    settings: Settings | None,
    asked: dict[str, Any],
    arguments: argparse.Namespace,
) -> Path:
    """The folder beside --out where training and squeezing keep what they have until all is done: one for every
    request.
    """
    rest = {name: getattr(arguments, name) for name in ("n", "allocation", "seed", "squeeze")}
    rows = None if data is None else [data.describe(), dataclasses.asdict(settings)]
    request = [pretrained.describe(), pretrained.source, rows, asked, rest]
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:8]
    out = arguments.out.resolve()  # "." has no name of its own
    return out.with_name(f"{out.name}.part-{digest}")


def _keep(pretrained: Pretrained, part: Path, trace: Trace) -> None:
    """The model in the middle of its squeezing, whole, as PART/squeezed-STEPS; the one before it goes."""
    from .. import snapshots

    folder = part / f"squeezed-{len(trace.accepted)}"
    with snapshots.writing(folder) as under_way:
        _save(pretrained, under_way, trace)
    for other in part.glob("squeezed-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _check_source(arguments: argparse.Namespace) -> None:
    """Raises where MODEL has been compressed already, or would be overwritten by what is made of it."""
    source = Path(arguments.model).expanduser()
    if (source / "mpolab.json").is_file():
        raise CheckpointError(
            f"{arguments.model!r} holds MPOs already: `mpolab compress` wrote it. Start from the pre-trained model, or "
            "go back to dense matrices in Python: mpolab.to_dense(mpolab.load(folder)).save_pretrained(another)."
        )
    if source.is_dir() and arguments.out.is_dir() and source.samefile(arguments.out):
        raise FileExistsError(f"--out {str(arguments.out)!r} is the folder of the model itself; give another one.")


def _data_and_settings(arguments: argparse.Namespace) -> tuple[TaskData | None, Settings | None]:
    if arguments.task is None:
        return None, None
    from ..training import Settings

    given = {name: getattr(arguments, name) for name in ("epochs", "batch_size", "lr", "tensor_lr", "max_length")}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    data = heads.rows_to_train(arguments)
    say(f"data: {data}", arguments.quiet)
    return data, settings


def _load(arguments: argparse.Namespace, data: TaskData | None, settings: Settings | None) -> Pretrained:
    from .. import prepare
    from ..pretrained import load_pretrained

    if data is not None:
        pretrained = heads.to_train(arguments.model, data.task, arguments.seed)
        prepare.check_model(pretrained.model, pretrained.tokenizer, settings)  # before the slow part
        prepare.start_at_the_mean(pretrained.model, pretrained.new, data)
    else:
        pretrained = load_pretrained(arguments.model, head=arguments.head)
        if pretrained.new:
            raise CheckpointError(
                f"{pretrained.name} has no head {arguments.head!r}: {', '.join(pretrained.new)} would be random. Leave "
                "--head out, or name a --task to train one."
            )
    say(f"model: {pretrained.describe()}; from {pretrained.source}", arguments.quiet)
    return pretrained


def _cut(model: nn.Module, arguments: argparse.Namespace) -> dict[str, Tensor]:
    """MPOs into the model, at full bonds if they are to be squeezed. Returns the matrices that were there, by path."""
    from ..surgery import to_mpo
    from ..surgery_plans import sites

    originals = {site.path: site.weight for site in sites(model, arguments.plan)}
    size = {} if arguments.squeeze else {name: getattr(arguments, name) for name in SIZES}
    how = {"n": arguments.n, "allocation": arguments.allocation, **size}
    to_mpo(model, arguments.plan, undoable=False, progress=not arguments.quiet, **how)
    return originals


def _records(model: nn.Module, originals: dict[str, Tensor]) -> list[dict[str, Any]]:
    """One entry of "matrices" under --json for each MPO of the model."""
    import torch

    from ..surgery import mpo_layers

    records = []
    for path, layer in mpo_layers(model).items():
        plan, original = layer.plan, originals[path]
        with torch.no_grad():
            distance = torch.linalg.norm(layer.weight.cpu() - original)
        layer.train(layer.training)  # gives the rebuilt matrix back, which would be kept for the next forward
        norm = torch.linalg.norm(original)
        records.append(
            {
                "matrix": path,
                "shape": list(plan.shape),
                "rows": list(plan.rows),
                "cols": list(plan.cols),
                "bonds": layer.bonds,
                "parameters": layer.parameters_count,
                "ratio": float(layer.ratio),
                "error": float(distance / norm) if norm else float(distance),
            }
        )
    return records


def _matrix_lines(records: list[dict[str, Any]]) -> list[str]:
    whole = sum(record["shape"][0] * record["shape"][1] for record in records)
    kept = sum(record["parameters"] for record in records)
    count = counted(len(records), "matrix", "matrices")
    return [table(COLUMNS, records), f"{count}, {whole:,} numbers as {kept:,} ({kept / whole:.3f})"]


def _reported(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Without the rows that chose, which tell too much good."""
    return {split: found for split, found in scores.items() if split != "select"}


def _save(pretrained: Pretrained, out: Path, trace: Trace | None) -> None:
    from ..checkpoint import save_pretrained
    from ..whole import write_whole

    save_pretrained(pretrained.model, out, pretrained.tokenizer)
    if trace is None:
        (out / TRACE).unlink(missing_ok=True)  # of what was there before
    else:
        write_whole(out / TRACE, json.dumps(trace.to_dict(), indent=1).encode())
