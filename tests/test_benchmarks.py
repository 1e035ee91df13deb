"""The benchmarks' own code, on made-up contenders and tiny matrices: who runs how often, and what a record holds."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path

import pytest

from mpolab.panels import PANELS, Panel

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    """bench("redraw") -> the module benchmarks/bench_redraw.py."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"bench_{name}")


def contenders(monkeypatch, module, seconds: dict[str, float]):
    """Calls that take so many seconds on a clock of their own, and a count of them."""
    now, count = [0.0], Counter()

    def call(name):
        count[name] += 1
        now[0] += seconds[name]
        return name

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda pause: None)
    monkeypatch.setattr(module.gc, "collect", lambda: None)
    return {name: (lambda name=name: call(name)) for name in seconds}, count


def on_no_machine(monkeypatch, module):
    """Nothing is measured to describe the machine, and there are no peers."""
    rates = {"1": {"float32": 1.0, "float64": 1.0}}
    about = {"cpu": "", "cores": 1, "threads": 1, "load_before": 0, "gemm": rates, "versions": {}, "date": ""}
    monkeypatch.setattr(module, "machine", lambda command: about)
    monkeypatch.setattr(module.peers, "PEERS", ())


def test_the_two_fastest_exact_peers_run_three_rounds_however_short_the_time(bench, monkeypatch):
    module = bench("decomposition")
    seconds = {module.OURS: 1, "a": 2, "b": 3, "c": 4, "exact 1": 5, "exact 2": 6, "exact 3": 7, "d": 8}
    calls, count = contenders(monkeypatch, module, seconds)
    found = list(module.in_turns(calls, 3, budget=1, warm=False, exact=("exact 1", "exact 2", "exact 3")))
    three = {module.OURS, "a", "b", "c", "exact 1", "exact 2"}
    assert count == {name: 3 if name in three else 1 for name in seconds}
    assert [name for name, _, _ in found[: len(seconds)]] == list(seconds)
    count.clear()
    list(module.in_turns(calls, 3, budget=1e6, warm=True))
    assert count == dict.fromkeys(seconds, 4)


def test_every_matrix_is_warmed_once_and_cut_to_all_ratios(bench, monkeypatch):
    module, asked, warmed = bench("decomposition"), [], []
    on_no_machine(monkeypatch, module)
    monkeypatch.setattr(module, "print_cases", lambda *arguments: None)
    monkeypatch.setattr(module, "LARGE", 100)
    monkeypatch.setattr(module, "MATRICES", {"minilm-embedding": ("", lambda: module._power_law(48, 24, 0))})
    in_turns, decompose_case = module.in_turns, module.decompose_case

    def turns(calls, repeats, budget, warm, exact):
        warmed.append(warm)
        return in_turns(calls, repeats, budget, warm, exact)

    def case(name, ratio, *rest):
        asked.append(ratio)
        return decompose_case(name, ratio, *rest)

    monkeypatch.setattr(module, "in_turns", turns)
    monkeypatch.setattr(module, "decompose_case", case)
    module.matrix_named.cache_clear()
    record = module.run(["decompose"], ["minilm-embedding"], False, 3, "mpolab bench")
    assert asked == list(module.RATIOS) == [None, 0.1, 0.3, 0.5] and warmed == [True, False, False, False]
    assert len(record["decompose"]) == 4


def test_redraws_of_six_panels_are_timed_and_written(bench, tmp_path, capsys):
    module = bench("redraw")
    assert module.main(["--shape", "24", "36", "--moves", "2", "--json", str(tmp_path / "r.json")]) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    shown = ["bond", "error", "spectrum", "information", "methods", "cost"]
    assert [each["panel"] for each in record["redraw"]] == shown
    assert all(each["ms"] > 0 and each["matrix"] == "24x36" and each["moves"] == 2 for each in record["redraw"])
    assert capsys.readouterr().out.count("\n| ") == 7


def test_every_move_redraws(bench, monkeypatch):
    module, drawn, refresh = bench("redraw"), Counter(), Panel.refresh

    def counted(panel):
        drawn[type(panel).__name__] += 1
        refresh(panel)

    monkeypatch.setattr(Panel, "refresh", counted)
    module.measure((24, 36), moves=4)
    assert len(drawn) == 6 and min(drawn.values()) >= 1 + 1 + 4  # at first, to warm up, and timed


def test_a_panel_that_complains_is_no_measurement(bench, monkeypatch):
    module, drawn, draw = bench("redraw"), Counter(), PANELS["bond"].draw

    def once(panel, numbers):
        drawn["bond"] += 1
        if drawn["bond"] > 1:
            raise ValueError("nothing to draw")
        return draw(panel, numbers)

    monkeypatch.setattr(PANELS["bond"], "draw", once)
    with pytest.raises(RuntimeError, match=r"'bond' said: .*nothing to draw"):
        module.measure((24, 36), moves=2)


def test_the_redraws_are_a_section_of_mpolab_bench(bench, monkeypatch):
    module = bench("decomposition")
    on_no_machine(monkeypatch, module)
    monkeypatch.setattr(bench("redraw"), "measure", lambda *arguments: [arguments])
    assert module.run(["redraw"], [], True, None, "")["redraw"] == [((384, 1536), 5)]
    assert module.run(["redraw"], [], False, None, "")["redraw"] == [()]
    parser = module._parser()
    assert "redraw" in module._chosen(None, False, parser)[0]
    assert module._chosen("redraw", False, parser)[0] == ["redraw"]
    assert "redraw" not in module._chosen("768x768", False, parser)[0]
