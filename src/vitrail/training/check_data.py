"""The check of the data before a training starts."""

from __future__ import annotations

from vitrail.datasets import SegmentationDataset
from vitrail.datasets.doctor import RunPlan, SplitSurvey, act_on, examine, in_files, survey
from vitrail.recipes import Recipe
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.training.plan import Plan


def check_data(recipe: Recipe, train: SegmentationDataset, evaluation: SegmentationDataset, plan: Plan) -> None:
    """Look at all files of the splits, warn of what is odd, and refuse what would train a useless model.

    What is seen is remembered in the cache folder for files whose size and time of change stay the same. Datasets that
    are no files, such as generated scenes, are not read; `data.check` switches the check off.

    Raises
    ------
    DatasetError
        For findings that stop a training.
    """
    data = recipe.data
    if data.check == "skip":
        return
    splits = [(train, data.train_split), (evaluation, data.eval_split)]
    splits = [(dataset, name) for dataset, name in splits if in_files(dataset)] if in_files(train) else []
    surveys: list[SplitSurvey] = []
    with ProgressBar("check data", total=sum(len(dataset) for dataset, _ in splits)) as bar:
        for dataset, name in splits:
            surveys.append(survey(dataset, name, advance=bar.advance))
    act_on(examine(surveys, _run_plan(recipe, plan)), data.check)


def _run_plan(recipe: Recipe, plan: Plan) -> RunPlan:
    augment = recipe.data.augment
    warmups = {"schedule.warmup": recipe.schedule.warmup}
    warmups |= {f"optimizer.rules.{index}.warmup": rule.warmup for index, rule in enumerate(recipe.optimizer.rules)}
    return RunPlan(
        crop=augment.crop,
        resized=augment.resize is not None or augment.shortest_edge is not None,
        largest_scale=augment.scale[1],
        iterations=plan.iterations,
        per_epoch=plan.per_epoch,
        batch_size=recipe.train.images_per_step,
        warmups={key: (warmup.start, warmup.end) for key, warmup in warmups.items() if warmup},
    )
