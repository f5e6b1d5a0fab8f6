"""Records that pass through a process unread."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

T = TypeVar("T")


class Packed(Sequence[T]):
    """Records as bytes: made in one process and read in another, while the one between passes them on unread.

    `parts` are (service, count, pickled tuple of its records), made by `pack` in a process of ours and by nobody else.
    """

    def __init__(self, parts: Iterable[tuple[str, int, bytes]]) -> None:
        self.parts = tuple(parts)
        self._read: tuple[T, ...] | None = None

    @staticmethod
    def pack(records: Iterable[Any]) -> list[tuple[str, int, bytes]]:
        """One part a service, in order of its first record."""
        grouped: dict[str, list[Any]] = {}
        for record in records:
            grouped.setdefault(record.service, []).append(record)
        return [(name, len(some), pickle.dumps(tuple(some), pickle.HIGHEST_PROTOCOL)) for name, some in grouped.items()]

    @property
    def services(self) -> frozenset[str]:
        return frozenset(name for name, _, _ in self.parts)

    def _records(self) -> tuple[T, ...]:
        if self._read is None:
            self._read = tuple(one for _, _, part in self.parts for one in pickle.loads(part))  # noqa: S301 - our own
        return self._read

    def __len__(self) -> int:
        return sum(count for _, count, _ in self.parts)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._records()[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._records())

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self.parts,)
