"""PagerDuty, Prometheus, Jaeger and GitHub on loopback, answering from the recording: a double of the outside world."""

from demo.systems.faults import Faults
from demo.systems.server import Systems

__all__ = ["Faults", "Systems"]
