-- What this node did and agreed to. Rows are only ever added; each hash covers the one before.
CREATE TABLE record (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL, -- milliseconds since 1970, as every time here
    kind TEXT NOT NULL,    -- for people who look; the body says it too
    body BLOB NOT NULL,    -- canonical bytes
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER record_is_never_changed BEFORE UPDATE ON record
BEGIN SELECT raise(ABORT, 'the record is never edited: append a correction'); END;

CREATE TRIGGER record_is_never_shortened BEFORE DELETE ON record
BEGIN SELECT raise(ABORT, 'the record is never edited: append a correction'); END;

-- A state that the record added up to, so that the next start is short.
CREATE TABLE snapshot (
    seq     INTEGER NOT NULL, -- the last record that is in it
    version INTEGER NOT NULL, -- of the state's own form
    state   BLOB NOT NULL,
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (version, seq)
) STRICT;

-- What others and we have signed for everyone: profiles, offers, ratings. It can be had again from any peer.
CREATE TABLE object (
    id      BLOB PRIMARY KEY CHECK (length(id) = 32),
    domain  TEXT NOT NULL,
    signer  BLOB NOT NULL CHECK (length(signer) = 32),
    slot    INTEGER NOT NULL,
    seq     INTEGER NOT NULL, -- the bits of a u64: a stranger's number may be larger than SQLite counts
    issued  INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    bytes   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX object_by_place ON object (signer, domain, slot);
CREATE INDEX object_by_end ON object (expires);

-- From here on all is made from the record, and can be made again.

-- Which records speak of an object.
CREATE TABLE mention (
    object BLOB NOT NULL,
    seq    INTEGER NOT NULL REFERENCES record,
    PRIMARY KEY (object, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX mention_by_record ON mention (seq);

-- Where each lease stands. Its words stand in the record that agreed it.
CREATE TABLE lease (
    id      BLOB PRIMARY KEY,
    agreed  INTEGER NOT NULL UNIQUE REFERENCES record, -- the number of that record
    at      INTEGER NOT NULL,
    side    TEXT NOT NULL CHECK (side IN ('host', 'tenant')),
    person  BLOB NOT NULL,             -- the other party
    phase   BLOB NOT NULL,             -- canonical bytes
    detail  TEXT NOT NULL,
    started INTEGER,
    ended   INTEGER,
    term    INTEGER NOT NULL,          -- milliseconds, with all renewals
    receipt INTEGER REFERENCES record  -- the number of the record with the highest receipt
) STRICT, WITHOUT ROWID;

-- The lines of each posting.
CREATE TABLE posting (
    seq      INTEGER NOT NULL REFERENCES record,
    line     INTEGER NOT NULL,
    cites    BLOB NOT NULL,
    account  TEXT NOT NULL CHECK (account IN ('person', 'income', 'expense')),
    person   BLOB CHECK ((person IS NULL) = (account <> 'person')),
    micros   INTEGER NOT NULL,
    currency TEXT NOT NULL,
    PRIMARY KEY (seq, line)
) STRICT, WITHOUT ROWID;
CREATE INDEX posting_by_account ON posting (account, person, seq);

-- Who was judged, by whom. The words stand in the record.
CREATE TABLE rating (
    seq    INTEGER PRIMARY KEY REFERENCES record,
    person BLOB NOT NULL, -- who is judged
    judge  BLOB NOT NULL
) STRICT;
CREATE INDEX rating_by_person ON rating (person, seq);
