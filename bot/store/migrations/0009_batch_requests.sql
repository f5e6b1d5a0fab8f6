-- What waits at a provider's batch door, so that a process that dies does not lose, or pay twice, what it sent.
CREATE TABLE batch_requests (
  workspace_id TEXT NOT NULL,
  call_id TEXT NOT NULL,
  mark TEXT NOT NULL,
  batch_id TEXT,
  model TEXT NOT NULL,
  content TEXT NOT NULL,
  use TEXT NOT NULL,
  prompt TEXT NOT NULL,
  prompt_sha256 TEXT NOT NULL,
  workflow_id TEXT NOT NULL,
  step TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  incident_id TEXT,
  team TEXT,
  reserved_usd REAL NOT NULL,
  reserved_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, call_id)
);
CREATE INDEX batch_requests_model ON batch_requests (workspace_id, model, reserved_at);
