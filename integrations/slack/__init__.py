"""Slack: what the outbox posts through, the directory of people and channels, and the signature of its requests."""

from integrations.slack.channels import ChannelNames
from integrations.slack.directory import SlackDirectory
from integrations.slack.files import SlackFiles
from integrations.slack.making import SlackChannels
from integrations.slack.poster import SlackPoster
from integrations.slack.replies import SlackReplies
from integrations.slack.screens import SlackScreens
from integrations.slack.signature import verify_signature
from integrations.slack.web import Granted, SlackWeb, web_client

__all__ = [
    "ChannelNames",
    "Granted",
    "SlackChannels",
    "SlackDirectory",
    "SlackFiles",
    "SlackPoster",
    "SlackReplies",
    "SlackScreens",
    "SlackWeb",
    "verify_signature",
    "web_client",
]
