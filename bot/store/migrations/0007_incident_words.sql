-- What an incident looked like, one row for each set of readers, for finding similar ones. `number` ties a row to its
-- words in the search index, which follows the table by itself.
CREATE TABLE incident_words (
  workspace_id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  readers TEXT NOT NULL,
  number INTEGER NOT NULL,
  service TEXT,
  alerts TEXT NOT NULL DEFAULT '[]',
  signs TEXT NOT NULL DEFAULT '[]',
  words TEXT NOT NULL,
  indexed_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, incident_id, readers)
);
CREATE UNIQUE INDEX incident_words_number ON incident_words (number);
CREATE INDEX incident_words_service ON incident_words (workspace_id, service, indexed_at);
CREATE VIRTUAL TABLE incident_words_fts USING fts5
  (words, content='incident_words', content_rowid='number', tokenize='porter unicode61');
CREATE TRIGGER incident_words_added AFTER INSERT ON incident_words BEGIN
  INSERT INTO incident_words_fts (rowid, words) VALUES (new.number, new.words);
END;
CREATE TRIGGER incident_words_gone AFTER DELETE ON incident_words BEGIN
  INSERT INTO incident_words_fts (incident_words_fts, rowid, words) VALUES ('delete', old.number, old.words);
END;
CREATE TRIGGER incident_words_changed AFTER UPDATE ON incident_words BEGIN
  INSERT INTO incident_words_fts (incident_words_fts, rowid, words) VALUES ('delete', old.number, old.words);
  INSERT INTO incident_words_fts (rowid, words) VALUES (new.number, new.words);
END;
