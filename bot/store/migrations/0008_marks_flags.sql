-- A person's word that an incident was a test or a duplicate; and the feature-flag evaluation of every triage.
CREATE TABLE incident_marks (
  workspace_id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  mark TEXT NOT NULL,
  by TEXT NOT NULL,
  at TEXT NOT NULL,
  reason TEXT NOT NULL,
  undone_at TEXT,
  PRIMARY KEY (workspace_id, incident_id, mark)
);
ALTER TABLE triages ADD COLUMN flag TEXT NOT NULL DEFAULT '{}';
CREATE INDEX incident_times_recorded ON incident_times (workspace_id, recorded_at);
