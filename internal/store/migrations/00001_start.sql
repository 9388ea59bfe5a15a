-- Times are microseconds since 1970 UTC. Sizes are bytes, -1 for an unknown one.

-- +goose Up
CREATE TABLE objects (
    id              TEXT PRIMARY KEY,
    url             TEXT NOT NULL,
    key             TEXT NOT NULL,
    name            TEXT NOT NULL,
    size            INTEGER NOT NULL,
    etag            TEXT NOT NULL,
    last_modified   TEXT NOT NULL,
    mod_time        INTEGER NOT NULL,
    content_type    TEXT NOT NULL,
    sha256          TEXT NOT NULL,
    complete        INTEGER NOT NULL,
    length_verified INTEGER NOT NULL,
    created         INTEGER NOT NULL,
    used            INTEGER NOT NULL
) STRICT;
CREATE INDEX objects_by_key ON objects (key, created);
CREATE INDEX objects_by_use ON objects (used, id);

-- A job may point at an object that is stored after it, or deleted before it.
CREATE TABLE jobs (
    id      TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    url     TEXT NOT NULL,
    key     TEXT NOT NULL,
    object  TEXT NOT NULL, -- empty until the origin has answered
    state   TEXT NOT NULL,
    error   TEXT,          -- JSON
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_by_owner ON jobs (owner, created);
CREATE INDEX jobs_by_object ON jobs (object, created);

-- Secret, and therefore apart: a row lives as long as its job is not final.
CREATE TABLE requests (
    job     TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    request TEXT NOT NULL  -- JSON
) STRICT;

CREATE TABLE tokens (
    hash    BLOB PRIMARY KEY,
    job     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_by_job ON tokens (job);
CREATE INDEX tokens_by_expiry ON tokens (expires);

CREATE TABLE grants (
    owner   TEXT NOT NULL,
    job     TEXT REFERENCES jobs (id) ON DELETE CASCADE, -- NULL: all of the owner's jobs
    addr    TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX grants_one ON grants (owner, ifnull(job, ''), addr);
CREATE INDEX grants_by_job ON grants (job);
CREATE INDEX grants_by_expiry ON grants (expires);

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
