-- One row for one alert from its start to its end: which incident it belongs to, and why. Repeats are counted.
CREATE TABLE alerts (
  workspace_id TEXT NOT NULL,
  dedupe_key TEXT NOT NULL,
  started_at TEXT NOT NULL,
  source TEXT NOT NULL,
  incident_id TEXT,
  status TEXT NOT NULL,
  reason TEXT NOT NULL,
  title TEXT NOT NULL,
  service TEXT,
  severity TEXT NOT NULL,
  link TEXT,
  labels TEXT NOT NULL DEFAULT '{}',
  repeats INTEGER NOT NULL DEFAULT 0,
  acknowledged_at TEXT,
  resolved_at TEXT,
  received_at TEXT NOT NULL,
  seen_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, dedupe_key, started_at, source)
);
CREATE INDEX alerts_incident ON alerts (workspace_id, incident_id, status, started_at);
CREATE INDEX alerts_when ON alerts (workspace_id, started_at);
CREATE INDEX incidents_merged ON incidents (workspace_id, merged_into);
