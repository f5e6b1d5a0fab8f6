"""One self-contained page of a card: the facts, ranked suspects and reasons, evidence. No script, no foreign address.

Everything from outside is escaped by the template; links are those that the card's own policy lets through.
"""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined

from bot.cards.render import render
from bot.cards.state import CardState
from bot.trust.neutralise import LinkPolicy
from bot.types import Ranked, confidence

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ card.incident.id }}</title><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1d1c1d}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;
border-bottom:1px solid #eee}.dim{color:#616061}pre{white-space:pre-wrap;margin:0;font:13px/1.4 ui-monospace,monospace}
.bar{background:#1264a3;height:.6rem;display:inline-block}@media print{body{margin:0;max-width:none}}
</style></head><body>
<h1>{{ sentence }}</h1>
<p class="dim">{{ card.incident.id }} · SEV{{ card.incident.severity }} · since
{{ card.incident.triggered_at.strftime('%Y-%m-%d %H:%M:%S') }} UTC{% if card.incident.on_call %} · on-call
{{ card.incident.on_call }}{% endif %}{% if card.hidden %} · {{ card.hidden }} items hidden{% endif %}</p>
{% if card.fallback %}<p>{{ card.fallback }}</p>{% endif %}
{% if card.summary %}<h2>Summary</h2>{% for claims in (card.summary.cause, card.summary.going_on, card.summary.next) %}
<p>{% for claim in claims %}{{ claim.text }} ({{ claim.evidence|join(', ') }}) {% endfor %}</p>{% endfor %}
{% elif card.no_summary %}<p class="dim">No summary: {{ card.no_summary }}</p>{% endif %}
<h2>Suspects</h2>
{% if not card.suspects %}<p>Nothing stands out.</p>{% else %}<table><tr><th>change</th><th>service</th><th>when</th>
<th></th><th>why</th></tr>{% for s in card.suspects %}<tr><td>{{ s.summary }} ({{ s.mark }})</td><td>{{ s.service }}</td>
<td>{{ s.changed_at.strftime('%H:%M:%S') }} UTC</td><td>{{ word(s.probability) }} {{ '%.2f'|format(s.probability) }}<br>
<span class="bar" style="width:{{ (s.probability * 80)|round|int }}px"></span></td>
<td>{% for r in s.reasons %}{{ r.text }} ({{ r.evidence|join(', ') }})<br>{% endfor %}</td></tr>{% endfor %}</table>{% endif %}
<h2>Services</h2><table>{% for s in card.services %}<tr><td>{{ s.service }}</td><td>{{ '%.2f'|format(s.probability) }}</td>
<td>{% for r in s.reasons %}{{ r.text }} ({{ r.evidence|join(', ') }})<br>{% endfor %}</td></tr>{% endfor %}</table>
<h2>Timeline</h2><table>{% for t in card.timeline %}<tr><td>{{ t.at.strftime('%H:%M:%S') }}</td><td>{{ t.text }}
({{ t.evidence|join(', ') }})</td></tr>{% endfor %}</table>
<h2>Evidence</h2><table>{% for item in evidence %}<tr id="{{ item.mark }}"><td>{{ item.mark }}</td><td>{{ item.kind }}</td>
<td>{% if safe(item.url) %}<a href="{{ safe(item.url) }}" rel="noreferrer">{{ item.title }}</a>{% else %}{{ item.title }}
{% endif %}{% if item.suspicious %} <b>reads like an order to a machine</b>{% endif %}<pre>{{ item.text }}</pre></td></tr>
{% endfor %}</table>
<h2>Sources</h2><p class="dim">{% for s in card.sources %}{{ s.name }}: {{ 'answered' if s.answered else 'no answer' }}
{% if s.note %}({{ s.note }}){% endif %}; {% endfor %}</p>
</body></html>
"""


def page(card: CardState, ranked: Ranked) -> str:
    """The page, filtered exactly as the card is: a restricted card shows its fallback fields and nothing else."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    evidence = () if card.restricted else ranked.evidence
    return environment.from_string(_PAGE).render(
        card=card,
        evidence=evidence,
        sentence=render(card, "minimal").text.splitlines()[0],
        safe=LinkPolicy(card.links).safe,
        word=confidence,
    )
