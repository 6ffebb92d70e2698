"""Exit codes of the `ledgerbus` command, and the failures that end it with one sentence."""

from enum import IntEnum

from libs.common.errors import Failure


class Exit(IntEnum):
    """What the shell gets."""

    OK = 0
    REFUSED = 1
    """The ledger said no, or a check failed."""
    USAGE = 2
    """The command line is wrong."""
    NOT_RUNNING = 3
    """There is no stack to talk to, or it does not answer."""
    BOOKS_DIFFER = 4
    """The books do not verify, or a balance is not what it should be."""
    INTERRUPTED = 130
    """Ctrl-C."""


class Ended(Failure):
    """Ends the command with a sentence and an exit code."""

    def __init__(self, sentence: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(sentence)
        self.code = code


class NotRunning(Ended):
    """Nobody answers; the sentence says how to start the stack."""

    def __init__(self, sentence: str) -> None:
        super().__init__(f"{sentence}\nStart it with: ledgerbus up", Exit.NOT_RUNNING)
