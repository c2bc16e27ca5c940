"""Same seed, same samples: whatever the number of workers, of processes, and of interruptions."""

import errno
import functools
import multiprocessing
import os
import re
import signal
import time
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vitrail.datasets import (
    EvalSampler,
    SampleKey,
    TrainSampler,
    collate_eval,
    collate_train,
    create_dataset,
    worker_errors,
)
from vitrail.datasets.worker_errors import collate_or_error, explain_dead_workers, loaded, outlive_signals
from vitrail.errors import DatasetError
from vitrail.recipes import AugmentConfig
from vitrail.transforms import TrainTransform

FORK = {"num_workers": 1, "multiprocessing_context": "fork"}
AUGMENT = AugmentConfig(scale=(0.5, 2.0), crop=(48, 64), max_class_share=0.75, rotate_degrees=10.0, rotate=0.3)
TRANSFORM = TrainTransform(AUGMENT, fill=(124, 116, 104))


@pytest.fixture(scope="module")
def dataset():
    return create_dataset("scenes", None, "train", transform=TRANSFORM, size=(64, 96), train=10)


def batches(dataset, workers, count=7, **options):
    sampler = TrainSampler(len(dataset), 4, seed=3, **options)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate_train)
    return list(islice(loader, count))


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a["id"] == b["id"]
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["mask"], b["mask"])


