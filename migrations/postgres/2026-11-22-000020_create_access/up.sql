-- Creates what says who may look at the archive: accounts, groups, sessions, tokens, and
-- the audit trail.
--
-- An archive of what people wrote has to know who read it, and an auditor has to be able
-- to rely on that: rows of audit are only added, triggers refuse anything else. They bind
-- this program and everybody who signs in to it. Whoever owns the tables can drop a
-- trigger, which is why owners should be few and other people.
-- Expects the tables of 000001.

CREATE TABLE accounts (
    id BIGINT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    signed_in_at BIGINT,
    locked_until BIGINT,
    totp_step BIGINT NOT NULL,
    roles INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    disabled SMALLINT NOT NULL,
    must_change SMALLINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    scope TEXT,
    password_hash TEXT,
    oidc_issuer TEXT COLLATE "C",
    oidc_subject TEXT COLLATE "C",
    totp_secret BYTEA
);
CREATE UNIQUE INDEX accounts_oidc ON accounts (oidc_issuer, oidc_subject);

CREATE TABLE account_codes (
    account_id BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (account_id, hash)
);

CREATE TABLE people_groups (
    id BIGINT PRIMARY KEY,
    changed_at BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    members TEXT NOT NULL
);

CREATE TABLE sessions (
    hash BYTEA PRIMARY KEY,
    csrf BYTEA NOT NULL,
    account_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    way SMALLINT NOT NULL,
    address TEXT
);
CREATE INDEX sessions_account ON sessions (account_id);

CREATE TABLE tokens (
    id BIGINT PRIMARY KEY,
    account_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    used_at BIGINT,
    revoked_at BIGINT,
    roles INTEGER NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scope TEXT
);

