# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches that training goes round, and what a teacher says of them."""

from torch import Tensor

Lesson = tuple[Tensor | None, ...]


class Lessons:
    """Up to ``count`` lessons of the same shapes, by number.

    They lie in one block of memory for each part: tensors of their own would leave holes among what each step takes and
    gives back, which made a process several times as large as what it kept.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._blocks: Lesson = ()
        self._made: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return number in self._made

    def __getitem__(self, number: int) -> Lesson:
        return tuple(None if block is None else block[number] for block in self._blocks)

    def keep(self, number: int, lesson: Lesson) -> None:
        if not self._made:
            self._blocks = tuple(
                None if part is None else part.new_empty((self._count, *part.shape)) for part in lesson
            )
        for block, part in zip(self._blocks, lesson, strict=True):
            if block is not None:
                block[number] = part
        self._made.add(number)
