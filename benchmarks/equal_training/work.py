"""A process that makes one run after the other, and sends what it measures."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch

from benchmarks.cuda.switches import convolution_tf32, matmul_tf32, torch_defaults
from benchmarks.equal_training import by_mmseg, by_ssseg, by_vitrail
from benchmarks.equal_training.jobs import VARIANTS, VITRAIL, Job, method_of
from benchmarks.equal_training.recorder import Point, Recorder
from benchmarks.equal_training.settings import Plan
from benchmarks.equal_training.start import start
from vitrail.recipes import EvalConfig


def serve(connection: Connection, plan: Plan) -> None:
    """Make the runs that come over a connection, until it is closed; a process group of its own can be ended whole."""
    import cv2

    os.setsid()
    # not spawn, as this process was started: loaders would import everything again, and pickle their datasets
    multiprocessing.set_start_method("fork", force=True)
    cv2.setNumThreads(0)  # the loaders are processes
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        begin = time.monotonic()
        try:
            groups = make_run(job, plan, lambda point: connection.send(("point", point)))
        except Exception as error:  # what a toolbox cannot do; the other runs go on
            traceback.print_exc()
            connection.send(("failed", f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"))
        else:
            connection.send(("done", (time.monotonic() - begin, groups)))


def make_run(job: Job, plan: Plan, send: Callable[[Point], None]) -> dict[str, int]:
    """Make a run, and return how many weights learn how fast."""
    method = method_of(job)
    reference = method.reference(job.toolbox)
    assert reference is not None
    with torch_defaults():
        matmul_tf32(True)  # for everyone
        convolution_tf32(True)
        begun = start(reference, job.seed)
        _, card = begun.imported()
        mean, std = (tuple(card.recipe["data"][name]) for name in ("mean", "std"))
        recorder = Recorder(plan, mean, std, EvalConfig.model_validate(card.recipe["evaluation"]), send)
        if job.trainer == VITRAIL:
            changes = VARIANTS[job.variant] if job.variant else {}
            by_vitrail.train(begun, method.settings, plan, recorder, seed=job.seed, changes=changes)
        elif job.toolbox == "mmseg":
            by_mmseg.train(begun, method.settings, plan, recorder, seed=job.seed)
        else:
            by_ssseg.train(begun, method.settings, plan, recorder, seed=job.seed, mean=mean, std=std)
    return recorder.groups
