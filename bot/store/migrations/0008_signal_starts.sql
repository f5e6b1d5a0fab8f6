-- How many starts of the process a signal has outlived unfinished, and whether it was the one in hand when it died.
ALTER TABLE signals ADD COLUMN starts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE signals ADD COLUMN trying INTEGER NOT NULL DEFAULT 0;
