"""Write the index of published checkpoints: `python tools/build_index.py SHARED`.

SHARED is a folder with SSSegmentation's tables and configurations (`reference/ssseg_zoo.json` and
`reference/ssseg_configs.json`); MMSegmentation's are read from its wheel (`mmseg/.mim/configs/*/metafile.yaml`). Needs
the [parity] extra: the shapes of every supported model's tensors are taken from the project that publishes it, built
without memory for its weights.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parity.references import build_mmseg, build_ssseg, mmseg_configs, require_mmseg
from vitrail.checkpoints.index import Entry, fingerprint
from vitrail.checkpoints.sources.mmseg import config as mmseg_config
from vitrail.checkpoints.sources.mmseg.datasets import DATASETS as MMSEG_DATASETS
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg import config as ssseg_config
from vitrail.checkpoints.sources.ssseg.datasets import DATASETS as SSSEG_DATASETS
from vitrail.files.download import hash_in_name

FOLDER = Path(__file__).resolve().parents[1] / "src" / "vitrail" / "checkpoints" / "index"
# Rows of MMSegmentation's metafiles that name another config than the one that made the file: by how the file's name
# begins, what the config is called.
MISNAMED = {
    "bisenetv1_r101-d32_lr5e-3_4x4_512x512_160k_coco-stuff164k": "bisenetv1_r101-d32_4xb4-160k_coco-stuff164k-512x512",
    "deeplabv3plus_r101-d8_512x512_80k_ade20k": "deeplabv3plus_r101-d8_4xb4-80k_ade20k-512x512",
    "deeplabv3plus_r101-d8_480x480_40k_pascal_context": "deeplabv3plus_r101-d8_4xb4-40k_pascal-context-480x480",
    "deeplabv3plus_r101-d8_480x480_80k_pascal_context": "deeplabv3plus_r101-d8_4xb4-80k_pascal-context-480x480",
    "deeplabv3plus_r101-d16-mg124_512x1024_40k_cityscapes": "deeplabv3plus_r101-d16-mg124_4xb2-40k_cityscapes-512x1024",
    "emanet_r50-d8_512x1024_80k_cityscapes": "emanet_r50-d8_4xb2-80k_cityscapes-512x1024",
    "fastfcn_r50-d32_jpu_aspp_4x4_512x1024_80k_cityscapes": "fastfcn_r50-d32_jpu_aspp_4xb4-80k_cityscapes-512x1024",
    "fastfcn_r50-d32_jpu_enc_4x4_512x1024_80k_cityscapes": "fastfcn_r50-d32_jpu_enc_4xb4-80k_cityscapes-512x1024",
    "fastfcn_r50-d32_jpu_psp_4x4_512x1024_80k_cityscapes": "fastfcn_r50-d32_jpu_psp_4xb4-80k_cityscapes-512x1024",
    "fpn_poolformer_s36_8x4_512x512_40k_ade20k": "fpn_poolformer_s36_8x4_512x512_40k_ade20k",  # not renamed there
    "ocrnet_hr18s_512x512_160k_ade20k": "ocrnet_hr18s_4xb4-160k_ade20k-512x512",
    "ocrnet_hr18_512x512_160k_ade20k": "ocrnet_hr18_4xb4-160k_ade20k-512x512",
    "pspnet_r50-d32_512x1024_80k_cityscapes": "pspnet_r50-d32_4xb2-80k_cityscapes-512x1024",
    "twins_svt-l_uperhead_8x2_512x512_160k_ade20k": "twins_svt-l_uperhead_8xb2-160k_ade20k-512x512",
}
REQUIRED = ("name", "method", "backbone", "dataset", "url")
Build = Callable[[], nn.Module]


def tensors_of(build: Build) -> dict[str, torch.Tensor]:
    """Return the tensors that a checkpoint of a model holds, without values."""
    linspace = torch.linspace  # whose numbers are read while models are built, which takes a real device
    torch.linspace = lambda *args, **options: linspace(*args, **{**options, "device": "cpu"})
    try:
        with torch.device("meta"):
            return build().state_dict()
    finally:
        torch.linspace = linspace


def describe(
    row: dict[str, Any], translate: Callable[[], dict[str, Any]], build: Build, fallback: tuple[str, str]
) -> Entry:
    """Return the entry of a checkpoint: how vitrail builds its model, or what vitrail lacks for it."""
    try:
        recipe = translate()
    except UnsupportedError as error:
        method, backbone = fallback
        return Entry(**row, method=method, backbone=backbone, unsupported=str(error))
    recipe.pop("name")
    model = recipe["model"]
    return Entry(
        **row,
        method=model["segmentor"],
        backbone=model["backbone"],
        recipe=recipe,
        fingerprint=fingerprint(tensors_of(build)),
    )


def mmseg_entries() -> Iterator[Entry]:
    """Yield MMSegmentation's published checkpoints."""
    require_mmseg()
    from mmengine.config import Config

    for metafile in sorted(mmseg_configs().glob("*/metafile.yaml")):
        for model in yaml.safe_load(metafile.read_text(encoding="utf-8")).get("Models", []):
            if not model.get("Weights"):
                continue
            url = model["Weights"].replace("//download.oz1z1penmmlab.", "//download.openmmlab.")  # one is misspelt
            made_by = re.split(r"_20\d{6}", Path(url).name)[0]
            name = MISNAMED.get(made_by, model["Name"])
            path = metafile.parent / f"{MISNAMED.get(made_by, Path(model['Config']).stem)}.py"
            row = {
                "name": f"mmseg/{name}",
                "url": url,
                "miou": mmseg_miou(model),
                "sha256": hash_in_name(Path(url).name) or "",
            }
            if not path.is_file():
                dataset = str(model["Results"]["Dataset"])
                why = "its config is missing from MMSegmentation's package"
                yield Entry(**row, method=path.parent.name, backbone="", dataset=dataset, unsupported=why)
                continue
            config = Config.fromfile(path, import_custom_modules=False).to_dict()
            backbone = config["model"].get("backbone") or config["model"].get("image_encoder") or {}
            kind = str(config.get("dataset_type"))
            yield describe(
                {**row, "dataset": MMSEG_DATASETS.get(kind, kind)},
                lambda config=config, name=name: mmseg_config.recipe_from_config(config, name, "its config"),
                lambda path=path: build_mmseg(f"{path.parent.name}/{path.stem}"),
                (metafile.parent.name, str(backbone.get("type", ""))),
            )


