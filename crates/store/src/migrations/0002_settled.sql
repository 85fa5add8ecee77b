-- Debts can be paid: one account more.
CREATE TABLE posting_of_two (
    seq      INTEGER NOT NULL REFERENCES record,
    line     INTEGER NOT NULL,
    cites    BLOB NOT NULL,
    account  TEXT NOT NULL CHECK (account IN ('person', 'income', 'expense', 'settled')),
    person   BLOB CHECK ((person IS NULL) = (account <> 'person')),
    micros   INTEGER NOT NULL,
    currency TEXT NOT NULL,
    PRIMARY KEY (seq, line)
) STRICT, WITHOUT ROWID;
INSERT INTO posting_of_two SELECT * FROM posting;
DROP TABLE posting;
ALTER TABLE posting_of_two RENAME TO posting;
CREATE INDEX posting_by_account ON posting (account, person, seq);
