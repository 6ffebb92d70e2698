"""A day in an address: written out, and one that documents may have."""

from typing import Annotated

from libs.common.days import WRITTEN_DAY
from services.invoicing.bodies import Day

AskedDay = Annotated[Day, WRITTEN_DAY]
