"""Kubernetes: rollouts, configuration and events of a service's workloads (`source`), read from objects (`objects`)."""

from integrations.kubernetes.source import Kubernetes

__all__ = ["Kubernetes"]
