"""The interactive panels. The only part of mpolab that imports ipywidgets.

`PANELS[name](source, **setting)` makes one; `source` is a matrix, a dictionary of matrices, a model, a model's name, or
nothing for the real pre-trained model ("squeeze" replays a trace, "depth" shows a study, "probing" results, "sharing"
and "parameters" count a config, "routing" shows a text in a model with experts, "experts" what runs have recorded of
theirs). The protocol is in `base`. A new panel is a class with `make_controls`, `numbers`, `draw` and `line` in a file
of its own, and one entry here.
"""

from .base import Panel
from .bond import BondPanel
from .compression import CompressionPanel
from .cost import CostPanel
from .depth import DepthPanel
from .error import ErrorPanel
from .experts import ExpertsPanel
from .information import InformationPanel
from .lightweight import LightweightPanel
from .methods import MethodsPanel
from .parameters import ParametersPanel
from .probing import ProbingPanel
from .routing import RoutingPanel
from .sharing import SharingPanel
from .spectrum import SpectrumPanel
from .squeeze import SqueezePanel

PANELS: dict[str, type[Panel]] = {
    "bond": BondPanel,
    "error": ErrorPanel,
    "spectrum": SpectrumPanel,
    "information": InformationPanel,
    "methods": MethodsPanel,
    "cost": CostPanel,
    "lightweight": LightweightPanel,
    "compression": CompressionPanel,
    "squeeze": SqueezePanel,
    "depth": DepthPanel,
    "sharing": SharingPanel,
    "probing": ProbingPanel,
    "routing": RoutingPanel,
    "experts": ExpertsPanel,
    "parameters": ParametersPanel,
}

__all__ = ["PANELS", "Panel"]
