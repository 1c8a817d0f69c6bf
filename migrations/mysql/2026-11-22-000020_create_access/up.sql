-- Creates what says who may look at the archive: accounts, groups, sessions, tokens, and
-- the audit trail.
--
-- An archive of what people wrote has to know who read it, and an auditor has to be able
-- to rely on that: rows of audit are only added, triggers refuse anything else. They bind
-- this program and everybody who signs in to it. Whoever owns the tables can drop a
-- trigger, which is why owners should be few and other people.
-- Expects the tables of 000001.

CREATE TABLE accounts (
    id BIGINT NOT NULL PRIMARY KEY COMMENT 'Number of the account, from 1',
    created_at BIGINT NOT NULL COMMENT 'When it was made (microseconds since 1970, UTC)',
    changed_at BIGINT NOT NULL COMMENT 'When somebody last changed it (microseconds since 1970, UTC)',
    signed_in_at BIGINT COMMENT 'When somebody last signed in with it (microseconds since 1970, UTC)',
    locked_until BIGINT COMMENT 'Until when passwords are refused after failures (microseconds since 1970, UTC)',
    totp_step BIGINT NOT NULL COMMENT 'Last step of 30 s since 1970 whose code was used, so that none is used twice',
    roles INTEGER NOT NULL COMMENT 'Sum of 1 operator, 2 reviewer, 4 officer, 8 auditor, 16 administrator',
    failures INTEGER NOT NULL COMMENT 'How often in a row signing in failed',
    disabled SMALLINT NOT NULL COMMENT '1 when nobody can sign in with it, else 0',
    must_change SMALLINT NOT NULL COMMENT '1 when the password must be changed first, else 0',
    name VARCHAR(191) NOT NULL COMMENT 'Name to sign in with, in lower case',
    display_name LONGTEXT NOT NULL COMMENT 'Name for people',
    scope LONGTEXT COMMENT 'Whose messages a reviewer may read, as JSON',
    password_hash LONGTEXT COMMENT 'Argon2id in PHC format, NULL without a password',
    oidc_issuer VARCHAR(191) COMMENT 'Issuer of the provider that vouches for it',
    oidc_subject VARCHAR(255) COMMENT 'Who it is there',
    totp_secret LONGBLOB COMMENT 'Secret of the second factor, sealed with the key of [web] key_file',
    UNIQUE KEY accounts_name (name),
    UNIQUE KEY accounts_oidc (oidc_issuer, oidc_subject)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Who may sign in. Never removed, since audit names them';

CREATE TABLE account_codes (
    account_id BIGINT NOT NULL COMMENT 'accounts.id',
    hash BINARY(32) NOT NULL COMMENT 'SHA-256 of the code',
    PRIMARY KEY (account_id, hash)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Recovery codes that were not used yet';

CREATE TABLE people_groups (
    id BIGINT NOT NULL PRIMARY KEY COMMENT 'Number of the group',
    changed_at BIGINT NOT NULL COMMENT 'When it was last changed (microseconds since 1970, UTC)',
    name VARCHAR(191) NOT NULL COMMENT 'Name of the group, in lower case',
    members LONGTEXT NOT NULL COMMENT 'Bare JIDs, domains and wildcards, as a JSON list',
    UNIQUE KEY people_groups_name (name)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Names for several people, for scopes';

CREATE TABLE sessions (
    hash BINARY(32) NOT NULL PRIMARY KEY COMMENT 'SHA-256 of the cookie',
    csrf BINARY(32) NOT NULL COMMENT 'Key of the tokens in the forms of this session',
    account_id BIGINT NOT NULL COMMENT 'accounts.id',
    created_at BIGINT NOT NULL COMMENT 'When it began (microseconds since 1970, UTC)',
    used_at BIGINT NOT NULL COMMENT 'When it was last used, to about a minute (microseconds since 1970, UTC)',
    expires_at BIGINT NOT NULL COMMENT 'When it ends at the latest (microseconds since 1970, UTC)',
    way SMALLINT NOT NULL COMMENT '1 began with a password, 2 began at the provider',
    address LONGTEXT COMMENT 'From where it was begun',
    KEY sessions_account (account_id)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Sessions of browsers that are not over';

CREATE TABLE tokens (
    id BIGINT NOT NULL PRIMARY KEY COMMENT 'Number of the token',
    account_id BIGINT NOT NULL COMMENT 'accounts.id',
    created_at BIGINT NOT NULL COMMENT 'When it was made (microseconds since 1970, UTC)',
    expires_at BIGINT COMMENT 'When it ends (microseconds since 1970, UTC)',
    used_at BIGINT COMMENT 'When it was last used, to about a minute (microseconds since 1970, UTC)',
    revoked_at BIGINT COMMENT 'When it was revoked (microseconds since 1970, UTC)',
    roles INTEGER NOT NULL COMMENT 'The roles that it was given, as accounts.roles, 0 all that the account has',
    hash BINARY(32) NOT NULL COMMENT 'SHA-256 of the token',
    name LONGTEXT NOT NULL COMMENT 'What it is for',
    scope LONGTEXT COMMENT 'The scope that it was given, as JSON',
    UNIQUE KEY tokens_hash (hash)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Tokens of the API. Revoked, never removed, since audit names them';

CREATE TABLE audit (
    id BIGINT NOT NULL PRIMARY KEY COMMENT 'Number of the row, without gaps, in the order of commits',
    at BIGINT NOT NULL COMMENT 'When (microseconds since 1970, UTC)',
    account_id BIGINT COMMENT 'accounts.id, NULL where nobody was believed, and for the command line',
    count BIGINT COMMENT 'How many messages, rows or files it was about',
    roles INTEGER NOT NULL COMMENT 'The roles in force, as accounts.roles',
    outcome SMALLINT NOT NULL COMMENT '1 done, 2 denied, 3 failed',
    actor VARCHAR(191) NOT NULL COMMENT 'Name of the account, cli: and a user of the system, or the name under which somebody tried to sign in',
    action VARCHAR(191) NOT NULL COMMENT 'What was done, as a word such as sign-in, search, export',
    way VARCHAR(191) NOT NULL COMMENT 'How the actor was believed: password, provider, token, console, or empty',
    address VARCHAR(191) COMMENT 'From where',
    target LONGTEXT NOT NULL COMMENT 'On what, as JSON: the query, the conversation, the account',
    reason LONGTEXT COMMENT 'Why, where somebody was asked',
    KEY audit_at (at),
    KEY audit_actor (actor, id),
    KEY audit_action (action, id)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Who did what. Rows are only added';

-- Whoever adds a row locks this one first, so that numbers are without gaps.
INSERT INTO settings (name, value) VALUES ('audit', '0');

INSERT INTO audit (id, at, roles, outcome, actor, action, way, target)
SELECT 1, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)), 0, 1, 'migration', 'begin', '', '{}';

-- With the binary log on, a server asks for SUPER to make a trigger unless it has
-- log_bin_trust_function_creators = 1. xmpp-archiver goes on without them then, says so
-- at once and in each check, and makes them with the next migrate that may. There is no
-- trigger for TRUNCATE, which asks for the right to DROP.
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'rows of audit are only added';
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'rows of audit are only added';
