"""A day in an address: written out, and one that documents may have.

A file of its own because neither may know the other: bodies are said without pydantic, and `libs.common.days` knows no
documents.
"""

from typing import Annotated

from libs.common.days import WRITTEN_DAY
from services.invoicing.bodies import Day

AskedDay = Annotated[Day, WRITTEN_DAY]
