-- What somebody asked in Slack, stored before it is acknowledged; the answer is private and is not stored.
CREATE TABLE requests (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  by TEXT NOT NULL,
  channel TEXT NOT NULL,
  thread_ts TEXT,
  response_url TEXT,
  words TEXT NOT NULL DEFAULT '',
  value TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL DEFAULT 'new',
  attempts INTEGER NOT NULL DEFAULT 0,
  received_at TEXT NOT NULL,
  ended_at TEXT,
  PRIMARY KEY (workspace_id, id)
);
CREATE INDEX requests_open ON requests (workspace_id, state, received_at);
CREATE INDEX requests_when ON requests (workspace_id, received_at);
