-- Measurements are few among many records, and are looked for by nothing but their kind.
CREATE INDEX measured ON record (seq) WHERE kind = 'measured';
