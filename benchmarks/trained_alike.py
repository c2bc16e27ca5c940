"""Every method trained alike for a few epochs: what to expect of each in the first hour, and that each of them learns.

    python -m benchmarks.trained_alike --data-root CAMVID                   # five epochs of CamVid, on one GPU
    python -m benchmarks.trained_alike --data-root CAMVID --device cpu --size 180 240 --crop 128 160 --budget 20000
    python -m benchmarks.trained_alike --dataset scenes                     # the built-in scenes: nothing to download
    python -m benchmarks.trained_alike --dataset scenes --data-root DIR     # written by `vitrail dataset scenes`
    python -m benchmarks.trained_alike --dataset scenes --methods fastscnn segformer --device cpu --epochs 1 --tiny

Each method has the architecture and the losses of one of its recipes, on a small encoder, from random weights. All else
is the same for everyone: images, crops, augmentation, batch, optimizer, learning rate, schedule, seed. So the figures
say how fast a method learns from nothing, and not how good it becomes: heads that are published with pretrained
encoders need those. Several processes work through the methods; what the budget has no time for is named.

Results are written after every method: trained_alike_DATASET.json, .md and .png, into --out, the folder named by the
environment variable OUT, or benchmarks/results. Methods that were trained there with the same settings are not trained
again, so that the whole can be made in pieces.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrail.recipes import LossConfig, Recipe

PREFERRED = ("_camvid", "resnet50os16_ade20k", "resnet50os8_ade20k", "resnet50os32_ade20k", "tiny_ade20k", "")
"""Parts of the name of the recipe whose model a method has, best first."""
BORROWED = {"setr_mla": "setr_vittiny_camvid", "fastfcn_fcn": "fastfcn_pspnet_resnet50os32_cityscapes"}
"""Recipes of other methods, whose encoder is taken where a method's own recipes have none or a large one."""
SECONDS_TO_WRITE = 4.0
PANELS, COLUMNS = 8, 4


@dataclass(frozen=True)
class Settings:
    """The same for every method.

    Attributes
    ----------
    dataset : str
        "camvid" or "scenes".
    data_root : str
        The folder of CamVid, or of scenes that were written.
    device : str
        "cuda" or "cpu".
    epochs, workers : int
        Length of the training, and loader processes of each.
    cache : str
        Folder for decoded images.
    size, crop : (int, int)
        Height and width to which images are resized (None: as they are), and of crops.
    """

    dataset: str
    data_root: str
    device: str
    epochs: int
    workers: int
    cache: str
    size: tuple[int, int] | None
    crop: tuple[int, int]


