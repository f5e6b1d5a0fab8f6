-- What a card is re-permitted from, and the call graph that `record` learns.
ALTER TABLE triages ADD COLUMN ranked TEXT;
ALTER TABLE triages ADD COLUMN checked TEXT;
CREATE TABLE topology (
  workspace_id TEXT NOT NULL,
  caller TEXT NOT NULL,
  callee TEXT NOT NULL,
  source TEXT NOT NULL,
  readers TEXT NOT NULL,
  seen_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, caller, callee, source, readers)
);
