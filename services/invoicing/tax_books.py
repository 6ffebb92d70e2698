"""What the books say of tax that is due, as plain values. Minor units, what is owed to the tax office positive."""

from typing import NamedTuple
from uuid import UUID


class Booked(NamedTuple):
    """What one entry moved on the accounts of tax that is due. `is_posted`: at the sequence asked."""

    document: str
    purpose: str
    posting: UUID
    currency: str
    amount: int
    is_posted: bool


class AccountMovement(NamedTuple):
    """The accounts of tax that is due: what is there of the report's entries, and what moved in its days."""

    currency: str
    reported: int
    in_period: int
    of_others: int
    of_other_tax_points: int
    in_other_periods: int
