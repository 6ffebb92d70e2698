"""The whole list of removals."""

from tests.removals.closing import CLOSING
from tests.removals.entering import ENTERING
from tests.removals.guarding import GUARDING
from tests.removals.holding import HOLDING
from tests.removals.messaging import MESSAGING
from tests.removals.removal import Removal
from tests.removals.writing import WRITING

REMOVALS: tuple[Removal, ...] = (*WRITING, *HOLDING, *CLOSING, *GUARDING, *MESSAGING, *ENTERING)
