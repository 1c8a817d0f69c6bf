-- Creates what says who may look at the archive: accounts, groups, sessions, tokens, and
-- the audit trail.
--
-- An archive of what people wrote has to know who read it, and an auditor has to be able
-- to rely on that: rows of audit are only added, triggers refuse anything else. They bind
-- this program and everybody who signs in to it. Whoever owns the tables can drop a
-- trigger, which is why owners should be few and other people.
-- Expects the tables of 000001.

CREATE TABLE accounts ( -- Who may sign in. Never removed, since audit names them
    -- Number of the account, from 1
    id INTEGER PRIMARY KEY,
    -- When it was made (microseconds since 1970, UTC)
    created_at INTEGER NOT NULL,
    -- When somebody last changed it (microseconds since 1970, UTC)
    changed_at INTEGER NOT NULL,
    -- When somebody last signed in with it (microseconds since 1970, UTC)
    signed_in_at INTEGER,
    -- Until when passwords are refused after failures (microseconds since 1970, UTC)
    locked_until INTEGER,
    -- Last step of 30 s since 1970 whose code was used, so that none is used twice
    totp_step INTEGER NOT NULL,
    -- Sum of 1 operator, 2 reviewer, 4 officer, 8 auditor, 16 administrator
    roles INTEGER NOT NULL,
    -- How often in a row signing in failed
    failures INTEGER NOT NULL,
    -- 1 when nobody can sign in with it, else 0
    disabled INTEGER NOT NULL,
    -- 1 when the password must be changed first, else 0
    must_change INTEGER NOT NULL,
    -- Name to sign in with, in lower case
    name TEXT NOT NULL UNIQUE,
    -- Name for people
    display_name TEXT NOT NULL,
    -- Whose messages a reviewer may read, as JSON
    scope TEXT,
    -- Argon2id in PHC format, NULL without a password
    password_hash TEXT,
    -- Issuer of the provider that vouches for it
    oidc_issuer TEXT,
    -- Who it is there
    oidc_subject TEXT,
    -- Secret of the second factor, sealed with the key of [web] key_file
    totp_secret BLOB
) STRICT;
CREATE UNIQUE INDEX accounts_oidc ON accounts (oidc_issuer, oidc_subject);

CREATE TABLE account_codes ( -- Recovery codes that were not used yet
    -- accounts.id
    account_id INTEGER NOT NULL,
    -- SHA-256 of the code
    hash BLOB NOT NULL,
    PRIMARY KEY (account_id, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE people_groups ( -- Names for several people, for scopes
    -- Number of the group
    id INTEGER PRIMARY KEY,
    -- When it was last changed (microseconds since 1970, UTC)
    changed_at INTEGER NOT NULL,
    -- Name of the group, in lower case
    name TEXT NOT NULL UNIQUE,
    -- Bare JIDs, domains and wildcards, as a JSON list
    members TEXT NOT NULL
) STRICT;

CREATE TABLE sessions ( -- Sessions of browsers that are not over
    -- SHA-256 of the cookie
    hash BLOB PRIMARY KEY NOT NULL,
    -- Key of the tokens in the forms of this session
    csrf BLOB NOT NULL,
    -- accounts.id
    account_id INTEGER NOT NULL,
    -- When it began (microseconds since 1970, UTC)
    created_at INTEGER NOT NULL,
    -- When it was last used, to about a minute (microseconds since 1970, UTC)
    used_at INTEGER NOT NULL,
    -- When it ends at the latest (microseconds since 1970, UTC)
    expires_at INTEGER NOT NULL,
    -- 1 began with a password, 2 began at the provider
    way INTEGER NOT NULL,
    -- From where it was begun
    address TEXT
) STRICT;
CREATE INDEX sessions_account ON sessions (account_id);

CREATE TABLE tokens ( -- Tokens of the API. Revoked, never removed, since audit names them
    -- Number of the token
    id INTEGER PRIMARY KEY,
    -- accounts.id
    account_id INTEGER NOT NULL,
    -- When it was made (microseconds since 1970, UTC)
    created_at INTEGER NOT NULL,
    -- When it ends (microseconds since 1970, UTC)
    expires_at INTEGER,
    -- When it was last used, to about a minute (microseconds since 1970, UTC)
    used_at INTEGER,
    -- When it was revoked (microseconds since 1970, UTC)
    revoked_at INTEGER,
    -- The roles that it was given, as accounts.roles, 0 all that the account has
    roles INTEGER NOT NULL,
    -- SHA-256 of the token
    hash BLOB NOT NULL UNIQUE,
    -- What it is for
    name TEXT NOT NULL,
    -- The scope that it was given, as JSON
    scope TEXT
) STRICT;

CREATE TABLE audit ( -- Who did what. Rows are only added
    -- Number of the row, without gaps, in the order of commits
    id INTEGER PRIMARY KEY,
    -- When (microseconds since 1970, UTC)
    at INTEGER NOT NULL,
    -- accounts.id, NULL where nobody was believed, and for the command line
    account_id INTEGER,
    -- How many messages, rows or files it was about
    count INTEGER,
    -- The roles in force, as accounts.roles
    roles INTEGER NOT NULL,
    -- 1 done, 2 denied, 3 failed
    outcome INTEGER NOT NULL,
    -- Name of the account, cli: and a user of the system, or the name under which somebody tried to sign in
    actor TEXT NOT NULL,
    -- What was done, as a word such as sign-in, search, export
    action TEXT NOT NULL,
    -- How the actor was believed: password, provider, token, console, or empty
    way TEXT NOT NULL,
    -- From where
    address TEXT,
    -- On what, as JSON: the query, the conversation, the account
    target TEXT NOT NULL,
    -- Why, where somebody was asked
    reason TEXT
) STRICT;
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_actor ON audit (actor, id);
CREATE INDEX audit_action ON audit (action, id);

-- Whoever adds a row locks this one first, so that numbers are without gaps.
INSERT INTO settings (name, value) VALUES ('audit', X'00');

INSERT INTO audit (id, at, roles, outcome, actor, action, way, target)
SELECT 1, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER), 0, 1, 'migration', 'begin', '', '{}';

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'rows of audit are only added'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'rows of audit are only added'); END;
-- INSERT OR REPLACE removes the old row without asking the trigger above.
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'rows of audit are only added'); END;
