"""The comparison of training: its statistics, its order, its processes, its files, and what it tells each toolbox."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from benchmarks import accuracy
from benchmarks.equal_training import by_mmseg, by_ssseg, by_vitrail, pool
from benchmarks.equal_training import page as page_module
from benchmarks.equal_training.data import compact, decode, opened
from benchmarks.equal_training.jobs import Job, jobs_of
from benchmarks.equal_training.methods import METHODS
from benchmarks.equal_training.page import BEGIN, END, write_page
from benchmarks.equal_training.pool import DIED, LEFT_OUT, UNFINISHED, Pool, Run
from benchmarks.equal_training.recorder import Point
from benchmarks.equal_training.report import Report
from benchmarks.equal_training.settings import Plan
from benchmarks.equal_training.significance import Sample, difference, pooled
from vitrail.optim import create_schedule
from vitrail.segmentors import ModelCard

PLAN = Plan(Path("nowhere"), "cpu", 100, 8, (360, 480), (256, 352), 5, 2)
SETUP = {
    "images": 367,
    "size": [360, 480],
    "crop": [256, 352],
    "iterations": 100,
    "batch": 8,
    "processes": 1,
    "machine": "a card",
}


# --- statistics


def test_the_p_value_is_that_of_welchs_test():
    ours, theirs = (41.0, 42.5, 41.7), (43.1, 42.9, 44.6, 43.0)
    apart = difference(Sample(ours), Sample(theirs))
    expected = stats.ttest_ind(ours, theirs, equal_var=False, alternative="less")
    assert apart.p_lower == pytest.approx(expected.pvalue)
    assert apart.degrees == pytest.approx(expected.df)
    assert apart.significantly_lower
    assert not difference(Sample(theirs), Sample(ours)).significantly_lower


def test_a_single_seed_tells_a_difference_but_no_significance():
    apart = difference(Sample((40.0,)), Sample((43.0, 44.0)))
    assert apart.value == pytest.approx(-3.5)
    assert apart.error is None and apart.p_lower is None and apart.significantly_lower is None


def test_the_pooled_difference_is_the_mean_and_its_error_shrinks():
    pair = Sample((1.0, 2.0, 3.0)), Sample((2.0, 3.0, 4.0))
    alone, four = difference(*pair), pooled([pair] * 4)
    assert four.value == pytest.approx(alone.value) == -1
    assert four.error == pytest.approx(alone.error / 2)
    assert four.degrees == pytest.approx(4 * alone.degrees)


# --- order


def test_the_first_methods_get_a_seed_each_before_any_gets_its_second_and_pairs_stay_together():
    jobs = jobs_of(METHODS, ("mmseg", "ssseg"), ("ema",), range(2))
    first = [method.name for method in METHODS if method.stage == 1]
    assert [job.method for job in jobs[: 4 * len(first)]] == [name for name in first for _ in "ab"] * 2
    assert [job.trainer for job in jobs[:2]] == ["mmseg", "vitrail"]
    assert [job.variant for job in jobs[4 * len(first) :][:3]] == ["ema", "ema", ""]
    assert len(set(jobs)) == len(jobs)
    assert {job.method for job in jobs} == {method.name for method in METHODS}


# --- processes


class FakeWorker:
    """A process that answers at once what its method says."""

    started = 0

    def __init__(self, plan: Plan) -> None:
        type(self).started += 1
        self.run: Run | None = None
        self.connection = self
        self.process = self
        self.answers: list = []
        self.alive = True

    def begin(self, run: Run) -> None:
        self.run = run
        point = Point(100, 50.0 + run.job.seed, (50.0,), 1.0, 0.01)
        last = {"pspnet": ("done", (3.0, {"all": 5})), "cgnet": ("failed", "ValueError: no")}
        self.answers = [("point", point), last.get(run.job.method, EOFError())]

    def recv(self) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, EOFError):
            self.alive = False
            raise answer
        return answer

    def is_alive(self) -> bool:
        return self.alive

    def join(self) -> None:
        pass

    def end(self) -> None:
        pass


def ended(jobs: list[Job], monkeypatch, *, seconds: float = 60.0, processes: int = 2) -> list[Run]:
    monkeypatch.setattr(pool, "_Worker", FakeWorker)
    monkeypatch.setattr(pool.connections, "wait", lambda connections, timeout: connections)
    runs: list[Run] = []
    Pool(PLAN, processes=processes, end=time.monotonic() + seconds, changed=runs.append).work(jobs)
    return runs


def test_runs_end_in_one_of_several_ways_and_a_dead_process_is_replaced(monkeypatch):
    FakeWorker.started = 0
    names = ("fastscnn", "pspnet", "cgnet", "pspnet")
    runs = ended([Job(name, "mmseg", "mmseg", "", seed) for seed, name in enumerate(names)], monkeypatch, processes=1)
    assert [run.problem for run in runs] == [DIED, "", "ValueError: no", ""]
    assert [run.seconds for run in runs] == [None, 3.0, None, 3.0]
    assert [run.points[-1].miou for run in runs] == [50.0, 51.0, 52.0, 53.0]
    assert runs[1].groups == {"all": 5}
    assert FakeWorker.started == 2


def test_what_cannot_be_finished_in_time_is_named(monkeypatch):
    jobs = [Job("pspnet", "mmseg", "mmseg", "", seed) for seed in range(3)]
    runs = ended(jobs, monkeypatch, seconds=2.0, processes=1)  # the first says that one takes 3 s
    assert [run.problem for run in runs] == ["", LEFT_OUT, LEFT_OUT]


def test_a_run_that_goes_on_at_the_end_is_named(monkeypatch):
    monkeypatch.setattr(FakeWorker, "recv", lambda self: ("point", Point(1, 1.0, (1.0,), 1.0, 0.1)))
    runs = ended([Job("pspnet", "mmseg", "mmseg", "", 0)], monkeypatch, seconds=0.05)
    assert [run.problem for run in runs] == [UNFINISHED]


# --- results


def some_runs() -> list[Run]:
    """Return runs in which vitrail is clearly lower for PSPNet and clearly higher for CGNet, and one that failed."""
    runs = []
    for method, gap in (("pspnet", -10.0), ("cgnet", 10.0)):
        for seed in range(3):
            for trainer, shift in (("mmseg", 0.0), ("vitrail", gap)):
                points = [Point(50 * i, 30.0 + shift + seed / 10 + i, (None, 1.0), 1.0, 0.1) for i in (1, 2)]
                runs.append(Run(Job(method, "mmseg", trainer, "", seed), points, 9.0, {"lr x1": 3}))
    runs.append(Run(Job("pspnet", "mmseg", "vitrail", "ema", 0), runs[1].points, 8.0, {"lr x1": 3}))
    runs.append(Run(Job("ocrnet", "ssseg", "ssseg", "", 0), problem="ValueError: no"))
    return runs


def test_the_table_names_what_is_significantly_lower_and_what_failed(tmp_path):
    Report(SETUP, some_runs()).write(tmp_path)
    text = (tmp_path / "accuracy.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "**lower**" in rows["PSPNet, ResNet-18"] and "−10.00" in rows["PSPNet, ResNet-18"]
    assert "**lower**" not in rows["CGNet"] and "+10.00" in rows["CGNet"]
    assert "Significantly lower (p < 0.05): PSPNet, ResNet-18 (vitrail beside MMSegmentation) of 2." in text
    assert "vitrail, ema" in rows["PSPNet, ResNet-18 of MMSegmentation"]
    assert "- ocrnet/ssseg by ssseg: ValueError: no" in text
    again = Report.read(tmp_path / "accuracy.json")
    assert again.runs == some_runs() and again.markdown() == text


def test_parameter_groups_that_differ_are_named():
    runs = some_runs()
    runs[0].groups = {"lr x10": 3}
    assert "MMSegmentation (other parameter groups)" in Report(SETUP, runs).markdown()


def test_the_page_gets_the_results_of_all_folders_and_keeps_the_rest(tmp_path, monkeypatch):
    runs = some_runs()
    Report(SETUP, runs[:6]).write(tmp_path / "results" / "first")
    Report({**SETUP, "processes": 5}, runs[6:]).write(tmp_path / "results" / "second")
    page = tmp_path / "docs" / "accuracy.md"
    page.parent.mkdir()
    page.write_text(f"# Title\n\n{BEGIN}\n\noutdated\n\n{END}\n\nLast.\n")
    arguments = ["--page", str(page), "--out", str(tmp_path / "results")]
    accuracy.main(arguments)
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n\nCamVid") and text.endswith(f"{END}\n\nLast.\n")
    assert Report(SETUP, runs).markdown() in text and "outdated" not in text
    with Image.open(tmp_path / "docs" / "pictures" / "accuracy.png") as picture:
        assert picture.width > 300
    monkeypatch.setattr(page_module, "draw", lambda report, file: None)  # which takes a second
    accuracy.main(arguments)
    assert page.read_text() == text
    Report({**SETUP, "batch": 4}, runs).write(tmp_path / "results" / "third")
    with pytest.raises(SystemExit, match="another batch"):
        write_page(tmp_path / "results", page)


# --- data


def test_compact_and_decoded_files_hold_the_same_images_and_masks(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / "camvid"
    masks = {}
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        ramp = np.linspace(0, 255, 48)[None, :, None] * np.ones((32, 1, 3))
        Image.fromarray(ramp.astype(np.uint8)).save(root / split / "a.png")
        masks[split] = rng.integers(0, 12, (32, 48)).astype(np.uint8)
        Image.fromarray(masks[split]).save(root / f"{split}annot" / "a.png")
    assert compact(root, tmp_path / "compact") < 0.1
    decode(root, tmp_path / "decoded")
    decode(tmp_path / "compact", tmp_path / "again")
    for split in ("train", "val"):
        sample, again = (opened(tmp_path / name, split)[0] for name in ("decoded", "again"))
        assert sample["image"].shape == (3, 32, 48)
        expected = torch.from_numpy(np.where(masks[split] == 11, 255, masks[split]))
        assert torch.equal(sample["mask"].as_subclass(torch.Tensor), expected)
        assert torch.equal(sample["mask"], again["mask"])
        apart = (sample["image"].float() - again["image"].float()).abs().mean()
        assert 0 < apart < 3  # WebP loses a little
    with pytest.raises(SystemExit, match="no images in train"):
        decode(tmp_path, tmp_path / "nothing")


# --- what each toolbox is told


def method(name: str):
    return next(method for method in METHODS if method.name == name)


def vitrails_recipe(name: str):
    data = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    card = ModelCard(
        (), (), recipe={"model": {"segmentor": "fcn", "backbone": "resnet18"}, "data": data, "evaluation": {}}
    )
    return by_vitrail.recipe_of(card, method(name).settings, PLAN, seed=1, changes={"ema": 0.9})


@pytest.mark.parametrize("name", [method.name for method in METHODS])
def test_every_recipe_of_vitrail_is_valid_and_as_long_as_the_plan(name):
    recipe = vitrails_recipe(name)
    settings = method(name).settings
    assert (recipe.optimizer.lr, recipe.optimizer.weight_decay) == (settings.lr, settings.weight_decay)
    assert recipe.train.iterations == 100 and recipe.train.eval_every == 20 and recipe.train.ema == 0.9
    assert recipe.data.augment.crop == (256, 352)


def rates_of_vitrail(name: str) -> list[float]:
    recipe = vitrails_recipe(name)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.optimizer.lr)
    schedule = create_schedule(optimizer, recipe.schedule, PLAN.iterations)
    rates = []
    for _ in range(PLAN.iterations):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("name", ["pspnet", "segformer", "bisenetv2"])
def test_ssseg_is_told_the_schedule_of_vitrail(name):
    """SSSegmentation's polynomial schedule, written down here, gives the same rates from what it is told."""
    told = by_ssseg.schedule(method(name).settings, PLAN)
    total = told["max_epochs"] * told["iters_per_epoch"]
    for iteration, rate in enumerate(rates_of_vitrail(name)):
        expected = (1 - iteration / total) ** told["power"] * (told["lr"] - told["min_lr"]) + told["min_lr"]
        if (warmup := told["warmup_cfg"]) and iteration <= warmup["iters"]:
            expected *= 1 - (1 - iteration / warmup["iters"]) * (1 - warmup["ratio"])
        assert math.isclose(rate, expected, rel_tol=1e-6)