@dataclass
class Trained:
    """What became of a method.

    Attributes
    ----------
    method, recipe : str
        The method, and the recipe that its model is from.
    encoder : str
        Its encoder.
    parameters : float
        In millions, with auxiliary heads.
    miou : list of float
        On val in percent, after every epoch.
    seconds : float
        The whole run, evaluations included.
    memory : float
        Peak of the device's memory in GiB; 0 on a CPU.
    problem : str
        Why the figures are not complete.
    """

    method: str
    recipe: str
    encoder: str = ""
    parameters: float = 0.0
    miou: list[float] = field(default_factory=list)
    seconds: float = 0.0
    memory: float = 0.0
    problem: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every method, or those that are named."""
    end = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the processes end, too
    options = _parser().parse_args(arguments)
    end += options.budget - SECONDS_TO_WRITE
    folder = Path(options.out or os.environ.get("OUT") or Path(__file__).parent / "results")
    if options.dataset == "camvid" and options.data_root is None:
        sys.exit("give the folder of CamVid as --data-root, or train on --dataset scenes")
    recipes = recipe_names()
    if unknown := set(options.methods) - set(recipes):
        sys.exit(f"there is no method {', '.join(sorted(unknown))}; there are {', '.join(recipes)}")
    with tempfile.TemporaryDirectory(prefix="alike-") as work:
        root = options.data_root or write_scenes(Path(work) / "scenes", tiny=options.tiny)
        cache = str(Path(work) / "cache")
        size, crop = (None if pair is None else (pair[0], pair[1]) for pair in (options.size, options.crop))
        settings = Settings(options.dataset, root, options.device, options.epochs, options.workers, cache, size, crop)
        done = earlier(folder, settings)
        left = sorted(set(options.methods or recipes) - {trained.method for trained in done})
        train_all([Trained(method, recipes[method]) for method in left], settings, options.processes, end, folder, done)
    print(table(done), flush=True)


def earlier(folder: Path, settings: Settings) -> list[Trained]:
    """Return the methods that an earlier run has trained whole with the same settings."""
    file = folder / f"trained_alike_{settings.dataset}.json"
    content = json.loads(file.read_text()) if file.is_file() else {}
    if content.get("settings") != _settings(settings):
        return []
    return [Trained(**row) for row in content["methods"] if not row["problem"]]


def _settings(settings: Settings) -> dict[str, Any]:
    """Return what figures depend on."""
    return {
        "epochs": settings.epochs,
        "device": _device(settings.device),
        "size": list(settings.size or ()),
        "crop": list(settings.crop),
    }


def write_scenes(folder: Path, *, tiny: bool) -> str:
    """Write the built-in scenes of the recipes as images and masks, so that they are not made again in every epoch."""
    from vitrail.datasets.write import write_dataset
    from vitrail.recipes import load_recipe

    options = dict(load_recipe("fastscnn_scenes").data.options)
    if tiny:
        options |= {"train": 16, "val": 4}
    write_dataset("scenes", None, ["train", "val"], folder, options=options)
    return str(folder)


def recipe_names() -> dict[str, str]:
    """Return the recipe whose model is trained, of every method."""
    from vitrail import list_recipes, list_segmentors
    from vitrail.recipes import load_recipe

    names: dict[str, list[str]] = {}
    for name in list_recipes():
        names.setdefault(load_recipe(name).model.segmentor, []).append(name)

    def preferred(method: str) -> str:
        return next(name for part in PREFERRED for name in names[method] if part in name)

    return {method: BORROWED.get(method) or preferred(method) for method in list_segmentors()}


def train_all(
    methods: Sequence[Trained], settings: Settings, processes: int, end: float, folder: Path, done: list[Trained]
) -> None:
    """Train methods in several processes until the time is up, add them to those done, and write all after each."""
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_own_group)
    futures = {pool.submit(train, method, settings): method for method in methods}
    workers = list(pool._processes.values())
    try:
        for future in as_completed(futures, max(0.0, end - time.monotonic())):
            done.append(future.result())
            _say(done[-1])
            write(done, settings, folder)
    except TimeoutError:
        finished = {trained.method for trained in done}
        done.extend(
            Trained(method.method, method.recipe, problem="no time")
            for method in methods
            if method.method not in finished
        )
        write(done, settings, folder)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            if worker.is_alive() and worker.pid:
                os.killpg(worker.pid, signal.SIGKILL)


def _own_group() -> None:
    """Let a process and its loaders be ended together."""
    os.setsid()


def _say(trained: Trained) -> None:
    figures = " ".join(f"{value:.1f}" for value in trained.miou) or trained.problem
    print(f"{trained.method:20} {figures}   {trained.seconds:.0f} s  {trained.memory:.1f} GiB", flush=True)


def train(method: Trained, settings: Settings) -> Trained:
    """Train one method; what goes wrong becomes the problem of its row."""
    import torch

    from vitrail.training import TrainingRun

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    begin = time.monotonic()
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        recipe = recipe_of(method, settings)
        with tempfile.TemporaryDirectory() as folder:
            run = TrainingRun(recipe, output_dir=folder, data_root=settings.data_root, device=settings.device)
            result = run.run()
    except Exception as error:  # one that fails must not hide the others
        return Trained(method.method, method.recipe, problem=f"{type(error).__name__}: {error}".partition("\n")[0])
    return Trained(
        method.method,
        method.recipe,
        recipe.model.backbone or "",
        sum(parameter.numel() for parameter in result.model.parameters()) / 1e6,
        [100 * record["miou"] for record in result.history if record["event"] == "evaluation"],
        time.monotonic() - begin,
        torch.cuda.max_memory_allocated() / 2**30 if settings.device == "cuda" else 0.0,
    )


def recipe_of(method: Trained, settings: Settings) -> Recipe:
    """Return the recipe that all have in common, with the model of one of the method's own."""
    from vitrail.recipes import load_recipe

    precision = "bfloat16" if settings.device == "cuda" else "none"
    resize = "null" if settings.size is None else f"{{size: {list(settings.size)}, keep_ratio: false}}"
    common = load_recipe(
        f"fastscnn_{settings.dataset}",
        [
            *("optimizer.lr=0.001", "train.clip_grad_norm=1.0", f"train.amp={precision}", "train.ema=null"),
            *(f"train.epochs={settings.epochs}", "train.batch_size=8", "train.eval_every=1", "train.save_every=1000"),
            *("evaluation.batch_size=8", f"evaluation.amp={precision}", f"data.workers={settings.workers}"),
            *(
                "train.loggers=[jsonl]",
                "data.check=skip",
                f"data.augment.resize={resize}",
                f"data.eval_resize={resize}",
                f"data.augment.crop={list(settings.crop)}",
            ),
            f"data.cache={settings.cache}",
            *(["data.dataset=folder", "data.options={}"] if settings.dataset == "scenes" else []),
        ],
    )
    model = load_recipe(method.recipe).model
    auxiliary = model.auxiliary.model_copy(update={"losses": _unweighted(model.auxiliary.losses)})
    model = model.model_copy(
        update={
            "segmentor": method.method,
            "backbone": small_encoder(model.backbone),
            "pretrained": False,
            "num_classes": None,
            "losses": _unweighted(model.losses),
            "auxiliary": auxiliary,
            **({"options": {}} if method.method in BORROWED else {}),
        }
    )
    return common.model_copy(update={"model": model, "name": f"{method.method}_{settings.dataset}_alike"})


