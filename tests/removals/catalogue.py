"""The whole list of removals."""

from tests.removals.closing import CLOSING
from tests.removals.deferring import DEFERRING
from tests.removals.entering import ENTERING
from tests.removals.following import FOLLOWING
from tests.removals.guarding import GUARDING
from tests.removals.holding import HOLDING
from tests.removals.issuing import ISSUING
from tests.removals.listening import LISTENING
from tests.removals.messaging import MESSAGING
from tests.removals.proving import PROVING
from tests.removals.reaching import REACHING
from tests.removals.receiving import RECEIVING
from tests.removals.removal import Removal
from tests.removals.repeating import REPEATING
from tests.removals.settling import SETTLING
from tests.removals.summing import SUMMING
from tests.removals.waiting import WAITING
from tests.removals.writing import WRITING

REMOVALS: tuple[Removal, ...] = (
    *WRITING, *HOLDING, *CLOSING, *GUARDING, *MESSAGING, *ENTERING, *SUMMING, *RECEIVING, *LISTENING, *ISSUING,
    *SETTLING, *WAITING, *REPEATING, *DEFERRING, *FOLLOWING, *REACHING, *PROVING,
)  # fmt: skip