CREATE TABLE audit (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    account_id BIGINT,
    count BIGINT,
    roles INTEGER NOT NULL,
    outcome SMALLINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    way TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C",
    target TEXT NOT NULL,
    reason TEXT
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_actor ON audit (actor, id);
CREATE INDEX audit_action ON audit (action, id);

-- Whoever adds a row locks this one first, so that numbers are without gaps.
INSERT INTO settings (name, value) VALUES ('audit', convert_to('0', 'UTF8'));

INSERT INTO audit (id, at, roles, outcome, actor, action, way, target)
SELECT 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 0, 1, 'migration', 'begin', '', '{}';

CREATE FUNCTION audit_is_only_added() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'rows of audit are only added'; END$$;
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_only_added();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_only_added();

COMMENT ON TABLE accounts IS 'Who may sign in. Never removed, since audit names them';
COMMENT ON COLUMN accounts.id IS 'Number of the account, from 1';
COMMENT ON COLUMN accounts.created_at IS 'When it was made (microseconds since 1970, UTC)';
COMMENT ON COLUMN accounts.changed_at IS 'When somebody last changed it (microseconds since 1970, UTC)';
COMMENT ON COLUMN accounts.signed_in_at IS 'When somebody last signed in with it (microseconds since 1970, UTC)';
COMMENT ON COLUMN accounts.locked_until IS 'Until when passwords are refused after failures (microseconds since 1970, UTC)';
COMMENT ON COLUMN accounts.totp_step IS 'Last step of 30 s since 1970 whose code was used, so that none is used twice';
COMMENT ON COLUMN accounts.roles IS 'Sum of 1 operator, 2 reviewer, 4 officer, 8 auditor, 16 administrator';
COMMENT ON COLUMN accounts.failures IS 'How often in a row signing in failed';
COMMENT ON COLUMN accounts.disabled IS '1 when nobody can sign in with it, else 0';
COMMENT ON COLUMN accounts.must_change IS '1 when the password must be changed first, else 0';
COMMENT ON COLUMN accounts.name IS 'Name to sign in with, in lower case';
COMMENT ON COLUMN accounts.display_name IS 'Name for people';
COMMENT ON COLUMN accounts.scope IS 'Whose messages a reviewer may read, as JSON';
COMMENT ON COLUMN accounts.password_hash IS 'Argon2id in PHC format, NULL without a password';
COMMENT ON COLUMN accounts.oidc_issuer IS 'Issuer of the provider that vouches for it';
COMMENT ON COLUMN accounts.oidc_subject IS 'Who it is there';
COMMENT ON COLUMN accounts.totp_secret IS 'Secret of the second factor, sealed with the key of [web] key_file';

COMMENT ON TABLE account_codes IS 'Recovery codes that were not used yet';
COMMENT ON COLUMN account_codes.account_id IS 'accounts.id';
COMMENT ON COLUMN account_codes.hash IS 'SHA-256 of the code';

COMMENT ON TABLE people_groups IS 'Names for several people, for scopes';
COMMENT ON COLUMN people_groups.id IS 'Number of the group';
COMMENT ON COLUMN people_groups.changed_at IS 'When it was last changed (microseconds since 1970, UTC)';
COMMENT ON COLUMN people_groups.name IS 'Name of the group, in lower case';
COMMENT ON COLUMN people_groups.members IS 'Bare JIDs, domains and wildcards, as a JSON list';

COMMENT ON TABLE sessions IS 'Sessions of browsers that are not over';
COMMENT ON COLUMN sessions.hash IS 'SHA-256 of the cookie';
COMMENT ON COLUMN sessions.csrf IS 'Key of the tokens in the forms of this session';
COMMENT ON COLUMN sessions.account_id IS 'accounts.id';
COMMENT ON COLUMN sessions.created_at IS 'When it began (microseconds since 1970, UTC)';
COMMENT ON COLUMN sessions.used_at IS 'When it was last used, to about a minute (microseconds since 1970, UTC)';
COMMENT ON COLUMN sessions.expires_at IS 'When it ends at the latest (microseconds since 1970, UTC)';
COMMENT ON COLUMN sessions.way IS '1 began with a password, 2 began at the provider';
COMMENT ON COLUMN sessions.address IS 'From where it was begun';

COMMENT ON TABLE tokens IS 'Tokens of the API. Revoked, never removed, since audit names them';
COMMENT ON COLUMN tokens.id IS 'Number of the token';
COMMENT ON COLUMN tokens.account_id IS 'accounts.id';
COMMENT ON COLUMN tokens.created_at IS 'When it was made (microseconds since 1970, UTC)';
COMMENT ON COLUMN tokens.expires_at IS 'When it ends (microseconds since 1970, UTC)';
COMMENT ON COLUMN tokens.used_at IS 'When it was last used, to about a minute (microseconds since 1970, UTC)';
COMMENT ON COLUMN tokens.revoked_at IS 'When it was revoked (microseconds since 1970, UTC)';
COMMENT ON COLUMN tokens.roles IS 'The roles that it was given, as accounts.roles, 0 all that the account has';
COMMENT ON COLUMN tokens.hash IS 'SHA-256 of the token';
COMMENT ON COLUMN tokens.name IS 'What it is for';
COMMENT ON COLUMN tokens.scope IS 'The scope that it was given, as JSON';

COMMENT ON TABLE audit IS 'Who did what. Rows are only added';
COMMENT ON COLUMN audit.id IS 'Number of the row, without gaps, in the order of commits';
COMMENT ON COLUMN audit.at IS 'When (microseconds since 1970, UTC)';
COMMENT ON COLUMN audit.account_id IS 'accounts.id, NULL where nobody was believed, and for the command line';
COMMENT ON COLUMN audit.count IS 'How many messages, rows or files it was about';
COMMENT ON COLUMN audit.roles IS 'The roles in force, as accounts.roles';
COMMENT ON COLUMN audit.outcome IS '1 done, 2 denied, 3 failed';
COMMENT ON COLUMN audit.actor IS 'Name of the account, cli: and a user of the system, or the name under which somebody tried to sign in';
COMMENT ON COLUMN audit.action IS 'What was done, as a word such as sign-in, search, export';
COMMENT ON COLUMN audit.way IS 'How the actor was believed: password, provider, token, console, or empty';
COMMENT ON COLUMN audit.address IS 'From where';
COMMENT ON COLUMN audit.target IS 'On what, as JSON: the query, the conversation, the account';
COMMENT ON COLUMN audit.reason IS 'Why, where somebody was asked';
