"""What makes a command end with 2, in one line."""

import sys
from typing import Self

import click


class CannotRun(click.ClickException):
    """The command cannot do its work; the message says why and, where one can, what to do."""

    exit_code = 2

    @classmethod
    def of(cls, exc: BaseException) -> Self | None:
        """The failures of the shell that are no mistake of ours, by their modules only if those were imported."""
        for module, names in _KNOWN.items():
            kinds = tuple(getattr(sys.modules[module], name) for name in names) if module in sys.modules else ()
            if isinstance(exc, kinds):
                return cls(str(exc))
        if isinstance(exc, OSError) and exc.filename is not None:
            return cls(f"{exc.filename}: {exc.strerror}")
        return None


# Importing them here would make `zhinao --help` slow.
_KNOWN = {
    "streams.settings": ("SettingsError",),
    "streams.recording": ("RecordingError",),
    "streams.broker": ("BrokerError",),
    "streams.city": ("CityProblems",),
    "streams.contracts": ("CatalogueError",),
    "streams.store": ("StoreError", "StoreFenced"),
    "streams.journal": ("JournalError",),
    "streams.archive": ("ArchiveError",),
    "streams.backup": ("BackupError",),
    "kafka.errors": ("KafkaError",),
}


def one_line(exc: click.ClickException, prog: str) -> str:
    """`zhinao feed: missing argument 'RECORDING' (zhinao feed --help)`."""
    message = exc.format_message().strip().rstrip(".")
    if isinstance(exc, click.UsageError):
        where = exc.ctx.command_path if exc.ctx is not None else prog
        message = " ".join(message.split())
        return f"{where}: {message[:1].lower()}{message[1:]} ({where} --help)"
    return f"{prog}: {message}"
