"""Bad input gets a typed, one-paragraph error that names the value, what was expected and what would work."""

from __future__ import annotations

import inspect
import math
import re

import numpy as np
import pytest
import torch

from mpolab import MPO, errors
from mpolab.plans import make_plan
from mpolab.spectra import entropy, printed_bound

W = torch.randn(24, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MPO_3 = MPO.decompose(W, rows=(2, 3, 4), cols=(3, 4, 3))  # full bonds 6, 12
ALLOWED = (ValueError, TypeError, FileNotFoundError)


def put(matrix: torch.Tensor, where: tuple[int, int], value: float) -> torch.Tensor:
    matrix = matrix.clone()
    matrix[where] = value
    return matrix


def decompose(matrix=W, **how):
    return lambda: MPO.decompose(matrix, **how)


def truncate(**how):
    return lambda: MPO_3.truncate(**how)


FIXED = {"rows": (2, 3, 4), "cols": (3, 4, 3)}
BAD = {
    # the matrix
    "three dimensions": (decompose(torch.zeros(2, 3, 4)), ["3 dimensions", "(2, 3, 4)", "(out, in)"]),
    "a vector": (decompose(torch.zeros(5)), ["1 dimensions", "(5,)"]),
    "a number": (decompose(torch.tensor(1.0)), ["0 dimensions"]),
    "an array of three dimensions": (decompose(np.zeros((2, 2, 2))), ["3 dimensions"]),
    "empty": (decompose(torch.zeros(0, 4)), ["0x4", "at least 1"]),
    "empty the other way": (decompose(torch.zeros(4, 0)), ["4x0"]),
    "NaN": (decompose(put(W, (7, 11), math.nan)), ["1 of 864", "NaN", "row 7", "column 11"]),
    "infinite": (decompose(put(W, (0, 35), math.inf)), ["infinite", "row 0", "column 35"]),
    "minus infinite": (decompose(put(W, (23, 0), -math.inf)), ["row 23", "column 0"]),
    "NaN in bfloat16": (decompose(put(W, (3, 4), math.nan).bfloat16()), ["NaN", "row 3", "column 4"]),
    "overflowed float16": (decompose((W * 1e6).half()), ["infinite", "row 0"]),
    "several NaN": (decompose(put(put(W, (5, 5), math.nan), (2, 30), math.inf)), ["2 of 864", "row 2", "column 30"]),
    "integers": (decompose(torch.ones(4, 4, dtype=torch.int64)), ["torch.int64", "W.float()"]),
    "booleans": (decompose(torch.ones(4, 4, dtype=torch.bool)), ["torch.bool"]),
    "complex": (decompose(torch.ones(4, 4, dtype=torch.complex64)), ["torch.complex64", "real"]),
    "an array of integers": (decompose(np.ones((4, 4), dtype=int)), ["torch.int64"]),
    "a list": (decompose([[1.0, 2.0], [3.0, 4.0]]), ["torch tensor", "list"]),
    "nothing": (decompose(None), ["torch tensor", "NoneType"]),
    "a layer": (decompose(torch.nn.Linear(2, 2)), ["torch tensor", "Linear"]),
    # the plan
    "rows too few": (decompose(rows=(2, 3, 3), cols=(3, 4, 3)), ["rows = (2, 3, 3)", "18", "24 rows", "e.g."]),
    "cols too many": (decompose(rows=(2, 3, 4), cols=(3, 4, 5)), ["cols = (3, 4, 5)", "60", "36 cols"]),
    "unequal lists": (decompose(rows=(2, 3, 4), cols=(6, 6)), ["3 factors", "2", "(6, 6)", "equal length"]),
    "a factor of zero": (decompose(rows=(0, 24, 1)), ["at least 1", "(0, 24, 1)"]),
    "a negative factor": (decompose(rows=(-2, -12, 1)), ["at least 1"]),
    "a fraction": (decompose(rows=(2.5, 9.6)), ["whole numbers", "2.5"]),
    "one factor": (decompose(rows=(24,)), ["n = 1", "at least 2"]),
    "no factor": (decompose(rows=()), ["n = 0", "at least 2"]),
    "one core": (decompose(n=1), ["n = 1", "at least 2"]),
    "no core": (decompose(n=0), ["n = 0"]),
    "minus two cores": (decompose(n=-2), ["n = -2"]),
    "half a core": (decompose(n=2.5), ["n = 2.5"]),
    "cores in words": (decompose(n="five"), ["n = 'five'"]),
    "rows in words": (decompose(rows=("a", "b")), ["rows", "whole numbers"]),
    "rows as a number": (decompose(rows=24), ["rows", "24"]),
    "an infinite factor": (decompose(rows=(math.inf, 2)), ["rows", "inf"]),
    "a shape of nothing": (lambda: make_plan((0, 3)), ["0x3"]),
    # the bonds
    "bond 0": (truncate(bond=0), ["bond = 0", "at least 1"]),
    "bond -3": (truncate(bond=-3), ["bond = -3", "at least 1"]),
    "a bond of 0 in a list": (truncate(bond=[0, 3]), ["[0, 3]", "at least 1"]),
    "too many bonds": (truncate(bond=[2, 3, 4]), ["[2, 3, 4]", "3 entries", "2 inner bonds", "[6, 12]"]),
    "outer bonds too": (truncate(bond=[1, 2, 3, 1]), ["4 entries", "2 inner bonds"]),
    "no bonds": (truncate(bond=[]), ["0 entries"]),
    "bond 2.5": (truncate(bond=2.5), ["bond = 2.5", "whole number"]),
    "bond 2.0": (truncate(bond=2.0), ["bond = 2.0", "whole number"]),
    "a bond of 2.5 in a list": (truncate(bond=[2.5, 3]), ["2.5", "whole number"]),
    "bond True": (truncate(bond=True), ["bond = True", "whole number"]),
    "a bond of True in a list": (truncate(bond=[True, 3]), ["True", "whole number"]),
    "a string": (truncate(bond="64"), ["bond = '64'", "whole number"]),
    "a list of strings": (truncate(bond=["2", "3"]), ["'2'", "whole number"]),
    "a list of words": (truncate(bond=["two", "three"]), ["'two'", "whole number"]),
    "a list of None": (truncate(bond=[None, 3]), ["None", "whole number"]),
    "a list with NaN": (truncate(bond=[math.nan, 3]), ["nan", "whole number"]),
    "a list with infinity": (truncate(bond=[math.inf, 3]), ["inf", "whole number"]),
    "bond as an object": (truncate(bond=object()), ["whole number"]),
    "bond 0 on the way in": (decompose(bond=0), ["bond = 0", "at least 1"]),
    "a wrong list on the way in": (decompose(n=3, bond=[3]), ["1 entries", "2 inner bonds"]),
    "bond NaN": (truncate(bond=math.nan), ["whole number"]),
    "two requests": (truncate(bond=3, ratio=0.5), ["bond=", "ratio=", "one"]),
    "three requests": (truncate(bond=3, ratio=0.5, error=0.1), ["bond=", "ratio=", "error="]),
    "two requests on the way in": (decompose(error=0.5, ratio=0.5), ["ratio=", "error="]),
    "no request": (truncate(), ["bond=", "ratio=", "error=", "truncate(bond=64)"]),
    "only a sweep": (truncate(sweep=True), ["bond="]),
    "ratio 0": (truncate(ratio=0.0), ["ratio = 0.0", "positive"]),
    "ratio -1": (truncate(ratio=-1.0), ["ratio = -1.0", "positive"]),
    "ratio NaN": (truncate(ratio=math.nan), ["ratio = nan"]),
    "ratio infinite": (truncate(ratio=math.inf), ["ratio = inf"]),
    "ratio in words": (truncate(ratio="half"), ["ratio = 'half'"]),
    "ratio out of reach": (truncate(ratio=0.01), ["ratio = 0.01", "30 numbers", "0.0347"]),
    "ratio out of reach on the way in": (decompose(ratio=0.01, **FIXED), ["out of reach", "0.0347"]),
    "error -0.1": (truncate(error=-0.1), ["error = -0.1", "non-negative"]),
    "error NaN": (truncate(error=math.nan), ["error = nan"]),
    "error infinite": (truncate(error=math.inf), ["error = inf"]),
    "error in words": (truncate(error="small"), ["error = 'small'"]),
    "error below what is left": (
        lambda: MPO_3.truncate(bond=2).truncate(error=0.01),
        ["0.01", "already cut", "[1, 2, 2, 1]"],
    ),
    # names
    "method": (decompose(method="center"), ["unknown method 'center'", "Did you mean 'centre'", "'left_to_right'"]),
    "another method": (decompose(method="left_to_rigth"), ["Did you mean 'left_to_right'"]),
    "a method that is nothing": (decompose(method=None), ["unknown method None", "'symmetric'"]),
    "style": (decompose(style="mpobret"), ["'mpobret'", "Did you mean 'mpobert'", "'mpop'"]),
    "definition": (lambda: MPO_3.entropy("von_neuman"), ["definition 'von_neuman'", "Did you mean 'von_neumann'"]),
    "definition of a bond": (lambda: entropy(torch.ones(3), "shannon"), ["'shannon'", "'singular_values'"]),
    "of": (lambda: MPO_3.entropy(of="sauce"), ["'sauce'", "Did you mean 'source'", "'truncated'"]),
    "range": (lambda: MPO_3.printed_bound("print"), ["'print'", "Did you mean 'printed'", "'discarded'"]),
    "range of a spectrum": (lambda: printed_bound(MPO_3.spectra, MPO_3.bonds, "all"), ["'all'", "'printed'"]),
    # using it
    "x too short": (lambda: MPO_3.matvec(torch.zeros(24)), ["24 entries", "36"]),
    "x of the wrong end": (lambda: MPO_3.matvec(torch.zeros(36, 2)), ["2 entries", "36"]),
    "x without dimensions": (lambda: MPO_3.matvec(torch.tensor(1.0)), ["36"]),
    "x as a list": (lambda: MPO_3.matvec([0.0] * 36), ["list"]),
    "centre too high": (lambda: MPO_3.canonical(3), ["centre = 3", "0 to 2"]),
    "centre too low": (lambda: MPO_3.canonical(-4), ["centre = -4", "0 to 2"]),
    "centre in words": (lambda: MPO_3.canonical("middle"), ["'middle'"]),
    "centre in halves": (lambda: MPO_3.canonical(1.5), ["1.5"]),
    "another shape": (lambda: MPO_3.error(torch.zeros(36, 24)), ["(36, 24)", "(24, 36)"]),
    "an error against a list": (lambda: MPO_3.error([[1.0]]), ["list"]),
    "shares of another gauge": (lambda: MPO_3.canonical(0).norm_shares(), ["core 1", "'centre'"]),
    "no source": (lambda: MPO.decompose(W, bond=2, keep_source=False).error(), ["not at hand", "mpo.error(W)"]),
    "no source to sweep": (
        lambda: MPO.decompose(W, keep_source=False).truncate(bond=2, sweep=True),
        ["not at hand", "keep_source=False"],
    ),
    "cores that do not join": (lambda: MPO.from_cores([torch.zeros(1, 2, 2, 3), torch.zeros(4, 2, 2, 1)]), ["3", "4"]),
    "cores of three dimensions": (lambda: MPO.from_cores([torch.zeros(1, 2, 3), torch.zeros(3, 2, 1)]), ["core"]),
    "no cores": (lambda: MPO.from_cores([]), ["core"]),
    "cores of a smaller matrix": (
        lambda: MPO.from_cores([torch.ones(1, 2, 2, 2), torch.ones(2, 2, 2, 1)], shape=(9, 9)),
        ["9"],
    ),
    "no file": (lambda: MPO.load("/nowhere/at/all.safetensors"), ["/nowhere/at/all.safetensors", "save"]),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_says_what_and_what_instead(what):
    call, words = BAD[what]
    with pytest.raises(ALLOWED) as caught:
        call()
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message and len(message) < 500, "one paragraph"


def test_every_typed_error_is_a_plain_one_too():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, BaseException)]
    assert len(classes) >= 6
    assert all(issubclass(c, ALLOWED) for c in classes)


