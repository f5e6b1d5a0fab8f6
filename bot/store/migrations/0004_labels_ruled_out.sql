-- "It was not": the change that a person rules out; such a row is no word about what the cause was.
ALTER TABLE labels ADD COLUMN ruled_out TEXT;
