-- The tokens with which a server lets clients in: their digests, never themselves.
CREATE TABLE tokens (
    digest       TEXT NOT NULL PRIMARY KEY,
    name         TEXT NOT NULL,
    scope        TEXT NOT NULL,
    created_at   TEXT NOT NULL,
    expires_at   TEXT,
    last_used_at TEXT,
    revoked_at   TEXT,
    CONSTRAINT "digest has the form sha256:<64 hex digits>" CHECK (
        length(CAST(digest AS BLOB)) = 71 AND digest GLOB 'sha256:*' AND substr(digest, 8) NOT GLOB '*[^0-9a-f]*'),
    CONSTRAINT "name is 1 to 64 bytes long" CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 64),
    CONSTRAINT "scope is read or write" CHECK (scope IN ('read', 'write')),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(created_at AS BLOB)) = 27
        AND created_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    CONSTRAINT "expires_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        expires_at IS NULL OR length(CAST(expires_at AS BLOB)) = 27
        AND expires_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    CONSTRAINT "last_used_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        last_used_at IS NULL OR length(CAST(last_used_at AS BLOB)) = 27
        AND last_used_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    CONSTRAINT "revoked_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        revoked_at IS NULL OR length(CAST(revoked_at AS BLOB)) = 27
        AND revoked_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;
