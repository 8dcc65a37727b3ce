"""The tree of errors. Bad input raises nothing else.

    FvcError                    exit code 1
    ├── UsageError              2   an argument is out of range, unknown, or does not go with another
    │   └── OptionError             the same of a named option
    ├── InputError              3   a video or picture cannot be used (missing, not a video, no face in it ...)
    ├── StreamError             4   a .fvc or .fvs breaks the rules of bitstream_spec.md; `.rule` names the rule
    ├── SourcesError            5   the sources are not those that the stream was made for
    ├── OutputError             6   the result cannot be written
    └── LinkError               7   the other side of a call does not answer, or refuses

Each message is one line that names the file and the fault. Names of options stand in backticks, as in Python:
`on_command_line` gives the same message with the flags of the command line.
"""

from __future__ import annotations

import re


class FvcError(Exception):
    """Base of all errors that `fvc` raises on purpose."""

    exit_code = 1

    def on_command_line(self) -> str:
        """The message for a user of the command line: `keyframe_interval` becomes --keyframe-interval."""
        return in_flags(str(self))


def in_flags(text: str) -> str:
    """Replaces the names of options in backticks by the flags of the command line."""
    return re.sub(r"`(\w+)`", lambda match: _flag(match[1]), text)


def _flag(option: str) -> str:
    return "--force" if option == "overwrite" else f"--{option.replace('_', '-')}"


class UsageError(FvcError):
    """An argument is invalid (a frame rate of zero, an unknown profile ...)."""

    exit_code = 2


class OptionError(UsageError):
    """An option's value is out of range, unknown, or does not go with another option.

    Attributes:
        option: its name in Python, e.g. "keyframe_interval".
        value: what it was set to.
        fault: what is wrong with that.
    """

    def __init__(self, option: str, value: object, fault: str) -> None:
        super().__init__(f"{option} {value}: {fault}")
        self.option, self.value, self.fault = option, value, fault

    def on_command_line(self) -> str:
        return f"{_flag(self.option)} {self.value}: {in_flags(self.fault)}"


class InputError(FvcError):
    """A video or a picture cannot be read or holds nothing that can be coded."""

    exit_code = 3


class StreamError(FvcError):
    """Bytes break a numbered rule of bitstream_spec.md.

    Attributes:
        rule: the rule's name in the specification, e.g. "E03".
        fault: the message without the rule.
    """

    exit_code = 4

    def __init__(self, rule: str, fault: str) -> None:
        super().__init__(f"{fault} [{rule}]")
        self.rule, self.fault = rule, fault

    def within(self, name: str) -> StreamError:
        """The same error, with the file's name before the message."""
        return StreamError(self.rule, f"{name}: {self.fault}")


class SourcesError(FvcError):
    """The source frames do not belong to the stream, or the stream to the installed weights."""

    exit_code = 5


class OutputError(FvcError):
    """The result cannot be written where it was asked for."""

    exit_code = 6


class LinkError(FvcError):
    """The other side of a call does not answer, refuses the call, or was never heard from."""

    exit_code = 7
