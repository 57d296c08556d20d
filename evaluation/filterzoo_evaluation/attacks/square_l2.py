"""The candidates of Square in L2 (arXiv:1912.00049): squares with two pyramids of opposite sign."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from filterzoo_evaluation.attacks.attack import integer, signs

_TILES = 5
"""Tiles along each axis at the start."""
_SMALLEST = 3
_TINY = 1e-12


def start(images: torch.Tensor, eps: float, random: Sequence[torch.Generator]) -> torch.Tensor:
    """Images (n, c, h, w) plus 5 by 5 tiles of pyramids, a change of L2 norm eps before clipping to [0, 1]."""
    channels, height, width = images.shape[1:]
    side = max(1, min(height, width) // _TILES)
    tops, lefts = _places(height, side), _places(width, side)
    change = torch.zeros_like(images)
    for top in tops:
        for left in lefts:
            tile = _pyramids(side, channels, random).to(images)
            change[:, :, top : top + side, left : left + side] = tile
    return _cut(images, change, eps)


def propose(
    best: torch.Tensor, images: torch.Tensor, eps: float, side: int, random: Sequence[torch.Generator]
) -> torch.Tensor:
    """`best` with one square changed: it gets the L2 budget of another square, and the budget that is unused."""
    channels, height, width = images.shape[1:]
    side = _odd(side, min(height, width))
    taking, giving = (_windows(random, side, height, width, images.device) for _ in range(2))
    change = best - images
    is_in_either = torch.zeros_like(change[:, :1])
    number = torch.arange(len(images), device=images.device)[:, None, None]
    for rows, columns in (taking, giving):
        is_in_either[number, 0, rows, columns] = 1
    unused = (eps**2 - change.square().sum(dim=(1, 2, 3))).clamp_min(0)[:, None] / channels
    length = ((change * is_in_either).square().sum(dim=(2, 3)) + unused).sqrt()[:, :, None, None]
    # Advanced indexing moves the channels to the last axis.
    old = change[number, :, taking[0], taking[1]].permute(0, 3, 1, 2)
    new = _unit(_pyramids(side, channels, random).to(images) + _unit(old)) * length
    change[number, :, giving[0], giving[1]] = 0
    change[number, :, taking[0], taking[1]] = new.permute(0, 2, 3, 1)
    return _cut(images, change, eps)


def _cut(images: torch.Tensor, change: torch.Tensor, eps: float) -> torch.Tensor:
    length = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)
    cut: torch.Tensor = (images + change * (eps / length.clamp_min(_TINY))).clamp(0, 1)
    return cut


def _unit(squares: torch.Tensor) -> torch.Tensor:
    """Each channel of each square (n, c, side, side) scaled to L2 norm 1; zeros stay zeros."""
    return squares / squares.square().sum(dim=(2, 3), keepdim=True).sqrt().clamp_min(_TINY)


def _places(length: int, side: int) -> range:
    """Offsets of the tiles on an axis: as many as fit, at most _TILES, centred."""
    first = (length - min(_TILES, length // side) * side) // 2
    return range(first, length - side + 1, side)


def _odd(side: int, most: int) -> int:
    side = max(side, _SMALLEST)
    side += side % 2 == 0
    return min(side, most - (most % 2 == 0 and most > 1))


def _windows(
    random: Sequence[torch.Generator], side: int, height: int, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row indices (n, side, 1) and column indices (n, 1, side) of a random square in each image."""
    corners = [(integer(own, height - side + 1), integer(own, width - side + 1)) for own in random]
    places = torch.tensor(corners, device=device)
    along = torch.arange(side, device=device)
    return (places[:, :1] + along)[:, :, None], (places[:, 1:] + along)[:, None, :]


def _pyramids(side: int, channels: int, random: Sequence[torch.Generator]) -> torch.Tensor:
    """(n, channels, side, side): two pyramids, side by side or stacked, with a random sign for each channel."""
    upright = _two_pyramids(side)
    turned = [upright.T if integer(own, 2) else upright for own in random]
    return torch.stack([signs(own, (channels, 1, 1)) * tile for own, tile in zip(random, turned, strict=True)])


@cache
def _two_pyramids(side: int) -> torch.Tensor:
    """(side, side), with L2 norm 1: eta in the paper."""
    half = side // 2
    both = torch.cat([_pyramid(half, side), -_pyramid(side - half, side)])
    unit: torch.Tensor = both / torch.linalg.vector_norm(both)
    return unit


def _pyramid(height: int, width: int) -> torch.Tensor:
    """(height, width): sum of 1 / (k + 1)^2 for k from the distance from the middle on."""
    top = max(height // 2, width // 2)
    sums = torch.tensor([sum(1 / (k + 1) ** 2 for k in range(first, top + 1)) for first in range(top + 1)])
    down = (torch.arange(height) - height // 2).abs()
    across = (torch.arange(width) - width // 2).abs()
    return sums[torch.maximum(down[:, None], across[None, :])]
