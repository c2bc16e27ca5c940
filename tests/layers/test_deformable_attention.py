"""Deformable attention against its equation, written as loops; sampling of targets against that of their masks."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.layers.deformable_attention import DeformableAttention, DeformableEncoder, pixel_centres
from vitrail.layers.masked_query_decoder import MaskedQueryDecoder
from vitrail.layers.points import neighbours, sample_points

SIZES = [(2, 3), (5, 4)]
HEADS, POINTS, CHANNELS = 2, 3, 8


def bilinear(image: Tensor, x: float, y: float) -> Tensor:
    """Return an image [C, h, w] at a position in pixels from its upper left corner; it is 0 outside."""
    total = torch.zeros(len(image))
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            near = max(0.0, 1 - abs(x - 0.5 - column)) * max(0.0, 1 - abs(y - 0.5 - row))
            total += near * image[:, row, column]
    return total


def test_each_head_reads_a_weighted_mean_of_its_positions_in_every_map() -> None:
    torch.manual_seed(0)
    layer = DeformableAttention(CHANNELS, len(SIZES), HEADS, POINTS)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    total = sum(height * width for height, width in SIZES)
    queries, maps, centres = torch.randn(1, 4, CHANNELS), torch.randn(1, total, CHANNELS), torch.rand(4, 2)
    with torch.no_grad():
        found = layer(queries, centres, maps, SIZES)[0]
        values = [
            part.T.unflatten(1, size) for part, size in zip(layer.value(maps)[0].split([6, 20]), SIZES, strict=True)
        ]
        offsets = layer.offsets(queries)[0].view(4, HEADS, len(SIZES), POINTS, 2)
        weights = layer.weights(queries)[0].view(4, HEADS, -1).softmax(-1).view(4, HEADS, len(SIZES), POINTS)
        read = torch.zeros(4, HEADS, CHANNELS // HEADS)
        for query in range(4):
            for head in range(HEADS):
                own = slice(head * CHANNELS // HEADS, (head + 1) * CHANNELS // HEADS)
                for level, (height, width) in enumerate(SIZES):
                    for point in range(POINTS):
                        dx, dy = offsets[query, head, level, point]
                        x, y = centres[query] * torch.tensor([width, height])
                        sample = bilinear(values[level][own], float(x + dx), float(y + dy))
                        read[query, head] += weights[query, head, level, point] * sample
        expected = layer.project(read.flatten(1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_new_layer_looks_round_every_pixel() -> None:
    layer = DeformableAttention(8, 1, 4, 2)
    directions = layer.offsets.bias.view(4, 2, 2)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(directions[:, 0], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(directions[:, 1], 2 * expected, rtol=0, atol=1e-6)


def test_the_encoder_keeps_the_sizes_of_its_maps() -> None:
    encoder = DeformableEncoder(8, 2, num_layers=1, num_heads=2, feedforward_channels=8)
    maps = [torch.randn(2, 8, *size) for size in SIZES]
    assert [x.shape for x in encoder(maps)] == [x.shape for x in maps]
    assert pixel_centres(1, 2, like=maps[0]).tolist() == [[0.25, 0.5], [0.75, 0.5]]


def test_a_query_sees_nothing_outside_of_its_mask() -> None:
    torch.manual_seed(0)
    decoder = MaskedQueryDecoder(8, 8, 8, 3, 1, num_layers=1, num_heads=2, feedforward_channels=8).eval()
    memory, pixels = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
    first = decoder([memory], pixels)[0][1]
    inside = torch.einsum("bqc,bchw->bqhw", first, pixels)[0] >= 0
    outer, inner = (torch.where(part, memory + 5, memory) for part in (~inside[0], inside[0]))  # the first query's
    assert inside[0].any() and not inside[0].all()
    seen = _contexts(decoder, [memory, outer, inner], pixels)
    torch.testing.assert_close(seen[0], seen[1])
    assert not torch.allclose(seen[0], seen[2])


def _contexts(decoder: MaskedQueryDecoder, maps: list[Tensor], pixels: Tensor) -> list[Tensor]:
    """Return what the first layer's cross-attention gives the first query for each map."""
    seen: list[Tensor] = []
    hook = decoder.layers[0].cross_attn.register_forward_hook(lambda *args: seen.append(args[2][0][0, 0].detach()))
    for memory in maps:
        decoder([memory], pixels)
    hook.remove()
    return seen


def test_an_empty_mask_hides_nothing() -> None:
    decoder = MaskedQueryDecoder(8, 8, 8, 3, 1, num_layers=2, num_heads=2, feedforward_channels=8).eval()
    states = decoder([torch.randn(1, 8, 4, 4)], torch.zeros(1, 8, 4, 4) - 1e4)
    assert all(torch.isfinite(x).all() for state in states for x in state)


def test_targets_sampled_by_neighbours_are_their_sampled_masks() -> None:
    torch.manual_seed(0)
    targets, points = torch.randint(0, 4, (2, 5, 7)), torch.rand(2, 200, 2)
    masks = torch.stack([(targets == label).float() for label in range(4)], 1)
    pixels, weights = neighbours(points, (5, 7))
    labels = targets.flatten(1).gather(1, pixels.flatten(1)).view_as(pixels)
    found = torch.stack([((labels == label) * weights).sum(-1) for label in range(4)], 1)
    torch.testing.assert_close(found, sample_points(masks, points))
