"""Memory of each process that trains a large model, with DDP and with shards, and whether it fits under a limit.

    python benchmarks/process_memory.py --processes 4 [--backbone vit_base_patch14_reg4_dinov2] [--limit-mb 1500]

Trains EoMT on generated pictures for three steps on the CPU and evaluates it on four. "peak" is the most memory that a
process had in its resident set, beyond what it had before the model was built: the largest of all processes. With a
limit, the data segment of every process is bounded (RLIMIT_DATA) to so much beyond what it has at that time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = (
    *("model.segmentor=eomt", "model.pretrained=false", "model.options={num_points: 512}", "model.output_stride=null"),
    *("model.losses=[{name: cross_entropy}]", "optimizer.name=adamw", "optimizer.options={}", "train.ema=null"),
    *(
        "data.augment={crop: [128, 128]}",
        "data.workers=0",
        "data.options={size: [128, 128], train: 16, val: 4}",
        "data.eval_resize=null",
    ),
    *("evaluation={}", "train.epochs=null", "train.iterations=3", "train.log_every=1", "train.eval_every=null"),
)


def memory_mb(field: str) -> float:
    """Return a figure of this process from /proc, such as VmHWM or VmData, in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1000


def train(strategy: str, arguments: argparse.Namespace) -> None:
    """Train in this process, one of several that torchrun started; rank 0 prints the figures."""
    import torch

    from vitrail.recipes import load_recipe
    from vitrail.runtime.distributed import gather_objects, is_main, process_group
    from vitrail.training import TrainingRun

    torch.set_num_threads(1)
    overrides = [
        *SETTINGS,
        f"model.backbone={arguments.backbone}",
        "model.backbone_options={img_size: 128, patch_size: 16}",
        f"train.strategy={strategy}",
        f"train.batch_size={arguments.processes}",
    ]
    with process_group("cpu"), tempfile.TemporaryDirectory() as folder:
        before = memory_mb("VmHWM")
        if arguments.limit_mb:
            limit = int(1e6 * (memory_mb("VmData") + arguments.limit_mb))
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        shared = gather_objects(folder)[0]
        run = TrainingRun(load_recipe("fastscnn_scenes", overrides), output_dir=shared, device="cpu")
        result = run.run()
        peaks = gather_objects(memory_mb("VmHWM") - before)
        if is_main():
            losses = [record["loss"] for record in result.history if record["event"] == "train"]
            parameters = sum(parameter.numel() for parameter in result.model.parameters())
            print(json.dumps({"parameters": parameters, "peak_mb": max(peaks), "losses": losses}))


def measure(strategy: str, arguments: argparse.Namespace) -> str:
    """Start the processes and return a row of the table."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, f"--nproc-per-node={arguments.processes}", __file__, "--strategy", strategy]
    for name in ("processes", "backbone", "limit_mb"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    # large tensors go back to the system when they are freed, as CUDA's allocator would use their memory again
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "100000"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        known = "can't allocate memory" in done.stderr or "MemoryError" in done.stderr
        return f"| {strategy} | {'out of memory' if known else done.stderr[-2000:]} | |"
    found = json.loads(done.stdout.splitlines()[-1])
    losses = " ".join(f"{loss:.5f}" for loss in found["losses"])
    return f"| {strategy} | {found['peak_mb']:.0f} MB of {found['parameters'] / 1e6:.0f} M parameters | {losses} |"


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--backbone", default="vit_base_patch14_reg4_dinov2")
    parser.add_argument("--limit-mb", type=float, default=0.0, help="0 is none")
    parser.add_argument(
        "--strategy", choices=["ddp", "fsdp2"], help="train in this process; used by the program itself"
    )
    arguments = parser.parse_args()
    if arguments.strategy:
        train(arguments.strategy, arguments)
        return
    print("| strategy | peak per process | losses |\n| --- | --- | --- |")
    for strategy in ("ddp", "fsdp2"):
        print(measure(strategy, arguments), flush=True)


if __name__ == "__main__":
    main()
