"""What can go wrong while starting the local stack, each with a way out.

StackError
├── StartFailed      a part did not come up, or died while starting
├── FolderInUse      another live program works on the same folder
├── WrongVersion     the folder was written by another major version
└── FetchFailed      a file of Kafka could not be fetched, or is not the pinned one
"""


class StackError(Exception):
    """A sentence for the person at the terminal and what to do next; `str()` gives both."""

    def __init__(self, sentence: str, way_out: str) -> None:
        super().__init__(f"{sentence}\n  -> {way_out}")
        self.sentence = sentence
        self.way_out = way_out


class StartFailed(StackError):
    """A part did not become ready; the sentence ends with its last log lines."""


class FolderInUse(StackError):
    """Another live program works on the same folder."""


class WrongVersion(StackError):
    """The folder was written by another major version of the same part."""


class FetchFailed(StackError):
    """A pinned file could not be fetched, or its checksum differs."""