@pytest.fixture(scope="module")
def stream(dataset):
    return batches(dataset, workers=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_samples(dataset, stream, workers):
    torch.manual_seed(workers)
    assert_same(batches(dataset, workers), stream)


def test_the_stream_can_start_anywhere(dataset, stream):
    for start in (1, 2, 5):
        assert_same(batches(dataset, workers=0, count=7 - start, start=start), stream[start:])


def test_processes_share_the_stream(dataset, stream):
    parts = [batches(dataset, workers=0, rank=rank, world_size=2) for rank in range(2)]
    for first, second, whole in zip(*parts, stream, strict=True):
        assert first["id"] + second["id"] == whole["id"]
        assert torch.equal(torch.cat([first["image"], second["image"]]), whole["image"])


def test_the_seed_changes_everything():
    one, other = (next(iter(TrainSampler(100, 20, seed=seed))) for seed in (1, 2))
    assert [draw.index for draw in one] != [draw.index for draw in other]
    assert not {draw.seed for draw in one} & {draw.seed for draw in other}


def test_an_epoch_shows_no_image_twice_and_drops_the_rest():
    sampler = TrainSampler(10, 4, seed=0)
    assert sampler.batches_per_epoch == 2
    stream = list(islice(sampler, 6))
    for epoch in range(3):
        indices = [draw.index for batch in stream[2 * epoch : 2 * epoch + 2] for draw in batch]
        assert len(set(indices)) == 8
    assert [draw.index for draw in stream[0]] != [draw.index for draw in stream[2]], "epochs differ in order"
    assert len({draw.seed for batch in stream for draw in batch}) == 24


def test_every_image_gets_its_turn():
    seen = {draw.index for batch in islice(TrainSampler(10, 4, seed=0), 20) for draw in batch}
    assert seen == set(range(10))


def test_any_number_of_processes_sees_the_same_samples_in_the_same_order():
    """A run that went on with 3 of its 4 processes after 3 batches, and with 4 again after 5."""
    stream = []
    for processes, begin, end in ((4, 0, 3), (3, 3, 5), (4, 5, 9)):
        shares = [TrainSampler(26, 12, seed=7, rank=r, world_size=processes, start=begin) for r in range(processes)]
        for parts in islice(zip(*shares, strict=True), end - begin):
            stream += [key for part in parts for key in part]
    alone = islice(TrainSampler(26, 12, seed=7), 9)
    assert stream == [key for batch in alone for key in batch]


def test_batches_that_cannot_be_made_are_explained():
    with pytest.raises(DatasetError, match=r"train\.batch_size to 3"):
        TrainSampler(3, 4, seed=0)
    with pytest.raises(DatasetError, match="multiple of their number, 3"):
        TrainSampler(30, 4, seed=0, world_size=3)


@pytest.mark.parametrize(("length", "processes"), [(7, 1), (7, 2), (7, 4), (2, 4)])
def test_evaluation_sees_every_image_exactly_once(length, processes):
    samplers = [EvalSampler(length, rank=rank, world_size=processes) for rank in range(processes)]
    assert sorted(index for sampler in samplers for index in sampler) == list(range(length))
    assert sum(map(len, samplers)) == length


def test_a_draw_leaves_the_random_state_alone(dataset):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = dataset[SampleKey(0, 17)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(dataset[SampleKey(0, 17)]["image"], first["image"])
    assert not torch.equal(dataset[SampleKey(0, 18)]["image"], first["image"])


def test_a_failing_draw_restores_the_random_state(dataset):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(IndexError):
        dataset[SampleKey(99, 17)]
    assert torch.equal(torch.rand(3), expected)


def test_a_plain_index_goes_with_the_global_state(dataset):
    torch.manual_seed(5)
    first = dataset[0]
    torch.manual_seed(5)
    assert torch.equal(dataset[0]["image"], first["image"])
    assert not torch.equal(dataset[0]["image"], first["image"])


def test_collating(dataset):
    samples = [dataset[SampleKey(index, index)] for index in range(2)]
    batch = collate_train(samples)
    assert batch["image"].shape == (2, 3, 48, 64)
    assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
    assert batch["mask"].shape == (2, 48, 64)
    assert type(batch["image"]) is torch.Tensor
    assert batch["id"] == ["train_00000", "train_00001"]
    assert batch["size"] == [(64, 96), (64, 96)]
    lists = collate_eval(samples)
    assert [image.shape for image in lists["image"]] == [(3, 48, 64)] * 2
    assert torch.equal(lists["mask"][1], batch["mask"][1])


def test_samples_of_several_sizes_cannot_be_stacked():
    plain = create_dataset("scenes", None, "val", size=(64, 96))
    wide = create_dataset("scenes", None, "val", size=(64, 112))
    with pytest.raises(DatasetError, match=r"96×64.*112×64.*data\.augment\.crop"):
        collate_train([plain[0], wide[0]])
    assert len(collate_eval([plain[0], wide[0]])["image"]) == 2


class KilledAtTwo(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


class StoppedAtTwo(KilledAtTwo):
    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        return index


def test_a_loader_process_that_is_stopped_ends_the_loop_and_does_not_block_the_end_of_the_program(monkeypatch):
    monkeypatch.setattr(worker_errors, "STOPPED_CHECKS", 2)
    monkeypatch.setattr(worker_errors, "CHECK_SECONDS", 1)
    batches = loaded(DataLoader(StoppedAtTwo(), num_workers=1, timeout=1))
    with pytest.raises(DatasetError, match=r"no image has come for .* is stopped, or the storage .*--resume"):
        list(batches)
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_a_loader_that_is_slow_once_goes_on(monkeypatch):
    class Slow(KilledAtTwo):
        def __getitem__(self, index):
            time.sleep(1.5 * (index == 2))
            return index

    monkeypatch.setattr(worker_errors, "CHECKS", 5)
    assert [int(batch) for batch in loaded(DataLoader(Slow(), **FORK, timeout=1))] == [0, 1, 2, 3]


held = []


def hold_a_batch():
    held.append(loaded(DataLoader(range(100), num_workers=2, worker_init_fn=outlive_signals)))
    next(held[0])


def test_a_program_ends_at_once_although_its_loader_processes_outlive_signals():
    program = multiprocessing.get_context("fork").Process(target=hold_a_batch)
    program.start()
    program.join(30)
    assert program.exitcode == 0


def test_a_loader_from_which_nothing_comes_ends_the_loop(monkeypatch):
    class Silent(KilledAtTwo):
        def __getitem__(self, index):
            time.sleep(60 * (index == 2))
            return index

    monkeypatch.setattr(worker_errors, "CHECKS", 2)
    with pytest.raises(DatasetError, match=r"no image has come for .* storage of the dataset does not answer"):
        list(loaded(DataLoader(Silent(), **FORK, timeout=1)))


def test_full_shared_memory_is_an_error_and_not_a_wait(monkeypatch):
    class Images(KilledAtTwo):
        def __getitem__(self, index):
            return {"image": torch.zeros(3, 4, 4, dtype=torch.uint8)}

    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)  # the workers are forks
    collate = functools.partial(collate_or_error, lambda samples: {"image": [s["image"] for s in samples], "id": ["a"]})
    (first, *_) = loaded(DataLoader(Images(), **FORK, collate_fn=collate, timeout=10))
    assert isinstance(first, DatasetError) and re.search(r"No space left .*--shm-size", str(first))
    monkeypatch.undo()
    (first, *_) = loaded(DataLoader(Images(), **FORK, collate_fn=collate, timeout=10))
    assert first["image"][0].is_shared() and first["id"] == ["a"]


def test_no_room_for_the_queues_of_loader_processes_is_explained(monkeypatch):
    def full(loader):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DataLoader, "__iter__", full)
    with pytest.raises(DatasetError, match=r"cannot be started .*--shm-size"):
        list(loaded(DataLoader(KilledAtTwo(), num_workers=1)))


# PyTorch tells of a killed process by an error out of its handler of SIGCHLD, wherever the program is: where that
# cannot raise, as in a callback of a weak reference, Python reports it and goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loader_process_that_was_killed_is_explained():
    with pytest.raises(DatasetError, match=r"lower data\.workers .*--resume"):
        list(loaded(DataLoader(KilledAtTwo(), num_workers=1)))


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="another"), explain_dead_workers():
        raise RuntimeError("another error")
