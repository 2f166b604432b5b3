"""Every error that Surestep raises on purpose.

    SurestepError                 the user can mend it; one line, exit code 2
    ├── ConfigError               a setting is unknown, out of range or contradicts another
    ├── DataError                 a data file is missing, cut, malformed or out of range
    │   └── BadRowError           one row contradicts its layout; the file around it can be read
    ├── DownloadError             a download failed or its checksum differs
    ├── UploadError               the hub does not take an upload
    ├── BackboneError             a backbone or tokenizer cannot be loaded or used
    ├── CheckpointError           a checkpoint is missing, incomplete, changed or of another format
    ├── DeviceError               the hardware asked for is not there
    │   └── DoesNotFitError       what was asked for needs more memory than there is
    ├── ProcessesError            another process of the same run has ended or does not answer
    ├── ServerError               a server cannot be reached, has no time, or does not know the key
    ├── InputError                what was handed over to be scored is of the wrong type or out of range
    │   └── UnreadableAnswerError an answer holds no steps that can be told apart; the request around it is fine
    ├── StorageError              the disk is full or a folder cannot be written
    └── LockedError               another process works in a run's folder

Anything else that escapes is a bug of Surestep and keeps its traceback. A message says what was
wrong, where, what is allowed and which flag or field mends it, in one line.
"""

from __future__ import annotations

from pathlib import Path


class SurestepError(Exception):
    """Base of all errors whose cause is the input, the settings or the machine.

    Its message is one line, whatever a library or a file put into it.

    >>> str(SurestepError("not valid:\\n  two lines"))
    'not valid: two lines'
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class ConfigError(SurestepError, ValueError):
    """A setting is unknown, out of range, or contradicts another."""

    def __init__(self, problems: str | list[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class DataError(SurestepError):
    """A data file is missing, cut, malformed, or holds a value outside its range.

    `path` and `line` (1-based), where known, are put in front of the message.
    """

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.line = line
        where = "" if path is None else f"{path}{'' if line is None else f', line {line}'}: "
        super().__init__(where + message)


class BadRowError(DataError):
    """One row or record contradicts its layout, in a file that is otherwise whole.

    Args:
        reason: what is wrong with it.
        path: its file.
        line: the 1-based line on which it begins.
        number: 1-based count among the records of a .json file, where a line may hold many; else 0.
    """

    def __init__(
        self, reason: str, *, path: Path | str | None = None, line: int | None = None, number: int = 0
    ) -> None:
        self.reason = reason
        self.number = number
        super().__init__(f"record {number}: {reason}" if number else reason, path=path, line=line)

    @property
    def place(self) -> str:
        """File name and line (or record, where a line may hold many), for reports."""
        name = "" if self.path is None else self.path.name
        return f"{name}, record {self.number}" if self.number else f"{name}, line {self.line}"


class DownloadError(SurestepError):
    """A download failed, or what came differs from the expected checksum."""


class UploadError(SurestepError):
    """The hub does not answer, does not take an upload, or the name is taken."""


class BackboneError(SurestepError):
    """A backbone or tokenizer cannot be loaded, or cannot score steps."""


class CheckpointError(SurestepError):
    """A checkpoint is missing, incomplete, changed, or written by another format."""


class DeviceError(SurestepError):
    """The hardware that a setting asks for is not there."""


class DoesNotFitError(DeviceError):
    """What was asked for needs more memory than there is: by arithmetic, or because it ran out.

    Args:
        message: what, where, and what to do.
        needs_gb: what it needs at least, in 1e9 bytes; None where that is not known.
        has_gb: what there is; None where that was not asked.
    """

    def __init__(self, message: str, *, needs_gb: float | None = None, has_gb: float | None = None) -> None:
        self.needs_gb, self.has_gb = needs_gb, has_gb
        super().__init__(message)


def is_out_of_memory(error: BaseException) -> bool:
    """Ours, Python's own, or torch's for a GPU (known by name, for torch may not be loaded) or for the CPU."""
    if isinstance(error, DoesNotFitError | MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = str(error)
    return "CUDA error: out of memory" in words or ("DefaultCPUAllocator" in words and "memory" in words)


class ProcessesError(SurestepError):
    """Another process of the same run has ended, or does not answer."""


class InputError(SurestepError, ValueError):
    """What was handed over to be scored (an argument, a row, a request) is of the wrong type or out of range."""


class ServerError(SurestepError):
    """A server cannot be reached, has no time or no room, does not know the API key, or failed."""


class UnreadableAnswerError(InputError):
    """A generated answer cannot be read: empty, a thought without an end, text behind its end.

    What a policy in training writes now and then, so whoever asks for rewards may name one for it.
    """


class StorageError(SurestepError):
    """The disk is full, or a folder cannot be written."""


class LockedError(SurestepError):
    """Another process works in the folder."""
