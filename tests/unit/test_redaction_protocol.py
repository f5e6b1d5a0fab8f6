"""What systems say about a message (its type, its id) stays as it was, whatever stands beside it.

One random id in five hundred, joined with the word after it, reads as a key: the event lost its type, was kept as
unknown, and its incident missed an acknowledgement.
"""

from __future__ import annotations

import random
import string

import pytest

from bot.trust.redaction import Redactor
from bot.trust.redaction.values import redact_value

REDACTOR = Redactor((b"k" * 32,))
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ids(shape: str, count: int) -> list[str]:
    rng = random.Random(shape)
    letters = {"ulid": CROCKFORD, "hex": "0123456789ABCDEF", "short": string.ascii_uppercase + string.digits}[shape]
    length = {"ulid": 24, "hex": 26, "short": 13}[shape]
    begins = {"ulid": "01", "hex": "", "short": "Q"}[shape]
    return [begins + "".join(rng.choices(letters, k=length)) for _ in range(count)]


def event(identifier: str) -> dict[str, object]:
    return {
        "event": {
            "id": identifier,
            "event_type": "incident.acknowledged",
            "resource_type": "incident",
            "data": {"id": identifier, "type": "incident", "status": "acknowledged", "incident_key": identifier},
        }
    }


@pytest.mark.parametrize("shape", ["ulid", "hex", "short"])
def test_no_id_of_three_thousand_changes_what_an_event_is(shape):
    events = [event(one) for one in [*ids(shape, 3000), "FB03F6AFE78C4F90BF1CDCB997", "EAAF2967BA3942828DE3243547"]]
    assert redact_value(REDACTOR, events) == events


def test_a_key_that_is_cut_in_two_is_still_found():
    key = "wJalrXUtnFEMIq7MDENGbPxRfiCYzEXAMPLEKEY9"
    told = str(redact_value(REDACTOR, {"first_part": key[:18], "second_part": key[18:]}))
    assert key[:18] not in told and key[18:] not in told
