-- +goose Up
CREATE TABLE sessions (
    id      TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    source  TEXT NOT NULL,        -- how the owner's name is known
    name    TEXT NOT NULL,
    hash    BLOB NOT NULL UNIQUE, -- SHA-256 of the secret: as good as the secret itself
    created INTEGER NOT NULL,
    used    INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    addr    TEXT NOT NULL         -- used from last; empty: never
) STRICT;

-- Where a session's holder has proved to receive.
CREATE TABLE session_addrs (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    addr    TEXT NOT NULL,
    used    INTEGER NOT NULL,
    PRIMARY KEY (session, addr)
) STRICT, WITHOUT ROWID;

-- A token that was derived in a session goes with it.
ALTER TABLE tokens ADD COLUMN session TEXT REFERENCES sessions (id) ON DELETE CASCADE;
CREATE INDEX tokens_by_session ON tokens (session);

-- Outlives its job, so that a replay submits nothing.
CREATE TABLE submissions (
    owner   TEXT NOT NULL,
    id      TEXT NOT NULL,
    job     TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (owner, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX submissions_by_expiry ON submissions (expires);
