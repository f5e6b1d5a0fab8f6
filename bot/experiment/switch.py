"""The kill switch: one person's word stops every model call for summaries, or lets them begin again."""

from __future__ import annotations

from bot.clock import Clock
from bot.experiment.live import LiveExperiments
from bot.experiment.pauses import pause, resume
from bot.store import Store


class KillSwitch:
    """Pauses and resumes for whoever the caller has found to be an admin. `by` is who stands in the audit trail."""

    def __init__(self, store: Store, workspace_id: str, clock: Clock, experiments: LiveExperiments) -> None:
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._experiments = experiments

    async def pause(self, by: str, reason: str) -> bool:
        """Whether summaries were running until now."""
        now = self._clock.now()
        made = await pause(self._store, self._workspace_id, experiment=None, by=by, reason=reason, at=now)
        return made is not None

    async def resume(self, by: str, reason: str) -> int:
        """End the general pause and that of the running experiment, a cutline's included; returns how many ended."""
        now = self._clock.now()
        running = self._experiments.running(now)
        ended = 0
        for experiment in (None, *([running.name] if running else [])):
            ended += len(
                await resume(self._store, self._workspace_id, experiment=experiment, by=by, reason=reason, at=now)
            )
        return ended
