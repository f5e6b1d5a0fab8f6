"""How a call to an outside system can fail. Classes say what to do next, not which library failed.

IntegrationError
├── Unavailable      try later: no answer, 5xx, rate limit (`retry_after_seconds` when they said it)
├── Denied           credentials, scope or plan: a person has to change something
│   └── NotIncluded  the account's plan lacks it (PagerDuty's 402): say so, it is not an error
├── Malformed        they answered something that is not their documented format
└── Refused          the message we sent is not acceptable as it is (Slack's `invalid_blocks`)
"""

from __future__ import annotations

from typing import Any


class IntegrationError(Exception):
    """A call that did not end in records. `system` names whom we asked; the text is safe to log and store."""

    def __init__(self, system: str, message: str) -> None:
        super().__init__(f"{system}: {message}")
        self.system = system
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross to another process and back; the default would call the class with one argument."""
        return _again, (type(self), self.args, self.__dict__)


class Unavailable(IntegrationError):
    """Try again later. `answer_lost` is true when the request may have had its effect all the same."""

    def __init__(
        self,
        system: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        answer_lost: bool = False,
    ) -> None:
        super().__init__(system, message)
        self.retry_after_seconds = retry_after_seconds
        self.answer_lost = answer_lost


class Denied(IntegrationError):
    """Credentials, scope or plan: trying again does not help."""


class NotIncluded(Denied):
    """The account's plan does not include this source."""


class Malformed(IntegrationError):
    """The answer is not in the system's documented format."""


class Refused(IntegrationError):
    """The request was understood and is not acceptable as it is; `code` is the system's own word."""

    def __init__(self, system: str, message: str, *, code: str) -> None:
        super().__init__(system, message)
        self.code = code


class BadSignature(Exception):
    """A delivery that its sender did not sign with a secret we know. The text names the reason, never a value."""


class NotASignal(Exception):
    """A payload that is well-formed and is no alert, change or incident event. The text says why."""


def _again(kind: type[IntegrationError], arguments: tuple[Any, ...], state: dict[str, Any]) -> IntegrationError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(state)
    return error
