"""A check, as data and a function, and its findings."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ServingError


class Level(enum.Enum):
    """How a check ended."""

    OK = "ok"
    #: Works, but slowly or not for long.
    WARNING = "warning"
    #: Calls fail, answers are wrong, or others can read them.
    PROBLEM = "problem"
    #: It could not be measured; the finding says why.
    UNKNOWN = "not known"


#: The level, and what was measured in words.
Result = tuple[Level, str]


def ok(found: str) -> Result:
    """Nothing is off."""
    return Level.OK, found


def warning(found: str) -> Result:
    """Something is worth a change."""
    return Level.WARNING, found


def problem(found: str) -> Result:
    """Something is wrong."""
    return Level.PROBLEM, found


def unknown(found: str) -> Result:
    """It could not be measured."""
    return Level.UNKNOWN, found


class NotKnown(Exception):
    """A measurement for a check failed; the message is the reason."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name.
        level: how it ended.
        found: what was measured.
        advice: what to do; empty where nothing is to be done.
    """

    check: str
    level: Level
    found: str
    advice: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether something is to be done."""
        return self.level in (Level.WARNING, Level.PROBLEM)


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: for people, ``--ignore`` and JSON.
        measures: what is measured, and when that is a fault.
        advice: what to do about a fault.
        function: makes the measurement of a Probe; raises NotKnown, or a ServingError, where it cannot.
    """

    name: str
    measures: str
    advice: str
    function: Callable[..., Result]

    def made(self, subject: Any) -> Finding:
        """Make it."""
        try:
            level, found = self.function(subject)
        except (NotKnown, ServingError) as error:
            level, found = Level.UNKNOWN, str(error)
        finding = Finding(self.name, level, found)
        return replace(finding, advice=self.advice) if finding.is_fault else finding


def check(measures: str, advice: str) -> Callable[[Callable[..., Result]], Check]:
    """Make a check of a function, under its name with hyphens."""
    return lambda function: Check(function.__name__.replace("_", "-"), measures, advice, function)
