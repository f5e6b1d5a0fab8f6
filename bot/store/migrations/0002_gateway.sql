-- Running totals of `spend`, so that a ceiling is checked by key and not by a sum: day:2026-11-24, month:2026-11,
-- incident:<id>, use:<use>:2026-11, team:<team>:2026-11. Reserved money counts as spent until it is settled.
CREATE TABLE spend_totals (
  workspace_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  usd REAL NOT NULL,
  PRIMARY KEY (workspace_id, scope)
);

-- Token buckets of an endpoint's rate limits, which all workspaces share (workspace_id '*').
CREATE TABLE rate_buckets (
  workspace_id TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  requests REAL NOT NULL,
  tokens REAL NOT NULL,
  updated_seconds REAL NOT NULL,
  PRIMARY KEY (workspace_id, endpoint)
);

CREATE INDEX spend_open ON spend (workspace_id, state);
