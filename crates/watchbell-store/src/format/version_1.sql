-- One row: what holds for the whole file.
CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last_resource_version INTEGER NOT NULL CHECK (last_resource_version >= 0),
    -- How often the journal was opened for writing, and in which life of the kernel last.
    boots INTEGER NOT NULL,
    kernel_boot_id TEXT NOT NULL,
    -- A known text sealed with the directory's key: tells a wrong key from a damaged row. NULL: no key yet.
    key_check BLOB
) STRICT;
INSERT INTO journal VALUES (1, 0, 0, '', NULL);

-- One row a life of the log; a restore begins the next. Watches from below first_resource_version are gone.
CREATE TABLE epoch (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL DEFAULT (randomblob(16)) CHECK (length(id) = 16),
    first_resource_version INTEGER NOT NULL,
    first_audit_sequence INTEGER NOT NULL
) STRICT;
INSERT INTO epoch (number, first_resource_version, first_audit_sequence) VALUES (1, 0, 1);

-- id rises in the order of creation (puts are applied by rising resource version), so a scan of the table replays it.
-- A name that is deleted and made anew gets a new id.
CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    created INTEGER NOT NULL,
    resource_version INTEGER NOT NULL,
    sealed INTEGER NOT NULL CHECK (sealed IN (0, 1)),
    head BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX object_name ON object (resource, namespace, name);

-- Apart from the head, so that a status write does not rewrite a large head.
CREATE TABLE status (
    id INTEGER PRIMARY KEY REFERENCES object (id) ON DELETE CASCADE,
    resource_version INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- head is NULL while the pod is its template's.
CREATE TABLE array_pod (
    job INTEGER NOT NULL,
    array_index INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    resource_version INTEGER NOT NULL,
    status BLOB,
    head BLOB,
    PRIMARY KEY (job, array_index, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    at_unix_nanos INTEGER NOT NULL,
    body BLOB NOT NULL CHECK (length(body) <= 65535)
) STRICT;

-- The audit journal grows at its end and nowhere else. INSERT OR REPLACE is caught by the first of these: a row that it
-- would replace is not the next one.
CREATE TRIGGER audit_is_contiguous BEFORE INSERT ON audit
WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
BEGIN
    SELECT RAISE(ABORT, 'an audit entry must be the next one');
END;
CREATE TRIGGER audit_is_never_updated BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never changed');
END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never deleted');
END;
CREATE TRIGGER epoch_is_never_updated BEFORE UPDATE ON epoch
BEGIN
    SELECT RAISE(ABORT, 'epochs are never changed');
END;
CREATE TRIGGER epoch_is_never_deleted BEFORE DELETE ON epoch
BEGIN
    SELECT RAISE(ABORT, 'epochs are never deleted');
END;