def test_the_suggested_factors_would_work():
    with pytest.raises(errors.PlanError) as caught:
        MPO.decompose(W, rows=(5, 5, 5), cols=(3, 4, 3))
    suggested = tuple(int(part) for part in re.findall(r"\d+", str(caught.value).split("e.g.")[1]))
    assert MPO.decompose(W, rows=suggested, cols=(3, 4, 3)).rows == suggested


def test_the_suggested_ratio_and_error_would_work():
    with pytest.raises(errors.BondError) as caught:
        MPO_3.truncate(ratio=0.01)
    least = float(re.search(r"ratio ([\d.]+);", str(caught.value))[1])
    assert MPO_3.truncate(ratio=least * 1.01).bonds == [1, 1, 1, 1]


def test_legal_oddities():
    """What looks odd but is legal stays so."""
    assert MPO_3.truncate(error=0).bonds == MPO_3.full_bonds
    assert MPO_3.truncate(error=2).bonds == [1, 1, 1, 1]
    assert MPO_3.truncate(ratio=1).ratio <= 1
    assert MPO_3.truncate(ratio=np.float32(0.5)).bonds == MPO_3.truncate(ratio=0.5).bonds
    assert MPO.decompose(W, n=np.int64(3)).n == 3
    assert MPO_3.canonical(np.int64(1)).gauge == 1
    assert MPO_3.truncate(bond=[np.int32(2), 3.0]).bonds == [1, 2, 3, 1]
