"""Time to import vitrail beside MMSegmentation and segmentation_models.pytorch, in one run, as ratios.

    python -m benchmarks.import_time

Each import happens in an interpreter of its own; they take turns, and a figure is the median over the rounds of the
processor time of that interpreter, less that of one that imports nothing, so that other work on the machine counts
little. "first model" also builds a PSPNet, since vitrail puts off what the others import at once. MMSegmentation needs
the [parity] extra; what is not installed is left out. Ratios above 1 mean that vitrail is faster.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import statistics
import subprocess
import sys

NOTHING = "pass"
# mmcv-lite has no compiled operators, but MMSegmentation imports their module. Where MMDetection and MMPretrain are
# installed it imports them too; a PSPNet does not need them, so it is timed without.
_BARE = """
import sys, types
sys.modules["mmdet"] = sys.modules["mmpretrain"] = None
class Operators(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return None
sys.modules["mmcv._ext"] = Operators("mmcv._ext")
"""
IMPORTS = {
    "vitrail": "import vitrail",
    "mmseg": "import mmseg",
    "smp": "import segmentation_models_pytorch",
}
MODELS = {
    "vitrail": "import vitrail; vitrail.create_model('pspnet', 'resnet18c', 21)",
    "mmseg": _BARE
    + (
        "import mmseg.models, mmseg.utils; from mmengine import Config; from mmseg.registry import MODELS\n"
        "mmseg.utils.register_all_modules(); from pathlib import Path\n"
        "folder = Path(mmseg.__file__).parent / '.mim/configs/_base_/models'\n"
        "settings = Config.fromfile(folder / 'pspnet_r50-d8.py').model\n"
        "settings.pretrained = None; settings.backbone.depth = 18\n"
        "for part in 'backbone', 'decode_head', 'auxiliary_head': settings[part].norm_cfg = dict(type='BN')\n"
        "settings.decode_head.in_channels, settings.auxiliary_head.in_channels = 512, 256\n"
        "settings.decode_head.channels, settings.auxiliary_head.channels = 128, 64\n"
        "MODELS.build(settings)"
    ),
    "smp": "import segmentation_models_pytorch as smp; smp.PSPNet('resnet18', encoder_weights=None, classes=21)",
}
MODULES = {"vitrail": "vitrail", "mmseg": "mmseg", "smp": "segmentation_models_pytorch"}


def seconds(code: str) -> float:
    """Return the processor time of an interpreter that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(title: str, codes: dict[str, str], rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in codes}
    for name, code in codes.items():
        seconds(code)  # fills the file system's cache
        print(f"\r{title}: warmed {name}   ", end="", file=sys.stderr)
    print("\r", end="", file=sys.stderr)
    for _ in range(rounds):
        empty = seconds(NOTHING)
        for name, code in codes.items():
            times[name].append(seconds(code) - empty)
    medians = {name: statistics.median(values) for name, values in times.items()}
    cells = [f"{name} {value:7.3f} s" for name, value in medians.items()]
    ratios = [
        f"{name}/vitrail {value / medians['vitrail']:.1f}" for name, value in medians.items() if name != "vitrail"
    ]
    print(f"{title:<12} {'   '.join(cells)}   ratios: {', '.join(ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    installed = [name for name, module in MODULES.items() if importlib.util.find_spec(module)]
    for missing in MODULES.keys() - set(installed):
        print(f"{missing} is not installed and left out")
    compare("import", {name: IMPORTS[name] for name in installed}, rounds)
    compare("first model", {name: MODELS[name] for name in installed}, rounds)


if __name__ == "__main__":
    main()
