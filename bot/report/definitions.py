"""One definition of each figure; docs/metrics.md says the same, and a test compares them."""

from __future__ import annotations

DEFINITIONS: tuple[tuple[str, str], ...] = (
    ("incident of the week", "its triggered_at lies in the week, Monday 00:00 to Monday 00:00 of the team's time zone"),
    ("what was known", "everything as it was known at the end of the week; later corrections make another report"),
    ("MTTA", "mean of acknowledged − triggered, over incidents that somebody acknowledged"),
    ("MTTR mean, median, p90", "of resolved − triggered, over incidents that were resolved by the end of the week"),
    (
        "restricted mean",
        "mean of min(time to resolve, τ): the area under the Kaplan-Meier curve up to τ; open incidents count for as "
        "long as they have been open",
    ),
    ("geometric mean", "exponential of the mean of log minutes of mature units, capped at τ"),
    (
        "unit",
        "incidents that share one assignment: each began at most 60 min after another of them that shares its service "
        "or an edge of the call graph",
    ),
    ("mature", "the unit began at least τ ago; it is read then, once, and what is unresolved is capped at τ"),
    ("ratio", "minutes with the treatment over minutes without; 0.8 is 20 % faster"),
    (
        "interval",
        "every ratio that the e-process has not rejected with 95 % certainty at this or any earlier look: it holds at "
        "every look",
    ),
    ("planned", "re-randomisation test with O'Brien-Fleming spending of 5 % over the horizon (Lan and DeMets)"),
    ("open", "e-process over complete blocks of four, threshold 40 a side: it holds at any look, for ever"),
    ("harm", "e-value for slower: above 10 a warning, above 20 the model is paused"),
    (
        "sample ratio",
        "units whose recorded arm the seed does not give; e-value on the arms of lost units, alarm above 20",
    ),
    ("exposure", "whether the card was out before somebody acknowledged, and before the end; analysis ignores it"),
    ("crossover", "somebody asked for what the incident's arm withholds; analysed as assigned"),
    ("cost per triage", "dollars of model calls in the week over triages in the week"),
    ("cost per released summary", "dollars of model calls in the week over triages whose summary was shown"),
    (
        "cost of requests",
        "every attempt at a model that was reserved in the week, by use and model; not settled yet counts as reserved",
    ),
    ("outcome", "how the triages ended that began in the week; one enum everywhere"),
    ("hidden", "evidence items that not every reader of a card may read; their count is kept, never the item"),
    (
        "cost per minute saved",
        "Fieller's 95 % interval of dollars over minutes a unit; none where minutes may not be saved",
    ),
    (
        "first suspect right",
        "incidents whose latest label by a person names the first suspect's change, of those labelled",
    ),
    ("rejected", "answers that the checks rejected, of answers that a model gave"),
    (
        "failed-deployment recovery",
        "time to resolve of incidents whose latest label by a person names a deployment: a deploy, rollout, release or "
        "merge, no flag and no config (DORA)",
    ),
)
