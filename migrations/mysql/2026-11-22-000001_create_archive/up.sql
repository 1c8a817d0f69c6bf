-- Creates the archive: what was said, to whom each copy went, and the dictionaries
-- that keep both small.
--
-- Valid on MariaDB 10.6 and MySQL 8.0 and newer. Every table names its character set,
-- because a server whose default is latin1 turns each emoji into a question mark and
-- reports success. The collation is binary: JIDs and ids are normalised before they
-- come here, and two that differ in one letter are two. ROW_FORMAT is named too, for
-- index keys may only be long in DYNAMIC rows.
--
-- Text whose length a stanza decides is LONGTEXT, stanzas are LONGBLOB: that costs
-- nothing in a short row, and no message is refused here that another database takes.

-- Every JID that was ever seen, once. A message names two of them, its deliveries
-- dozens: four bytes each time instead of thirty, and one place to look one up.
-- A JID of 2047 characters is too long for a unique key in utf8mb4, which may have 3072
-- bytes, and a key on its beginning would refuse two JIDs that begin alike. So the
-- hash, which the server computes, is unique, and the beginning is indexed for look-ups.
CREATE TABLE jids (
    id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'The number that stands for this JID everywhere else',
    jid TEXT NOT NULL COMMENT 'Bare JID, normalised, XEP-0106 escapes kept as they were sent',
    jid_hash BINARY(32) GENERATED ALWAYS AS (UNHEX(SHA2(jid, 256))) STORED COMMENT 'Makes jid unique, computed by the server',
    UNIQUE KEY jids_jid_hash (jid_hash),
    KEY jids_jid (jid(128))
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Dictionary of bare JIDs, normalised as RFC 7622 says';

CREATE TABLE nodes (
    id SMALLINT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'The number that stands for this node everywhere else',
    name VARCHAR(255) NOT NULL UNIQUE COMMENT 'Name of the node in the configuration'
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'IM nodes that mirror to this archive';

-- The name says it all. The two numbers spare a split when somebody asks for
-- all conversations of one person.
CREATE TABLE conversation_names (
    id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'The number that stands for this conversation in messages',
    kind SMALLINT NOT NULL COMMENT '1 direct (two people), 2 room',
    first_id INTEGER COMMENT 'jids.id of the room, or of the JID that sorts first',
    second_id INTEGER COMMENT 'jids.id of the JID that sorts second, NULL for a room',
    name TEXT NOT NULL COMMENT 'The room JID, or both bare JIDs sorted and joined by one space',
    name_hash BINARY(32) GENERATED ALWAYS AS (UNHEX(SHA2(name, 256))) STORED COMMENT 'Makes name unique, computed by the server',
    UNIQUE KEY conversation_names_name_hash (name_hash),
    KEY conversation_names_name (name(128)),
    KEY conversation_names_people (first_id, second_id),
    KEY conversation_names_second (second_id)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Dictionary of conversations: a room, or two people';

-- A correction, a retraction or a reaction is a row of its own that refers to the
-- original: nothing that was said is ever overwritten. No foreign keys here nor on
-- the tables that hang on this one: a partition could not carry them later, and the
-- writer fills the dictionaries in the same transaction.
CREATE TABLE messages (
    id BIGINT NOT NULL PRIMARY KEY COMMENT 'Number of the message: given by the writer without gaps, in the order of commits',
    sent_at BIGINT NOT NULL COMMENT 'When it was sent: the trusted delay stamp of its origin, else its arrival (microseconds since 1970, UTC)',
    received_at BIGINT NOT NULL COMMENT 'When its first copy reached the archive (microseconds since 1970, UTC)',
    refers_to BIGINT COMMENT 'messages.id of the message that this one corrects, retracts, reacts to or answers, when it is known',
    conversation_id INTEGER NOT NULL COMMENT 'conversation_names.id',
    sender_id INTEGER COMMENT 'jids.id of the real sender, NULL when only the nick is known',
    recipient_id INTEGER COMMENT 'jids.id of the addressee, in a room the room',
    flags INTEGER NOT NULL COMMENT 'Sum of: 1 encrypted, 2 no-store hint, 4 no-permanent-store hint, 8 no-copy hint, 16 store hint, 32 XML not namespace-well-formed, 64 body is only a fallback text, 128 author does not match that of the message referred to, 256 room private message, 512 origin_id is the same as stanza_id',
    node_id SMALLINT NOT NULL COMMENT 'nodes.id of the node that mirrored the first copy',
    kind TINYINT NOT NULL COMMENT '1 message, 2 subject, 3 correction, 4 retraction, 5 moderation, 6 reaction, 7 invitation, 8 invitation declined, 9 call, 10 receipt, 11 marker, 12 chat state, 13 file, 14 reply, 99 unreadable',
    type TINYINT NOT NULL COMMENT 'Type of the stanza: 0 normal, 1 chat, 2 groupchat, 3 headline, 4 error',
    direction TINYINT NOT NULL COMMENT '0 unknown, 1 incoming (remote to local), 2 outgoing (local to remote), 3 internal (local to local)',
    via TINYINT NOT NULL COMMENT 'How it came to be known: 1 live, 2 replay, 3 import, 4 backfill',
    content_key BINARY(12) NOT NULL COMMENT 'Hash of what all copies of one message share, not unique, since people do say the same thing twice',
    sender_resource LONGTEXT COMMENT 'Resource that the sender wrote from',
    sender_nick LONGTEXT COMMENT 'Nick of the sender in the room',
    recipient_resource LONGTEXT COMMENT 'Resource that the message was addressed to',
    recipient_nick LONGTEXT COMMENT 'Nick of the recipient of a room private message',
    stanza_id LONGTEXT COMMENT 'The id attribute of the stanza',
    origin_id LONGTEXT COMMENT 'XEP-0359 origin-id, NULL when there is none or, as flag 512 says, it is the same as stanza_id',
    thread LONGTEXT COMMENT 'Thread (RFC 6121, section 5.2.5)',
    subject LONGTEXT COMMENT 'Subject',
    lang LONGTEXT COMMENT 'xml:lang of the body',
    refers_to_id LONGTEXT COMMENT 'The id that the stanza itself names as the message it refers to',
    detail LONGTEXT COMMENT 'What is particular to the kind, as JSON: emoji, link, password-protected room, call',
    body LONGTEXT COMMENT 'Text of the message as it was sent',
    xml LONGBLOB NOT NULL COMMENT 'The stanza exactly as it was received: one format byte, then the bytes (migrations/README.md)',
    KEY messages_content_key (content_key(8)),
    KEY messages_conversation_sent_at (conversation_id, sent_at),
    KEY messages_sent_at (sent_at)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Every archived message, once. Rows are only ever added';

-- No copy is thrown away: each is evidence of who sent and who got a message. The
-- number of the message comes first in the key, so the copies of a message lie
-- together and the table can be cut by message number as messages can.
CREATE TABLE deliveries (
    message_id BIGINT NOT NULL COMMENT 'messages.id',
    at BIGINT NOT NULL COMMENT 'When this copy reached the archive (microseconds since 1970, UTC)',
    seq INTEGER NOT NULL COMMENT 'Number of the copy within its message, from 0',
    recipient_id INTEGER COMMENT 'jids.id of the account that this copy went to',
    node_id SMALLINT NOT NULL COMMENT 'nodes.id of the node that mirrored this copy',
    direction TINYINT NOT NULL COMMENT '0 unknown, 1 sent, 2 received',
    source TINYINT NOT NULL COMMENT '1 direct copy, 2 carbon (XEP-0280), 3 late copy (offline or XEP-0198), 4 room history, 5 archive result (XEP-0313), 6 into the room, 7 from the room to an occupant, 8 direct copy whose direction the mirror told',
    send_no SMALLINT NOT NULL COMMENT 'Which send this copy belongs to when equal messages could not be told apart, from 1',
    resource LONGTEXT COMMENT 'Resource that this copy went to',
    xml LONGBLOB COMMENT 'The stanza of this copy, NULL when it is that of an earlier copy but for its to attribute',
    PRIMARY KEY (message_id, seq)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Every copy of every message that a node showed: who got it, where and when. Rows are only ever added';

-- The only way in which a replay that comes days later is known for what it is. Not
-- unique by key alone: a unique key over all time would forbid partitions, and two
-- messages with one forged stanza-id must both be kept.
CREATE TABLE message_keys (
    message_id BIGINT NOT NULL COMMENT 'messages.id',
    by_id INTEGER COMMENT 'jids.id of the room, account or node that gave the name',
    kind SMALLINT NOT NULL COMMENT '1 stanza-id (XEP-0359), 2 ref given by the mirror',
    `key` BINARY(12) NOT NULL COMMENT 'Hash of the kind, by and value: what look-ups use',
    value LONGTEXT NOT NULL COMMENT 'The name itself',
    PRIMARY KEY (message_id, `key`),
    KEY message_keys_key (`key`)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Exact names of a message, by which later copies and replays are recognised';

CREATE TABLE bounces (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'Number of the bounce',
    message_id BIGINT COMMENT 'messages.id of the message that bounced, NULL when it is not known',
    at BIGINT NOT NULL COMMENT 'When the error reached the archive (microseconds since 1970, UTC)',
    from_id INTEGER COMMENT 'jids.id of who sent the error',
    to_id INTEGER COMMENT 'jids.id of who it went to',
    node_id SMALLINT NOT NULL COMMENT 'nodes.id of the node that mirrored it',
    stanza_id LONGTEXT COMMENT 'The id attribute of the error, which is that of the message',
    `condition` LONGTEXT NOT NULL COMMENT 'Defined condition, such as service-unavailable',
    text LONGTEXT COMMENT 'Explanation in words',
    xml LONGBLOB NOT NULL COMMENT 'The error stanza: one format byte, then the bytes',
    KEY bounces_message_id (message_id)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Errors that came back for messages (RFC 6120, section 8.3)';

CREATE TABLE rooms (
    jid_id INTEGER NOT NULL PRIMARY KEY COMMENT 'jids.id of the room',
    kind SMALLINT NOT NULL COMMENT '0 unknown, 1 persistent, 2 ad hoc',
    first_seen_at BIGINT NOT NULL COMMENT 'When the room was first seen (microseconds since 1970, UTC)'
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Rooms that were seen';

CREATE TABLE occupancy_events (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'Number of the event',
    at BIGINT NOT NULL COMMENT 'When it happened (microseconds since 1970, UTC)',
    room_id INTEGER NOT NULL COMMENT 'jids.id of the room',
    jid_id INTEGER COMMENT 'jids.id of the occupant, NULL when only the nick is known',
    event SMALLINT NOT NULL COMMENT '1 join, 2 leave',
    node_id SMALLINT NOT NULL COMMENT 'nodes.id of the node that showed it',
    nick LONGTEXT NOT NULL COMMENT 'Nick of the occupant',
    resource LONGTEXT COMMENT 'Resource of the occupant',
    KEY occupancy_events_room_at (room_id, at)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Who joined and left which room, when. The view occupancies makes intervals of them';

-- One record that the database refuses must not hold up those behind it.
CREATE TABLE quarantine (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'Number of the entry',
    seq BIGINT NOT NULL COMMENT 'Number of the record in its spool',
    received_at BIGINT NOT NULL COMMENT 'When the record reached the archive (microseconds since 1970, UTC)',
    node_id SMALLINT COMMENT 'nodes.id of the node that it came from, NULL when that is unreadable',
    spool_id BINARY(16) NOT NULL COMMENT 'The spool that it came from',
    reason LONGTEXT NOT NULL COMMENT 'Why it could not be stored',
    record LONGBLOB NOT NULL COMMENT 'The spool record as it was',
    CONSTRAINT quarantine_spool_seq UNIQUE (spool_id, seq)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Spool records that could not be stored, kept whole until an operator decides';

-- A spool may be read again from any point: what lies below next_seq is stored.
CREATE TABLE progress (
    spool_id BINARY(16) NOT NULL PRIMARY KEY COMMENT 'The spool',
    next_seq BIGINT NOT NULL COMMENT 'First record of that spool that is not stored yet'
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'How far each spool has been stored. It moves in the transaction that stores';

CREATE TABLE settings (
    name VARCHAR(255) NOT NULL PRIMARY KEY COMMENT 'Name of the setting',
    value LONGBLOB NOT NULL COMMENT 'Its value'
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'What the archive must remember about itself, such as the dictionary that xml is compressed with';
