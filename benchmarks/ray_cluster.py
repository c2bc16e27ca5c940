"""Small images on a Ray cluster of processes on this machine, a core each; one of them may be killed half-way.

    python -m benchmarks.ray_cluster --machines 2                    # 20,000 images of 64 × 48 pixels
    python -m benchmarks.ray_cluster --machines 2 --kill
    python -m benchmarks.ray_cluster --images 400 --machines 1

Needs the [ray] extra.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from vitrail.ray import predict_files_on_ray


def write_images(folder: Path, count: int) -> None:
    """Write images of 64 × 48 pixels as JPEG."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(count):
        colours = Image.fromarray(generator.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        colours.resize((64, 48)).save(folder / f"{index:06d}.jpg")


def measure(photos: Path, out: Path, machines: int, *, kill: bool, shards: int) -> None:
    """Segment a folder of images, and print the seconds and what is there afterwards."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    others = [cluster.add_node(num_cpus=1) for _ in range(machines - 1)]
    ray.init(address=cluster.address, log_to_driver=False)
    half = sum(1 for _ in photos.iterdir()) // 2

    def lose_a_machine() -> None:
        while sum(1 for _ in out.glob("*.png")) < half:
            time.sleep(1)
        cluster.remove_node(others[0], allow_graceful=False)

    start = time.perf_counter()
    if kill:
        threading.Thread(target=lose_a_machine, daemon=True).start()
    result = predict_files_on_ray(
        "auto", "fastscnn_camvid", [str(photos)], out, kinds=["index"], device="cpu", shards=shards
    )
    seconds = time.perf_counter() - start
    masks = sum(1 for _ in out.glob("*.png"))
    print(
        f"{machines} machines{', one killed half-way' if kill else ''}: {masks} masks of {2 * half} images in "
        f"{seconds:.0f} s, {masks / seconds:.0f} a second; {result.predicted} predicted in tasks that ended, "
        f"{result.skipped} found there, {len(result.failures)} failures"
    )
    ray.shutdown()
    cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, metavar="N", help="20,000; an even number")
    parser.add_argument("--machines", type=int, default=2, metavar="N", help="2")
    parser.add_argument("--shards", type=int, default=16, metavar="N", help="16 tasks")
    parser.add_argument("--kill", action="store_true", help="end one of the machines after half of the masks")
    arguments = parser.parse_args()
    if arguments.kill and arguments.machines < 2:
        parser.error("--kill needs two machines or more")
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "photos", arguments.images)
        measure(
            Path(folder) / "photos",
            Path(folder) / "out",
            arguments.machines,
            kill=arguments.kill,
            shards=arguments.shards,
        )


if __name__ == "__main__":
    main()