def mmseg_miou(model: Mapping[str, Any]) -> float | None:
    """Return the mIoU in a metafile's row, single scale, as a fraction."""
    results = model.get("Results") or {}
    for result in results if isinstance(results, list) else [results]:
        value = result.get("Metrics", {}).get("mIoU")
        if isinstance(value, (int, float)):
            return round(value / 100, 6)
    return None


def ssseg_entries(shared: Path) -> Iterator[Entry]:
    """Yield SSSegmentation's published checkpoints."""
    path = shared / "reference" / "ssseg_configs.json"
    configs = {key.partition("/")[2]: (key, value) for key, value in json.loads(path.read_text()).items()}
    for published in json.loads((shared / "reference" / "ssseg_zoo.json").read_text()):
        name = Path(published["cfg"]).stem
        if name not in configs:
            print(f"no configuration of {name}", file=sys.stderr)
            continue
        key, config = configs[name]
        row = {
            "name": f"ssseg/{name}",
            "dataset": SSSEG_DATASETS.get(config["dataset"]["type"], config["dataset"]["type"]),
            "url": published["model"],
            "miou": ssseg_miou(published),
        }
        yield describe(
            row,
            lambda config=config, name=name: ssseg_config.recipe_from_config(config, name),
            lambda key=key: build_ssseg(key),
            (config["type"], config["backbone"]["type"]),
        )


def ssseg_miou(published: Mapping[str, str]) -> float | None:
    """Return the mIoU in a row of a table, as a fraction."""
    text = published.get("mIoU", "").partition("%")[0]
    return round(float(text) / 100, 6) if text else None


def write(project: str, entries: Iterator[Entry]) -> None:
    """Write a project's part of the index, one entry a line."""
    rows = {}
    for entry in tqdm(entries, desc=project, disable=None):
        if entry.name in rows:
            print(f"{entry.name} is there twice", file=sys.stderr)
        rows[entry.name] = {
            key: value for key, value in asdict(entry).items() if key in REQUIRED or value not in (None, "", {})
        }
    lines = ",\n".join(json.dumps(rows[name]) for name in sorted(rows))
    (FOLDER / f"{project}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    supported = sum("recipe" in row for row in rows.values())
    print(f"{project}: {len(rows)} checkpoints, {supported} of them supported")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write("ssseg", ssseg_entries(Path(sys.argv[1])))
    if len(sys.argv) < 3:
        write("mmseg", mmseg_entries())
