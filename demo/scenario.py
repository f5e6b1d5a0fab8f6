"""Who works at the shop, and what each system calls its services. Made up; what is measured comes from the record."""

from __future__ import annotations

from dataclasses import dataclass

OWNER = "tea-shop"
"""The organisation on GitHub."""
SUBDOMAIN = "tea-shop"
"""The account on PagerDuty."""
TEAM = ("PTEAMPAY", "payments")
ESCALATION_POLICY = ("PESCPAY", "payments")
SCHEDULE = ("PSCHPAY", "payments")
PRIORITY = ("PPRIO02", "P2")
INCIDENT_ID = "Q1TEASHOP7K2MP"
INCIDENT_NUMBER = 4127
WEBHOOK_SUBSCRIPTION = "PWHSUB1"
DEFAULT_BRANCH = "main"
ENVIRONMENT = "production"


@dataclass(frozen=True, slots=True)
class Service:
    """One service and its names elsewhere."""

    name: str
    pagerduty_id: str
    repository_id: int
    depends_on: tuple[str, ...] = ()

    @property
    def repository(self) -> str:
        return f"{OWNER}/{self.name}"


SERVICES = (
    Service("storefront", "PSVCFRO", 71001, ("checkout-api",)),
    Service("checkout-api", "PSVCCHK", 71002, ("payments", "payments-db")),
    Service("payments", "PSVCPAY", 71003, ("payments-db",)),
    Service("payments-db", "PSVCPDB", 71004),
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at the shop. `slack` is a user id of the local Slack."""

    pagerduty_id: str
    slack: str
    login: str
    name: str
    email: str
    team: str


PEOPLE = (
    Person("PUSRPRI", "U0PRIYA01", "priya-r", "Priya Raman", "priya@tea-shop.example", "payments"),
    Person("PUSRTOM", "U0TOMAS01", "tomas-l", "Tomas Lindqvist", "tomas@tea-shop.example", "payments"),
    Person("PUSRMEI", "U0MEI0001", "mei-c", "Mei Chen", "mei@tea-shop.example", "storefront"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A commit that the recorder makes and deploys, `after_seconds` from the start of the healthy period."""

    service: str
    after_seconds: float
    author: Person
    subject: str
    edits: tuple[tuple[str, str], ...]
    pull_request: int


HEALTHY_SECONDS = 240.0
BROKEN_SECONDS = 170.0
CHANGES = (
    Change("storefront", 60.0, PEOPLE[2], "Show more products on a page", (("page_size = 24", "page_size = 36"),), 311),
    Change(
        "payments",
        150.0,
        PEOPLE[1],
        "Give up on a statement earlier",
        (("statement_timeout_seconds = 2.0", "statement_timeout_seconds = 1.5"),),
        128,
    ),
    Change(
        "checkout-api",
        HEALTHY_SECONDS,
        PEOPLE[1],
        "Move connection settings to the shared defaults",
        (
            ("pool_size = 20", "pool_size = 2"),
            ("statement_timeout_seconds = 2.0", "statement_timeout_seconds = 1.5"),
        ),
        482,
    ),
)
"""The last one is the cause: the shared defaults are those of a batch job."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An alerting rule over one derived series, as it would stand in Prometheus."""

    name: str
    service: str
    series: str
    threshold: float
    for_seconds: float
    severity: str


RULES = (
    Rule("HighErrorRatio", "checkout-api", "http_error_ratio", 0.05, 20.0, "critical"),
    Rule("HighErrorRatio", "storefront", "http_error_ratio", 0.05, 30.0, "critical"),
    Rule("SlowRequests", "checkout-api", "http_latency_p95_seconds", 2.0, 60.0, "warning"),
    Rule("ConnectionPoolExhausted", "checkout-api", "db_pool_wait_seconds", 1.0, 60.0, "warning"),
)

PAST_INCIDENTS = (
    ("QPAST0000001", 3986, "checkout-api: connection pool exhausted", 63, 41.7),
    ("QPAST0000002", 3710, "payments: acquirer does not answer", 148, 22.3),
)
"""Id, number, title, days ago, PagerDuty's similarity score."""


def service(name: str) -> Service:
    """The service of this name. Raises KeyError."""
    return {one.name: one for one in SERVICES}[name]