def test_mmseg_is_told_warm_up_schedule_groups_and_clipping():
    rise, fall = by_mmseg.schedulers(method("segformer").settings, PLAN)
    assert (rise["begin"], rise["end"], fall["begin"], fall["end"]) == (0, 5, 5, 100)
    assert rise["start_factor"] == 1e-6 and fall["power"] == 1.0 and fall["eta_min"] == 0.0
    assert len(by_mmseg.schedulers(method("pspnet").settings, PLAN)) == 1
    wrapper = by_mmseg.optim_wrapper(method("segformer").settings)
    assert wrapper["paramwise_cfg"]["custom_keys"]["head"] == {"lr_mult": 10.0}
    assert by_mmseg.optim_wrapper(method("maskformer").settings)["clip_grad"]["max_norm"] == 0.01
    loader = by_mmseg.dataloader(PLAN)
    kinds = [step["type"] for step in loader["dataset"]["pipeline"]]
    assert kinds.index("RandomResize") < kinds.index("RandomCrop") < kinds.index("PhotoMetricDistortion")
    assert loader["dataset"]["pipeline"][2]["scale"] == (480, 360)


def test_wrong_lengths_and_missing_data_end_with_a_message(tmp_path):
    with pytest.raises(SystemExit, match="--data-root"):
        accuracy.main([])
    with pytest.raises(SystemExit, match="multiple"):
        accuracy.main(["--data-root", str(tmp_path), "--iterations", "7", "--evaluations", "5"])
    with pytest.raises(SystemExit, match=r"accuracy\.json"):
        page = tmp_path / "page.md"
        page.write_text(f"{BEGIN}{END}")
        accuracy.main(["--page", str(page), "--out", str(tmp_path)])


def test_json_is_plain(tmp_path):
    Report(SETUP, some_runs()).write(tmp_path)
    data = json.loads((tmp_path / "accuracy.json").read_text())
    assert data["runs"][0]["job"] == {
        "method": "pspnet",
        "toolbox": "mmseg",
        "trainer": "mmseg",
        "variant": "",
        "seed": 0,
    }
