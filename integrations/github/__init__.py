"""GitHub: deployments and what they changed (`source`), what stands in for them where there are none (`inferred`), and
the webhook that tells of them at once (`door`)."""

from integrations.github.door import github_door
from integrations.github.source import GitHub

__all__ = ["GitHub", "github_door"]
