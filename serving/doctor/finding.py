"""Checks and their findings."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ServingError


class Level(enum.Enum):
    """The result of a check."""

    OK = "ok"
    #: Calls succeed, but slowly, or will fail later.
    WARNING = "warning"
    #: Calls fail, answers are wrong, or strangers can read them.
    PROBLEM = "problem"
    #: The measurement failed; the finding gives the reason.
    UNKNOWN = "not known"


#: The level, and the measurement in words.
Result = tuple[Level, str]


def ok(found: str) -> Result:
    """A result without a fault."""
    return Level.OK, found


def warning(found: str) -> Result:
    """A result that is worth a change of the settings."""
    return Level.WARNING, found


def problem(found: str) -> Result:
    """A result that needs a change of the settings."""
    return Level.PROBLEM, found


def unknown(found: str) -> Result:
    """The result of a failed measurement."""
    return Level.UNKNOWN, found


class NotKnown(Exception):
    """A measurement for a check failed; the message is the reason."""


@dataclass(frozen=True)
class Finding:
    """The finding of a check.

    Attributes:
        check: the check's name.
        level: the result.
        found: the measurement in words, or the reason why it failed.
        advice: the remedy of a fault; empty without a fault.
    """

    check: str
    level: Level
    found: str
    advice: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether it is a warning or a problem."""
        return self.level in (Level.WARNING, Level.PROBLEM)


@dataclass(frozen=True)
class Check:
    """A check of a server.

    Attributes:
        name: in the output, for ``--ignore`` and in JSON.
        measures: the measurement, and the values that are a fault.
        advice: the remedy of a fault.
        function: measures a Probe; raises NotKnown or a ServingError if it cannot.
    """

    name: str
    measures: str
    advice: str
    function: Callable[..., Result]

    def made(self, subject: Any) -> Finding:
        """Run the check."""
        try:
            level, found = self.function(subject)
        except (NotKnown, ServingError) as error:
            level, found = Level.UNKNOWN, str(error)
        finding = Finding(self.name, level, found)
        return replace(finding, advice=self.advice) if finding.is_fault else finding


def check(measures: str, advice: str) -> Callable[[Callable[..., Result]], Check]:
    """A decorator that makes a check of a function. The check has the function's name, with hyphens."""
    return lambda function: Check(function.__name__.replace("_", "-"), measures, advice, function)
