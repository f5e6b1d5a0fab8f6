"""What the local Slack cannot do with channels: invite, topic, purpose, and a name that is taken. Kept in the proxy.

Who was invited is a member by the Web API and by the events that the bot hears; the local Slack's own page shows the
channel to those alone whom its configuration names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

METHODS = ("conversations.invite", "conversations.setTopic", "conversations.setPurpose")


class MadeChannels:
    """Channels that the app made, and what was done to them."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        """Name to id."""
        self.invited: dict[str, list[str]] = {}
        self.said: dict[str, dict[str, str]] = {}
        """Channel to topic and purpose."""

    def reset(self) -> None:
        self.names.clear()
        self.invited.clear()
        self.said.clear()

    def refused(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """Slack's answer where a name is taken already."""
        taken = method == "conversations.create" and arguments.get("name") in self.names
        return {"ok": False, "error": "name_taken"} if taken else None

    def answer(self, method: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The answer of one of `METHODS`, and the events that follow from it."""
        channel = str(arguments.get("channel"))
        if method != "conversations.invite":
            key = method.removeprefix("conversations.set").lower()
            self.said.setdefault(channel, {})[key] = str(arguments.get(key, ""))
            return {"ok": True, "channel": {"id": channel}}, []
        there = self.invited.setdefault(channel, [])
        new = [one for one in str(arguments.get("users", "")).split(",") if one and one not in there]
        there += new
        joined = [
            {"type": "member_joined_channel", "user": one, "channel": channel, "channel_type": "G"} for one in new
        ]
        return {"ok": True, "channel": {"id": channel}}, joined

    def seen(self, method: str, arguments: Mapping[str, Any], content: bytes) -> bytes:
        """The local Slack's answer with what is known here."""
        if method not in ("conversations.create", "conversations.members", "users.conversations"):
            return content
        try:
            answer = json.loads(content)
        except ValueError:
            return content
        if not isinstance(answer, dict) or answer.get("ok") is not True:
            return content
        if method == "conversations.create":
            self.names[str(arguments.get("name"))] = str(answer["channel"]["id"])
            return content
        if method == "conversations.members":
            answer["members"] += list(self.invited.get(str(arguments.get("channel")), ()))
        else:
            made = set(self.names.values())
            answer["channels"] = [
                {**one, **({"creator": "U0SITREP1"} if one.get("id") in made else {})} for one in answer["channels"]
            ]
        return json.dumps(answer).encode()
