"""Write the recipes of MMSegmentation's configs: `python tools/build_mmseg_recipes.py`.

The configs and the published figures are those in MMSegmentation's wheel, which the [parity] extra installs. Sections
that several recipes share are written once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parity.references import mmseg_configs, require_mmseg
from tools.build_index import mmseg_miou
from vitrail.checkpoints.sources.mmseg.training import described, training_from_config
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.recipes.mmseg import FILE, SECTIONS


def figures() -> dict[str, float]:
    """Return the published mIoU by the path of the config, of the first row where there are several."""
    found: dict[str, float] = {}
    for metafile in mmseg_configs().glob("*/metafile.yaml"):
        for model in yaml.safe_load(metafile.read_text(encoding="utf-8")).get("Models", []):
            miou = mmseg_miou(model)
            if miou is not None:
                found.setdefault(Path(model["Config"]).stem, miou)
    return found


def recipes() -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield the name of every config with its recipe, or with what vitrail lacks."""
    from mmengine.config import Config

    published = figures()
    for path in sorted(mmseg_configs().glob("[!_]*/*.py")):
        config = Config.fromfile(path, import_custom_modules=False).to_dict()
        try:
            made = training_from_config(config, path.stem)
        except UnsupportedError as error:
            yield path.stem, str(error).removeprefix(f"{path.stem}: ")
            continue
        recipe = {**made.recipe, "description": described(path.stem, made.left_out)}
        if path.stem in published:
            recipe["reference"] = {"miou": published[path.stem], "source": "MMSegmentation"}
        yield path.stem, recipe


def main() -> None:
    """Write the file."""
    require_mmseg()
    shared: dict[str, list[str]] = {section: [] for section in SECTIONS}
    rows: dict[str, Any] = {}
    for name, recipe in recipes():
        if isinstance(recipe, dict):
            for section in SECTIONS:
                text = json.dumps(recipe[section])
                if text not in shared[section]:
                    shared[section].append(text)
                recipe[section] = shared[section].index(text)
        rows[name] = recipe
    parts = [f'"{section}": [\n' + ",\n".join(texts) + "\n]" for section, texts in shared.items()]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    FILE.write_text("{\n" + ",\n".join(parts) + f',\n"recipes": {{\n{lines}\n}}\n}}\n', encoding="utf-8")
    print(f"{len(rows)} configs, {sum(isinstance(row, dict) for row in rows.values())} recipes")


if __name__ == "__main__":
    main()
