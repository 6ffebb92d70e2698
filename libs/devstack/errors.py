"""What can go wrong while starting the local stack, each with a way out.

StackError
├── StartError      a part did not come up, or died while starting
├── FolderInUseError      another live program works on the same folder
├── WrongVersionError     the folder was written by another major version
└── FetchError      a file of Kafka could not be fetched, or is not the pinned one
"""


class StackError(Exception):
    """A sentence for the person at the terminal and what to do next; `str()` gives both."""

    def __init__(self, sentence: str, way_out: str) -> None:
        super().__init__(f"{sentence}\n  -> {way_out}")
        self.sentence = sentence
        self.way_out = way_out


class StartError(StackError):
    """A part did not become ready; the sentence ends with its last log lines."""


class FolderInUseError(StackError):
    """Another live program works on the same folder."""


class WrongVersionError(StackError):
    """The folder was written by another major version of the same part."""


class FetchError(StackError):
    """A pinned file could not be fetched, or its checksum differs."""
