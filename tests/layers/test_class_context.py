"""Vectors and relations of classes against the same computation written as loops."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.layers.class_context import class_sums, class_vectors, of_each_pixel, predicted_classes
from vitrail.layers.class_relations import ClassRelations, loss_statistics
from vitrail.layers.soft_class_memory import SoftClassMemory


def targets_with_ignored() -> Tensor:
    targets = torch.randint(0, 4, (2, 12, 17))
    targets[0, :3] = 255
    return targets


def test_a_class_vector_is_the_softmax_weighted_mean_of_its_pixels() -> None:
    features, logits = torch.randn(2, 6, 5, 7), torch.randn(2, 4, 5, 7)
    logits[1, 2] = -10.0  # a class without a pixel
    classes, members = predicted_classes(logits)
    vectors = class_vectors(features, logits, members)
    spread = of_each_pixel(vectors, classes, features)
    assert not vectors[1, 2].any()
    for image in range(2):
        best = logits[image].argmax(0)
        for index in range(4):
            where = best == index
            if where.any():
                weights = logits[image, index][where].softmax(0)
                expected = features[image][:, where] @ weights
                torch.testing.assert_close(vectors[image, index], expected)
                torch.testing.assert_close(spread[image][:, where], expected[:, None].expand(-1, int(where.sum())))


def test_class_sums_are_those_of_the_resized_features() -> None:
    features, targets = torch.randn(2, 6, 5, 7), targets_with_ignored()
    pixels = F.interpolate(features, (12, 17), mode="bilinear").movedim(1, -1)
    sums = class_sums(features, targets, 5)
    for index in range(5):
        own = pixels[targets == index]
        torch.testing.assert_close(sums[index, :-1], own.sum(0), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sums[index, -1], torch.tensor(float(len(own))))


def test_loss_statistics_are_those_of_each_class() -> None:
    losses, targets = torch.rand(2, 12, 17), targets_with_ignored()
    mean, variance, counts = loss_statistics(losses, targets, 5)
    for image in range(2):
        for index in range(4):
            own = losses[image][targets[image] == index]
            assert counts[image, index] == len(own)
            torch.testing.assert_close(mean[image, index], own.mean())
            torch.testing.assert_close(variance[image, index], own.var(unbiased=False))
    assert not mean[:, 4].any()


def test_the_class_that_was_seldom_left_out_is_left_out_and_counted() -> None:
    relations = ClassRelations(3)
    relations.counts.copy_(torch.tensor([1e20, 1e-20, 1e-30]))
    present = torch.tensor([[True, True, False], [True, True, True], [True, False, True]])
    # the count of class 1 is 1 after the first image, so that class 2 is chosen for the second
    assert relations.choose(present).tolist() == [1, 2, 2]
    torch.testing.assert_close(relations.counts, torch.tensor([1e20, 1.0, 2.0]))


def test_relations_move_image_by_image_where_there_are_pixels() -> None:
    relations = ClassRelations(3, momentum=0.5)
    found = torch.tensor([[[8.0, 2.0, 4.0]] * 2, [[16.0, 2.0, 4.0]] * 2])
    relations.update(torch.tensor([1, 1]), found, torch.tensor([[5.0, 0.0, 1.0], [5.0, 0.0, 1.0]]))
    torch.testing.assert_close(relations.mean, torch.tensor([[1.0, 0, 0], [10.0, 1, 3], [0, 0, 1]]))
    torch.testing.assert_close(relations.variance, torch.tensor([[1.0, 0, 0], [10.0, 1, 0], [0, 0, 1]]))


def test_relations_mix_the_classes_that_are_present() -> None:
    relations = ClassRelations(3)
    relations.mean.copy_(torch.tensor([[1.0, 2, -1], [0, 0, 0], [1, 1, 1]]))
    vectors = torch.eye(3)[None]
    by_mean, by_variance = relations(vectors, torch.tensor([[True, False, True]]))
    torch.testing.assert_close(by_mean[0], torch.tensor([[1.0, 0, 0], [0, 0, 0], [0.5, 0, 0.5]]))
    weights = torch.tensor([1.0, 0.0]).softmax(0)
    torch.testing.assert_close(by_variance[0, 0], torch.tensor([weights[0], 0, weights[1]]))
    assert not relations(vectors, torch.zeros(1, 3, dtype=torch.bool))[0].any()


def test_a_soft_memory_follows_the_classes_it_sees() -> None:
    memory = SoftClassMemory(5, 6, momentum=0.25)
    features, targets = torch.randn(2, 6, 12, 17), targets_with_ignored()
    before = torch.random.get_rng_state()
    memory.update(features, targets)
    vector = features.movedim(1, -1)[targets == 2].mean(0)
    torch.testing.assert_close(memory.statistics[2], torch.stack([0.25 * vector.mean(), 0.75 + 0.25 * vector.std()]))
    assert memory.statistics[4].tolist() == [0.0, 1.0]  # a class that did not occur
    one = torch.zeros(1, 5, 1, 1)
    one[:, 4] = 1.0
    torch.testing.assert_close(memory(one).flatten(), torch.randn(1, 6, generator=torch.Generator().manual_seed(4))[0])
    assert torch.equal(torch.random.get_rng_state(), before)
