-- The head of the audit log: the tree over the rows of `audit` from log_first_sequence on. It lies in the one row that every
-- commit writes anyway.
ALTER TABLE journal ADD COLUMN log_first_sequence INTEGER NOT NULL DEFAULT 1;
ALTER TABLE journal ADD COLUMN tree_size INTEGER NOT NULL DEFAULT 0 CHECK (tree_size >= 0);
-- The roots of its full subtrees, largest first, 32 bytes each.
ALTER TABLE journal ADD COLUMN tree_edge BLOB NOT NULL DEFAULT x'';
-- The key that signs it (a vkey), and the signed checkpoint. NULL: not signed yet.
ALTER TABLE journal ADD COLUMN log_verifier TEXT;
ALTER TABLE journal ADD COLUMN checkpoint TEXT;

-- The logs of earlier epochs as they ended.
CREATE TABLE closed_log (
    epoch INTEGER PRIMARY KEY REFERENCES epoch (number),
    first_sequence INTEGER NOT NULL,
    size INTEGER NOT NULL,
    verifier TEXT NOT NULL,
    checkpoint TEXT NOT NULL
) STRICT;
CREATE TRIGGER closed_log_is_never_updated BEFORE UPDATE ON closed_log
BEGIN
    SELECT RAISE(ABORT, 'closed logs are never changed');
END;
CREATE TRIGGER closed_log_is_never_deleted BEFORE DELETE ON closed_log
BEGIN
    SELECT RAISE(ABORT, 'closed logs are never deleted');
END;
