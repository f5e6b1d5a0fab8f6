"""Whatever the texts are, every private answer, form and Home tab is inside Slack's limits and mentions nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bot.cards import private
from bot.cards.actions import ActionValue
from bot.cards.limits import view_violations, violations
from bot.cards.private import Answered, CatchUp, Found, Happened
from bot.cards.samples import incident
from bot.cards.state import CardState
from bot.flows.desk import DeskStatus, IncidentLine
from bot.flows.drafts import MAX_DRAFT, _blocks, _text
from bot.flows.home import HomeTold, Spent
from bot.flows.labels import LabelChoices
from bot.flows.reading import SimilarIncident
from bot.listeners import answers, home, modals
from bot.trust.neutralise import units
from bot.types import Claim
from integrations.records import Incident
from tests.support.card_strategies import outside, states
from tests.support.desk import AT

TEXT = outside
FORMS = st.sampled_from(["modern", "classic"])
LINES = st.lists(
    st.builds(
        IncidentLine, st.from_regex(r"[A-Z0-9]{1,60}", fullmatch=True), st.none() | st.integers(0, 10**9),
        st.integers(1, 5), st.just("triggered"), TEXT, st.just(AT), st.none() | st.just("C0PAYMENTS"),
    ),
    max_size=30, unique_by=lambda line: line.id,
)  # fmt: skip
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)


class Held:
    """A state with a short repr, since Hypothesis prints what fails."""

    def __init__(self, state: CardState) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"Held({self.state.phase}, {self.state.incident.id[:60]!r}, …)"


def harmless(shown: object) -> None:
    """No mention, broadcast or group of somebody else's making, where Slack would read one."""
    for text in parsed(shown):
        for sign in ("<!channel", "<!here", "<!everyone", "<!subteam", "<@U", "<#C0123"):
            assert sign not in text, sign


def parsed(shown: object) -> Iterator[str]:
    """Texts that Slack parses: mrkdwn, and a message's own text; plain_text and rich text are data."""
    if isinstance(shown, str):
        yield shown
    elif isinstance(shown, list):
        for one in shown:
            yield from parsed(one)
    elif isinstance(shown, dict):
        if shown.get("type") == "mrkdwn":
            yield shown["text"]
        for value in shown.values():
            if isinstance(value, dict | list):
                yield from parsed(value)


@FEW
@given(held=states.map(Held), form=FORMS, words=TEXT, happened=st.lists(TEXT, max_size=12))
def test_private_answers(held: Held, form: str, words: str, happened: list[str]) -> None:
    state = held.state
    marks = [item.mark for item in state.evidence]
    cited = Claim(text=words or "x", evidence=tuple(marks[:2]))
    made = [
        private.timeline(state, form), private.suspects(state, form),
        private.catch_up(CatchUp(state, [Happened(AT, one) for one in happened]), form),
        private.answer(Answered(state, words, claims=(cited,) * 4, searched=words), form),
        private.answer(Answered(state, words, found=tuple(map(Found, marks[:6])), why=words or "off"), form),
        private.answer(Answered(state, words), form),
    ]  # fmt: skip
    for drawn in made:
        assert violations(drawn.text, drawn.blocks) == []
        harmless([drawn.text, drawn.blocks])


@FEW
@given(held=states.map(Held), words=TEXT, channel=st.just("C0PAYMENTS"))
def test_forms(held: Held, words: str, channel: str) -> None:
    state = held.state
    about = ActionValue("P8K2Q1", 7, state.suspects[0].mark if state.suspects else "")
    choices = LabelChoices(
        _incident(words, state.incident.id),
        7,
        state.suspects,
        [one for one in dict.fromkeys([words, "checkout-api"]) if one],
    )
    draft = _text(state, words)
    assert units(draft) <= MAX_DRAFT
    for view in (
        modals.label_form(choices, about, channel), modals.note_form(about, channel), modals.ask_form(about, channel),
        modals.draft_form(draft, about, channel, '{"m":[],"w":false}'),
    ):  # fmt: skip
        assert view_violations(view) == []
    blocks = _blocks(state, f"{draft}\n{words}", "payments")
    assert violations("x", blocks) == []
    harmless(blocks)


@FEW
@given(lines=LINES, words=TEXT, usd=st.floats(0, 1e6))
def test_home_and_lists(lines: list[IncidentLine], words: str, usd: float) -> None:
    status = DeskStatus(lines, 3, words, 2, [words] * 3)
    told = HomeTold(status, lines[:5], [1] * len(lines[:5]), True, [Spent("today", usd, None), Spent("x", 0, usd)], AT)
    view = home.view(told)
    assert view_violations(view) == []
    harmless(view)
    alike = [
        SimilarIncident(one.id, one.number, words, words, AT - timedelta(days=1), (words,), words) for one in lines
    ]
    shown = [
        answers.status(status), answers.menu(lines, words[:60], "1.2.x" * 60), answers.which_to_merge(lines),
        answers.why([words or "x"] * 9), answers.labelled(words), answers.refused(words),
    ]  # fmt: skip
    if lines:
        shown += [answers.similar(lines[0], alike), answers.what_to_split(lines[0], [words, "b"], [])]
    for answer in shown:
        assert violations(answer.text or "–", answer.blocks) == []
        harmless([answer.text, list(answer.blocks)])


def _incident(title: str, incident_id: str) -> Incident:
    return incident().model_copy(update={"title": title, "id": incident_id})
