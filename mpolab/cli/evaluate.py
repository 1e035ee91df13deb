"""`mpolab eval`: how well a saved model does a task."""

from __future__ import annotations

import argparse
from typing import Any

from .heads import TASK_HELP, add_data, checked, named, rows_to_score, score_lines, to_score
from .shared import as_json, command, positive, say, show

DESCRIPTION = """\
Score a model on the dev rows of a task, without training. DIR is a folder that `mpolab compress
... --task T` wrote, or any pre-trained model with a head for T. Metrics are in percent, the loss
in nats. The rows are those that compress reported, so with the same --max-length (and --rows N,
where it had --dev-rows N) the scores are the same.
"""

EPILOG = f"""\
{TASK_HELP}
examples:
  mpolab eval small-sst2 --task SST-2
  mpolab eval small-sst2 --task SST-2 --data-dir ~/glue --rows 200 --json
  mpolab eval textattack/bert-base-uncased-SST-2 --task SST-2
"""


def add(commands: Any) -> None:
    about = "score a saved model on the dev rows of a task"
    parser = command(commands, "eval", evaluate, about, DESCRIPTION, EPILOG)
    parser.add_argument("model", metavar="DIR", help="a saved folder, or a name on the Hugging Face hub")
    parser.add_argument("--task", metavar="T", required=True, help="see below")
    add_data(parser)
    parser.add_argument("--rows", metavar="N", type=positive(int), help="only N of the rows (default: all)")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of text")
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr about where things come from")


def evaluate(arguments: argparse.Namespace) -> int:
    from .. import training

    model, tokenizer, about = to_score(arguments.model, checked(named(arguments.task)))
    say(f"model: {about}", arguments.quiet)
    data = rows_to_score(arguments)
    say(f"data: {data}", arguments.quiet)
    settings = training.Settings(**({} if arguments.max_length is None else {"max_length": arguments.max_length}))
    scores = training.evaluate(model, tokenizer, data, tuple(data.splits), settings)
    if arguments.json:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        show(as_json({"data": data.describe(), "parameters": parameters, "scores": scores}))
    else:
        show("\n".join(score_lines(data, scores)))
    return 0
