-- Since when a wanted state cannot be delivered: after a minute of it, a note is written.
ALTER TABLE posts ADD COLUMN failing_since_at TEXT;