def small_encoder(name: str | None) -> str | None:
    """Return ResNet-18 for a ResNet, and any other encoder as it is."""
    return "resnet18" if name is not None and re.fullmatch(r"resnet\d+c?", name) else name


def _unweighted(losses: tuple[LossConfig, ...] | None) -> tuple[LossConfig, ...] | None:
    """Take out the weights of classes, which belong to another dataset."""
    if losses is None:
        return None
    return tuple(
        loss.model_copy(update={"options": {k: v for k, v in loss.options.items() if k != "class_weights"}})
        for loss in losses
    )


def write(done: Sequence[Trained], settings: Settings, folder: Path) -> None:
    """Write the results as data, as a table, and as curves."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"trained_alike_{settings.dataset}"
    content = {"settings": _settings(settings), "methods": [asdict(trained) for trained in done]}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1))
    path.with_suffix(".md").write_text(table(done))
    draw([trained for trained in done if trained.miou], path.with_suffix(".png"))


def _device(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def table(done: Sequence[Trained]) -> str:
    """Return the results as a Markdown table, the best first, and what went wrong."""
    finished = sorted((trained for trained in done if trained.miou), key=lambda trained: -trained.miou[-1])
    epochs = max((len(trained.miou) for trained in finished), default=0)
    lines = [
        f"| method | encoder | M parameters |{''.join(f' {epoch + 1} |' for epoch in range(epochs))} s | GiB |",
        "| --- | --- | --- |" + " --- |" * (epochs + 2),
    ]
    for trained in finished:
        figures = "".join(f" {value:.1f} |" for value in trained.miou)
        row = f"| {trained.method} | {trained.encoder} | {trained.parameters:.1f} |{figures}"
        lines.append(f"{row} {trained.seconds:.0f} | {trained.memory:.1f} |")
    problems = [f"- {trained.method}: {trained.problem}" for trained in done if trained.problem]
    return "\n".join([*lines, "", *problems]) + "\n"


def draw(finished: Sequence[Trained], file: Path) -> None:
    """Draw mIoU over the epochs: some methods in each panel, alphabetically."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    if not finished:
        return
    ordered = sorted(finished, key=lambda trained: trained.method)
    share = -(-len(ordered) // PANELS)
    figure, panels = plt.subplots(
        PANELS // COLUMNS, COLUMNS, figsize=(3.6 * COLUMNS, 3.2 * PANELS // COLUMNS), sharex=True, sharey=True
    )
    for index, panel in enumerate(panels.flat):
        for trained in ordered[index * share : (index + 1) * share]:
            panel.plot(range(1, len(trained.miou) + 1), trained.miou, marker=".", label=trained.method)
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize=7)
    figure.supxlabel("epochs")
    figure.supylabel("mIoU on val")
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    plt.close(figure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="camvid", choices=("camvid", "scenes"))
    parser.add_argument("--data-root", metavar="DIR", help="CamVid in the SegNet layout, or written scenes")
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="all when none is named")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="5")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--budget", type=float, default=600.0, metavar="SECONDS", help="600; when all ends")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="1; how many methods at once")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="2 loader processes for each")
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="resize images, of training and of val")
    parser.add_argument("--crop", nargs=2, type=int, metavar=("H", "W"), default=(256, 320), help="256 320")
    parser.add_argument("--tiny", action="store_true", help="16 made scenes, for a rehearsal")
    parser.add_argument("--out", metavar="DIR", help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
