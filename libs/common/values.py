"""Frozen dataclasses that cost what others cost: `@value(frozen=True, slots=True)`.

A dataclass frozen at run time sets each field through `object.__setattr__`, which makes it five times as dear to build
(2.2 instead of 0.4 us for seven fields), and a batch of payments builds twenty for each. So what is made by the
thousand is frozen where that is enforced anyway: for the type checker, to which this is `dataclasses.dataclass`. At run
time nothing is checked; equality and hash are the same.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen: bool, slots: bool, kw_only: bool = False):
        """A dataclass by its fields, with equality and hash."""
        assert frozen, "a value does not change"
        return dataclass(slots=slots, kw_only=kw_only, unsafe_hash=True)


__all__ = ["value"]
