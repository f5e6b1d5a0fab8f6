"""Usual names of an alert's fields, lower case without punctuation, best first; and names of what is beside it."""

from __future__ import annotations

import re

TITLE = (
    "title", "alerttitle", "alertname", "messagetitle", "eventtitle", "incidenttitle", "problemtitle", "summary",
    "headline", "subject", "rulename", "alertrule", "monitorname", "alarmname", "checkname", "conditionname",
    "policyname",
    "displayname", "name", "eventname", "shortdescription", "msg", "message", "text", "alert", "description",
    "problem", "reason", "body", "check", "rule", "output", "details",
)  # fmt: skip
SEVERITY = (
    "severity", "alertseverity", "severitylevel", "eventseverity", "problemseverity", "sev", "level", "alertlevel",
    "loglevel", "criticality", "priority", "alertpriority", "urgency", "impact", "alerttype", "importance",
)  # fmt: skip
STATUS = (
    "status", "alertstatus", "state", "alertstate", "currentstate", "newstate", "newstatevalue", "statevalue",
    "statusextended", "overallstate", "problemstate", "incidentstate", "eventstate", "alerttransition", "transition",
    "alertaction", "eventaction", "monitorcondition", "action", "notificationtype", "messagetype", "eventtype",
    "event", "type", "kind", "trigger", "triggertype", "newstatus", "alerttype",
)  # fmt: skip
STARTED = (
    "startsat", "startedat", "startat", "starttime", "starttimestamp", "datestartzoned", "datestart", "start",
    "triggeredat", "triggeredtime", "triggertime", "firedat", "firedtime", "firingat", "openedat", "opentime",
    "activeat", "activesince", "detectedat", "occurredat", "occurrencetime", "eventtime", "alerttime", "begin", "since",
    "createdat", "created", "createdtime", "creationtime", "timestamp", "time", "datetime", "longdatetime",
    "shortdatetime", "date", "clock", "eventtimestamp", "lastseen", "lastupdated", "updatedat", "statechangetime",
    "triggertimestart", "now",
)  # fmt: skip
TITLE_ENDS = ("title", "name", "summary", "subject", "desc", "description", "message", "msg", "output", "text")
SEVERITY_ENDS = ("severity", "priority", "urgency", "criticality", "level")
STATUS_ENDS = ("status", "state", "condition")
STARTED_ENDS = ("datetime", "timestamp", "time", "date", "at")
LINK_ENDS = ("url", "link", "uri")
IDENTITY_ENDS = ("key", "uuid", "id")
"""How other names for these end (`entity_display_name`, `firedDateTime`): taken where no name of the lists is there."""
OTHER_NAMES = re.compile(
    "^(host|user|file|class|org|project|env|device|contact|agent|account|team|channel|receiver|workflow|space|namespace|"
    "pod|node|cluster|region|metric|customer|domain|field|product|vendor|tool|source|sender|app)"
)
OTHER_LINKS = re.compile("^(icon|image|img|avatar|logo|silence|unsubscribe|schema|photo|callback|webhook|runbook|doc)")
OTHER_TIMES = re.compile("^(end|resolv|clos|recover|clear|ack|updat|expir|last|delet)|updated")
ENDED = ("endsat", "endedat", "endtime", "resolvedat", "resolvedtime", "closedat", "recoveredat", "clearedat")
IDENTITY = (
    "fingerprint", "dedupkey", "dedupekey", "deduplicationkey", "aggregationkey", "incidentkey", "alertkey", "alias",
    "alertuniqueidentifier", "problemid", "incidentid", "alertid", "monitorid", "checkid", "ruleid", "uuid", "uid",
    "guid", "key", "id", "eventid", "number",
)  # fmt: skip
LINK = (
    "generatorurl", "alerturl", "incidenturl", "problemurl", "eventurl", "htmlurl", "weburl", "permalink", "url",
    "link", "href", "detectorurl", "ruleurl", "monitorurl", "dashboardurl", "panelurl", "consoleurl", "detailsurl",
    "targeturl",
    "alertlink", "externalurl", "logurl", "source",
)  # fmt: skip
SERVICE = ("service", "servicename", "application", "applicationname", "app", "appname", "component", "workload")
LABELS = (
    "labels", "tags", "eventtags", "alerttags", "commonlabels", "fields", "dimensions", "attributes", "details",
    "customdetails", "metadata",
)  # fmt: skip
INSIDE = frozenset({"data", "issue", "incident", "alert", "event", "problem", "payload", "detail", "notification"})
"""Objects that are the alert, or hold it."""
LISTS = (
    "alerts", "events", "incidents", "problems", "notifications", "alarms", "items", "results", "records", "data",
    "evalmatches",
)  # fmt: skip
NOT_THE_ALERT = frozenset(
    {
        "snapshots", "page", "user", "actor", "sender", "creator", "author", "owner", "org", "organization", "account",
        "installation", "contact", "contacts", "team", "teams", "assignee", "assignees", "host", "device", "node",
        "resource", "project", "repository", "environment", "region", "tenant", "app", "service", "rules", "labels",
        "tags", "annotations", "commonlabels", "commonannotations", "grouplabels", "links", "agents", "agent", "inputs",
        "query", "queries", "metadata", "sdk", "contexts", "integration", "webhook", "receiver", "runbook",
        "documentation", "customer", "integrations", "location",
    }
)  # fmt: skip
"""Objects beside the alert: a name inside them is not the alert's."""
STATE_KEYS_THAT_ARE_OFTEN_NOT = frozenset(
    {"type", "kind", "event", "eventtype", "action", "trigger", "notificationtype", "alerttype", "triggertype"}
)
