-- What each receipt of a lease on this machine added to the one before: derived from the record, as all tables are.
CREATE TABLE earning (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    lease BLOB NOT NULL,
    micros INTEGER NOT NULL,
    currency TEXT NOT NULL,
    billed INTEGER NOT NULL,
    cpu INTEGER NOT NULL,
    cost INTEGER,
    cost_currency TEXT
) STRICT;

CREATE INDEX earning_at ON earning (at);
CREATE INDEX earning_lease ON earning (lease);

-- What electricity costs, as the owner said last.
CREATE TABLE power (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    body BLOB NOT NULL
) STRICT;
