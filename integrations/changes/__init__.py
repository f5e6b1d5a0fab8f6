"""Changes that others tell us of at a webhook: `/webhooks/changes` (CDEvents, or three fields of JSON), and the hooks
of systems that tell of their deployments themselves. Each becomes a signal of kind `change`.
"""

from integrations.changes.door import ChangeDoor, change_of, changes_door

__all__ = ["ChangeDoor", "change_of", "changes_door"]
