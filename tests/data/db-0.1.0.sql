BEGIN TRANSACTION;
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
CREATE TABLE assignments (
  workspace_id TEXT NOT NULL,
  unit_id TEXT NOT NULL,
  experiment TEXT NOT NULL,
  arm TEXT NOT NULL,
  stratum TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  seed_sha256 TEXT NOT NULL,
  assigned_at TEXT NOT NULL,
  flag TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (workspace_id, unit_id, experiment)
);
CREATE TABLE audit (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  at TEXT NOT NULL,
  by TEXT NOT NULL,
  action TEXT NOT NULL,
  incident_id TEXT,
  detail TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (workspace_id, id)
);
CREATE TABLE calls (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  triage_id TEXT,
  incident_id TEXT,
  use TEXT NOT NULL,
  prompt TEXT NOT NULL,
  prompt_sha256 TEXT NOT NULL,
  model TEXT NOT NULL,
  answered_by TEXT NOT NULL DEFAULT '',
  fingerprint TEXT,
  tokens_in INTEGER NOT NULL DEFAULT 0,
  tokens_cached INTEGER NOT NULL DEFAULT 0,
  tokens_out INTEGER NOT NULL DEFAULT 0,
  cost_usd REAL NOT NULL DEFAULT 0,
  latency_seconds REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  cache_hit INTEGER NOT NULL DEFAULT 0,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  snapshot TEXT NOT NULL DEFAULT '',
  evidence TEXT NOT NULL DEFAULT '[]',
  started_at TEXT NOT NULL,
  ended_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, id)
);
CREATE TABLE changes (
  workspace_id TEXT NOT NULL,
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  service TEXT,
  changed_at TEXT NOT NULL,
  record TEXT NOT NULL,
  readers TEXT NOT NULL,
  received_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, source, id)
);
CREATE TABLE evidence (
  workspace_id TEXT NOT NULL,
  ulid TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  mark TEXT NOT NULL,
  source TEXT NOT NULL,
  kind TEXT NOT NULL,
  external_id TEXT NOT NULL,
  service TEXT,
  title TEXT NOT NULL,
  text TEXT NOT NULL,
  url TEXT NOT NULL,
  readers TEXT NOT NULL,
  model TEXT NOT NULL,
  suspicious INTEGER NOT NULL DEFAULT 0,
  attributes TEXT NOT NULL DEFAULT '{}',
  observed_at TEXT NOT NULL,
  fetched_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, ulid)
);
CREATE TABLE exposures (
  workspace_id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  at TEXT NOT NULL,
  triage_id TEXT,
  before_acknowledged INTEGER,
  before_resolved INTEGER,
  PRIMARY KEY (workspace_id, incident_id, kind)
);
CREATE TABLE incident_times (
  workspace_id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  at TEXT NOT NULL,
  source TEXT NOT NULL,
  said_by TEXT,
  recorded_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, incident_id, kind, ordinal, source)
);
CREATE TABLE incidents (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  number INTEGER,
  title TEXT NOT NULL,
  service TEXT,
  service_ref TEXT,
  source TEXT NOT NULL,
  severity INTEGER NOT NULL,
  first_severity INTEGER NOT NULL,
  urgency TEXT,
  priority TEXT,
  status TEXT NOT NULL,
  url TEXT NOT NULL,
  teams TEXT NOT NULL DEFAULT '[]',
  on_call TEXT,
  channel TEXT,
  own_channel TEXT,
  unit_id TEXT,
  merged_into TEXT,
  reopened INTEGER NOT NULL DEFAULT 0,
  triages INTEGER NOT NULL DEFAULT 0,
  marks INTEGER NOT NULL DEFAULT 0,
  triggered_at TEXT NOT NULL,
  acknowledged_at TEXT,
  mitigated_at TEXT,
  resolved_at TEXT,
  first_signal_at TEXT NOT NULL,
  received_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, id)
);
INSERT INTO "incidents" VALUES('default','P1',NULL,'t',NULL,NULL,'pagerduty',2,2,NULL,NULL,'resolved','u','[]',NULL,NULL,NULL,NULL,NULL,0,0,0,'2026-11-24T14:02:10.000000Z',NULL,NULL,NULL,'2026-11-24T14:02:10.000000Z','2026-11-24T14:02:10.000000Z','2026-11-24T14:02:10.000000Z');
CREATE TABLE labels (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  triage_id TEXT,
  post_version INTEGER,
  by TEXT NOT NULL,
  at TEXT NOT NULL,
  cause TEXT NOT NULL,
  service TEXT,
  change_id TEXT,
  fixed_by TEXT,
  suspect_rank INTEGER,
  undone_at TEXT, ruled_out TEXT,
  PRIMARY KEY (workspace_id, id)
);
CREATE TABLE memberships (
  workspace_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  source TEXT NOT NULL,
  name TEXT NOT NULL,
  member TEXT NOT NULL,
  detail TEXT NOT NULL DEFAULT '{}',
  seen_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, scope, source, name, member)
);
CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL);
INSERT INTO "migrations" VALUES('0001_initial','2026-11-24T23:38:32.788404Z');
INSERT INTO "migrations" VALUES('0002_gateway','2026-11-24T23:38:32.797586Z');
INSERT INTO "migrations" VALUES('0002_ranked_and_topology','2026-11-24T23:38:32.805888Z');
INSERT INTO "migrations" VALUES('0003_posts_failing_since','2026-11-24T23:38:32.817543Z');
INSERT INTO "migrations" VALUES('0004_labels_ruled_out','2026-11-24T23:38:32.825394Z');
INSERT INTO "migrations" VALUES('0005_alerts','2026-11-24T23:38:32.833312Z');
CREATE TABLE notices (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  detail TEXT NOT NULL DEFAULT '{}',
  created_at TEXT NOT NULL,
  sent_at TEXT,
  PRIMARY KEY (workspace_id, id)
);
CREATE TABLE pauses (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  experiment TEXT,
  cutline TEXT,
  reason TEXT NOT NULL,
  by TEXT NOT NULL,
  at TEXT NOT NULL,
  resumed_by TEXT,
  resumed_at TEXT,
  PRIMARY KEY (workspace_id, id)
);
CREATE TABLE people (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  email TEXT,
  kind TEXT NOT NULL,
  active INTEGER NOT NULL,
  team_id TEXT,
  seen_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, id)
);
CREATE TABLE posts (
  workspace_id TEXT NOT NULL,
  target TEXT NOT NULL,
  part TEXT NOT NULL,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  kind TEXT NOT NULL,
  channel TEXT NOT NULL,
  mark TEXT NOT NULL,
  not_before_at TEXT,
  permitted_at TEXT,
  status TEXT NOT NULL DEFAULT 'wanted',
  sent_version INTEGER NOT NULL DEFAULT 0,
  ts TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_attempt_at TEXT,
  last_error TEXT,
  sent_at TEXT,
  first_sent_at TEXT,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, failing_since_at TEXT,
  PRIMARY KEY (workspace_id, target, part)
);
CREATE TABLE rate_buckets (
  workspace_id TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  requests REAL NOT NULL,
  tokens REAL NOT NULL,
  updated_seconds REAL NOT NULL,
  PRIMARY KEY (workspace_id, endpoint)
);
CREATE TABLE signals (
  workspace_id TEXT NOT NULL,
  delivery_key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  source TEXT NOT NULL,
  kind TEXT NOT NULL,
  incident_id TEXT,
  occurred_at TEXT NOT NULL,
  received_at TEXT NOT NULL,
  body TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'new',
  applied_at TEXT,
  note TEXT,
  PRIMARY KEY (workspace_id, delivery_key)
);
CREATE TABLE spend (
  workspace_id TEXT NOT NULL,
  workflow_id TEXT NOT NULL,
  step TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  use TEXT NOT NULL,
  model TEXT NOT NULL,
  team TEXT,
  incident_id TEXT,
  reserved_usd REAL NOT NULL,
  settled_usd REAL,
  state TEXT NOT NULL DEFAULT 'open',
  reserved_at TEXT NOT NULL,
  settled_at TEXT,
  PRIMARY KEY (workspace_id, workflow_id, step, attempt)
);
CREATE TABLE spend_totals (
  workspace_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  usd REAL NOT NULL,
  PRIMARY KEY (workspace_id, scope)
);
CREATE TABLE topology (
  workspace_id TEXT NOT NULL,
  caller TEXT NOT NULL,
  callee TEXT NOT NULL,
  source TEXT NOT NULL,
  readers TEXT NOT NULL,
  seen_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, caller, callee, source, readers)
);
CREATE TABLE transcripts (
  workspace_id TEXT NOT NULL,
  call_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  request TEXT NOT NULL,
  answer TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, call_id, attempt)
);
CREATE TABLE triages (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  n INTEGER NOT NULL,
  arm TEXT,
  experiment TEXT,
  channel TEXT,
  reason TEXT NOT NULL DEFAULT 'signal',
  outcome TEXT,
  outcome_reason TEXT,
  hidden INTEGER NOT NULL DEFAULT 0,
  suspects TEXT NOT NULL DEFAULT '[]',
  services TEXT NOT NULL DEFAULT '[]',
  sources TEXT NOT NULL DEFAULT '[]',
  timings TEXT NOT NULL DEFAULT '{}',
  model TEXT,
  prompt TEXT,
  tokens INTEGER NOT NULL DEFAULT 0,
  cost_usd REAL NOT NULL DEFAULT 0,
  started_at TEXT NOT NULL,
  facts_at TEXT,
  summary_at TEXT,
  recorded_at TEXT, ranked TEXT, checked TEXT,
  PRIMARY KEY (workspace_id, id)
);
CREATE TABLE units (
  workspace_id TEXT NOT NULL,
  id TEXT NOT NULL,
  triggered_at TEXT NOT NULL,
  services TEXT NOT NULL DEFAULT '[]',
  stratum TEXT,
  PRIMARY KEY (workspace_id, id)
);
CREATE TABLE votes (
  workspace_id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  triage_id TEXT NOT NULL,
  post_version INTEGER NOT NULL,
  by TEXT NOT NULL,
  vote TEXT NOT NULL,
  at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, incident_id, by)
);
INSERT INTO "votes" VALUES('default','P1','P1/1',1,'U1','helpful','2026-11-24T14:10:00.000000Z');
CREATE INDEX signals_new ON signals (workspace_id, state, seq);
CREATE UNIQUE INDEX signals_seq ON signals (workspace_id, seq);
CREATE INDEX signals_incident ON signals (workspace_id, incident_id, occurred_at);
CREATE INDEX incidents_open ON incidents (workspace_id, status, triggered_at);
CREATE INDEX incidents_triggered ON incidents (workspace_id, triggered_at);
CREATE INDEX units_triggered ON units (workspace_id, triggered_at);
CREATE INDEX triages_incident ON triages (workspace_id, incident_id, n);
CREATE UNIQUE INDEX evidence_known ON evidence (workspace_id, incident_id, source, kind, external_id);
CREATE UNIQUE INDEX evidence_mark ON evidence (workspace_id, incident_id, mark);
CREATE INDEX posts_wanted ON posts (workspace_id, status, next_attempt_at);
CREATE INDEX spend_when ON spend (workspace_id, reserved_at);
CREATE INDEX calls_when ON calls (workspace_id, started_at);
CREATE INDEX labels_incident ON labels (workspace_id, incident_id, at);
CREATE INDEX audit_incident ON audit (workspace_id, incident_id, at);
CREATE INDEX changes_when ON changes (workspace_id, changed_at);
CREATE INDEX spend_open ON spend (workspace_id, state);
CREATE INDEX alerts_incident ON alerts (workspace_id, incident_id, status, started_at);
CREATE INDEX alerts_when ON alerts (workspace_id, started_at);
CREATE INDEX incidents_merged ON incidents (workspace_id, merged_into);
COMMIT;
