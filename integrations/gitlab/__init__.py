"""GitLab: deployments and what they changed (`source`), and the webhook that tells of them at once (`door`)."""

from integrations.gitlab.door import gitlab_door
from integrations.gitlab.source import GitLab

__all__ = ["GitLab", "gitlab_door"]
