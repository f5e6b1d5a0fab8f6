"""Alertmanager's own word on what fires: `/api/v2/alerts`, for when a webhook was cut short by `max_alerts`.

Source: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml. Errors are bare JSON strings.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from integrations.alerts.alertmanager import AlertmanagerParser
from integrations.errors import Malformed
from integrations.http import Api, Egress, client
from integrations.reading import mapping, moment, objects
from integrations.records import Alert

SETTLED = timedelta(minutes=5)
"""A younger Alertmanager may not have heard of everything yet."""


class AlertmanagerApi:
    """Asks one Alertmanager. `url` is its address, `token` a bearer token of whatever stands before it."""

    def __init__(self, url: str, egress: Egress, *, token: str | None = None, timeout_seconds: float = 10.0) -> None:
        headers = {"Accept": "application/json", "User-Agent": "sitrep"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        http = client(egress, "alertmanager", url, headers=headers, timeout_seconds=timeout_seconds)
        self._api = Api(
            "alertmanager", http, credential="SITREP_SOURCE_ALERTMANAGER_TOKEN",
            address="[sources.alertmanager] url", timeout_seconds=timeout_seconds,
        )  # fmt: skip
        self._parser = AlertmanagerParser()

    async def firing(self, now: datetime) -> tuple[list[Alert], bool]:
        """What fires now, silenced and inhibited alerts included (`extra` names each one's receivers), and whether the
        list can be believed to be whole: an Alertmanager that has just started knows less than there is."""
        status = mapping(await self._api.json("api/v2/status"))
        started = moment(status.get("uptime"))
        listed = await self._api.json("api/v2/alerts")
        if not isinstance(listed, list):
            raise Malformed("alertmanager", "a list of alerts that is no list")
        alerts = self._parser.parse(list(objects(listed)), now) if listed else []
        return alerts, started is not None and now - started >= SETTLED

    async def aclose(self) -> None:
        await self._api.aclose()
