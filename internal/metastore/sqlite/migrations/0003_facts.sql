-- Whether a FAIL had committed facts. Before, only the end of its text said so.

ALTER TABLE run_process ADD COLUMN facts TEXT
    CONSTRAINT "facts is committed, none, not_checked or NULL" CHECK (facts IN ('committed', 'none', 'not_checked'));
