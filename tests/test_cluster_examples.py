"""The files in examples/cluster: command lines that torchrun and vitrail take, and what the shell scripts do."""

from __future__ import annotations

import http.server
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from torch.distributed.run import get_args_parser

from vitrail.cli.evaluate import evaluate
from vitrail.cli.train import train
from vitrail.recipes import load_recipe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples/cluster"


def check_command(arguments: Sequence[str]) -> Any:
    """Parse what follows `torchrun` as torchrun and `vitrail train` do; return torchrun's options."""
    options = get_args_parser().parse_args(list(arguments))
    assert (options.module, options.training_script) == (True, "vitrail")
    verb, *rest = options.training_script_args
    assert verb == "train"
    with train.make_context("train", rest) as context:
        load_recipe(context.params["recipe"], context.params["overrides"])
        assert context.params["resume_auto"] and not context.params["resume"]
    return options


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def test_the_indexed_job() -> None:
    service, job = documents("indexed-job.yaml")
    pod = job["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    options = check_command([*container["command"], *container["args"]][1:])
    assert int(options.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]
    host, port = options.rdzv_endpoint.split(":")
    name, service_name = job["metadata"]["name"], service["metadata"]["name"]
    assert host == f"{name}-0.{service_name}" and pod["spec"]["subdomain"] == service_name
    assert service["spec"]["ports"][0]["port"] == int(port)
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    check_volumes(pod["spec"])


def test_the_pytorchjob() -> None:
    (job,) = documents("pytorchjob.yaml")
    worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "pytorch"
    assert worker["replicas"] == job["spec"]["elasticPolicy"]["maxReplicas"]
    check_command([*container["command"], *container["args"]][1:])
    batch = next(int(text.partition("=")[2]) for text in container["args"] if text.startswith("train.batch_size="))
    per_node, elastic = int(job["spec"]["nprocPerNode"]), job["spec"]["elasticPolicy"]
    for nodes in range(elastic["minReplicas"], elastic["maxReplicas"] + 1):
        assert batch % (nodes * per_node) == 0
    check_volumes(worker["template"]["spec"])


def check_volumes(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def program(folder: Path, name: str, text: str) -> None:
    """Write a shell script that stands for a program of the cluster."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs, which comes first in the path; `log` has what they were called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder, "scontrol", f'if [ "$1" = show ]; then echo node7; else echo "scontrol $*" >> {tmp_path}/log; fi')
    return folder


def environment(programs: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **more}


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# A step of a job: it notes how it was called, and ends when it gets SIGTERM.
STEP = """printf '%q ' "$@" > {folder}/called
trap 'kill $!; echo saved >> {folder}/log; exit 1' TERM
echo $$ > {folder}/step; sleep {seconds} & wait $!"""
JOB = {
    "SLURM_JOB_ID": "41",
    "SLURM_JOB_NODELIST": "node[7-8]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_GPUS_ON_NODE": "4",
}
COMMAND = ["fastscnn_scenes", "-o", "runs/a", "train.batch_size=8"]


def test_the_slurm_job(programs: Path, tmp_path: Path) -> None:
    program(programs, "srun", STEP.format(folder=tmp_path, seconds=0))
    job = ["bash", str(EXAMPLES / "train.sbatch"), *COMMAND]
    assert subprocess.run(job, env=environment(programs, **JOB), timeout=60, check=False).returncode == 0
    called = shlex.split((tmp_path / "called").read_text())
    options = check_command(called[called.index("torchrun") + 1 :])
    assert (options.nnodes, options.nproc_per_node, options.rdzv_endpoint) == ("2", "4", "node7:29400")


def test_a_slurm_job_that_gets_its_signal_saves_and_goes_back_to_the_queue(programs: Path, tmp_path: Path) -> None:
    program(programs, "srun", STEP.format(folder=tmp_path, seconds=60))
    program(programs, "scancel", f'echo "scancel $*" >> {tmp_path}/log; kill -TERM "$(cat {tmp_path}/step)"')
    with subprocess.Popen(
        ["bash", str(EXAMPLES / "train.sbatch"), *COMMAND], env=environment(programs, **JOB), stdout=subprocess.PIPE
    ) as job:
        wait_for(tmp_path / "step")
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=30) == 143
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["scancel --signal=TERM 41.0", "saved", "scontrol requeue 41"]


def test_a_slurm_array_evaluates_parts(programs: Path, tmp_path: Path) -> None:
    program(
        programs, "vitrail", f"printf '%q ' \"$@\" >> {tmp_path}/called; echo >> {tmp_path}/called\n[[ $2 != --merge ]]"
    )
    job = ["bash", str(EXAMPLES / "evaluate.sbatch"), "counts", "fastscnn_camvid", "--data-root", "my data"]
    task = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "64"}
    done = subprocess.run(
        job, env=environment(programs, **task), timeout=60, check=True, capture_output=True, text=True
    )
    assert done.stdout == "other parts are not done yet\n"
    part, merged = (shlex.split(line) for line in (tmp_path / "called").read_text().splitlines())
    with evaluate.make_context("evaluate", part[1:]) as context:
        assert (context.params["model"], str(context.params["data_root"])) == ("fastscnn_camvid", "my data")
        assert (context.params["shard"], str(context.params["parts"])) == ("3/64", "counts")
    with evaluate.make_context("evaluate", merged[1:]) as context:
        assert str(context.params["merge"]) == "counts" and context.params["model"] is None
    again = subprocess.run(job, env=environment(programs, **task, PARTS="128"), timeout=60, check=True)
    assert again.returncode == 0 and "--shard 3/128" in (tmp_path / "called").read_text()


class Metadata(http.server.BaseHTTPRequestHandler):
    """The addresses at which AWS and Google Cloud say that an instance will be taken away."""

    answers: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        text = self.answers.get(self.path)
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    do_PUT = do_GET

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


AWS = {"/latest/api/token": "abc", "/latest/meta-data/spot/instance-action": '{"action": "terminate"}'}
GOOGLE = {"/computeMetadata/v1/instance/preempted": "TRUE"}
NO_NOTICE = {"/latest/api/token": "abc", "/computeMetadata/v1/instance/preempted": "FALSE"}


@pytest.mark.parametrize("notice", [AWS, GOOGLE])
def test_a_spot_instance_saves_when_the_notice_comes(
    notice: dict[str, str], programs: Path, tmp_path: Path, metadata: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Metadata, "answers", NO_NOTICE)
    program(programs, "torchrun", STEP.format(folder=tmp_path, seconds=60))
    variables = environment(programs, METADATA=metadata, POLL_SECONDS="0.1", NODES="1:8", RENDEZVOUS="head:29400")
    with subprocess.Popen(
        ["bash", str(EXAMPLES / "spot.sh"), *COMMAND], env=variables, stdout=subprocess.PIPE, text=True
    ) as run:
        wait_for(tmp_path / "step")
        assert run.poll() is None
        monkeypatch.setattr(Metadata, "answers", notice)
        said, _ = run.communicate(timeout=30)
    assert run.returncode == 1 and "the run is saved" in said
    assert (tmp_path / "log").read_text() == "saved\n"
    options = check_command(shlex.split((tmp_path / "called").read_text()))
    assert (options.nnodes, options.rdzv_endpoint) == ("1:8", "head:29400")
