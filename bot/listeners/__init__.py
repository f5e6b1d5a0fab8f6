"""Door: Slack commands, events, actions and views."""
