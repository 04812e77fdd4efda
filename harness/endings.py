"""How a command ends: well, stopped by a key, or with one line about what a person can fix."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from harness.errors import HarnessError

OF_THE_DISK = (errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT)
"""Errors of the system that a person can fix: it may not write or read there, or has no room left."""


@contextmanager
def stopped_by_a_key() -> Iterator[None]:
    """Say what Ctrl-C has ended: left alone, typer ends with 130 and without a word."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; run the same command again and it goes on from here", err=True)
        raise typer.Exit(130) from None


def to_its_end(command: Callable[[], object]) -> None:
    """Exit codes: 0 well; 1 failed stages, or cancelled; 2 something that a person can fix; else a traceback."""
    try:
        _blamed(command)
    except HarnessError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"{place}{error.strerror}; nothing that is finished is lost: mend that, and run it again", err=True)
        sys.exit(HarnessError.exit_code)


def _blamed(command: Callable[[], object]) -> None:
    """Run it; an exception out of a file of $HARNESS_PLUGINS is that plug-in's mistake.

    Raises:
        PluginError: with the place in the plug-in.
    """
    try:
        command()
    except HarnessError:
        raise
    except Exception as error:
        from harness.registry import PluginError, blame, said_of

        place = "" if isinstance(error, OSError) and error.errno in OF_THE_DISK else blame(error)
        if not place:
            raise
        raise PluginError(f"{place}: {said_of(error)}; a mistake in this plug-in") from error
