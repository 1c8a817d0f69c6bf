-- Creates the archive: what was said, to whom each copy went, and the dictionaries
-- that keep both small.
--
-- STRICT tables refuse a value of the wrong type, which SQLite otherwise stores.
-- INTEGER holds every number, whatever its width. Comments stand within the tables,
-- where SQLite keeps them: ".schema messages" shows them.
--
-- Needs SQLite 3.37 or newer.

-- Every JID that was ever seen, once. A message names two of them, its deliveries
-- dozens: four bytes each time instead of thirty, and one place to look one up.
CREATE TABLE jids ( -- Dictionary of bare JIDs, normalised as RFC 7622 says
    -- The number that stands for this JID everywhere else
    id INTEGER PRIMARY KEY,
    -- Bare JID, normalised, XEP-0106 escapes kept as they were sent
    jid TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE nodes ( -- IM nodes that mirror to this archive
    -- The number that stands for this node everywhere else
    id INTEGER PRIMARY KEY,
    -- Name of the node in the configuration
    name TEXT NOT NULL UNIQUE
) STRICT;

-- The name says it all. The two numbers spare a split when somebody asks for
-- all conversations of one person.
CREATE TABLE conversation_names ( -- Dictionary of conversations: a room, or two people
    -- The number that stands for this conversation in messages
    id INTEGER PRIMARY KEY,
    -- 1 direct (two people), 2 room
    kind INTEGER NOT NULL,
    -- jids.id of the room, or of the JID that sorts first
    first_id INTEGER,
    -- jids.id of the JID that sorts second, NULL for a room
    second_id INTEGER,
    -- The room JID, or both bare JIDs sorted and joined by one space
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE INDEX conversation_names_people ON conversation_names (first_id, second_id);
CREATE INDEX conversation_names_second ON conversation_names (second_id);

-- A correction, a retraction or a reaction is a row of its own that refers to the
-- original: nothing that was said is ever overwritten. No foreign keys here nor on
-- the tables that hang on this one: a partition could not carry them later, and the
-- writer fills the dictionaries in the same transaction.
CREATE TABLE messages ( -- Every archived message, once. Rows are only ever added
    -- Number of the message: given by the writer without gaps, in the order of commits
    id INTEGER PRIMARY KEY,
    -- When it was sent: the trusted delay stamp of its origin, else its arrival (microseconds
    -- since 1970, UTC)
    sent_at INTEGER NOT NULL,
    -- When its first copy reached the archive (microseconds since 1970, UTC)
    received_at INTEGER NOT NULL,
    -- messages.id of the message that this one corrects, retracts, reacts to or answers, when it
    -- is known
    refers_to INTEGER,
    -- conversation_names.id
    conversation_id INTEGER NOT NULL,
    -- jids.id of the real sender, NULL when only the nick is known
    sender_id INTEGER,
    -- jids.id of the addressee, in a room the room
    recipient_id INTEGER,
    -- Sum of: 1 encrypted, 2 no-store hint, 4 no-permanent-store hint, 8 no-copy hint, 16 store
    -- hint, 32 XML not namespace-well-formed, 64 body is only a fallback text, 128 author does not
    -- match that of the message referred to, 256 room private message, 512 origin_id is the same as
    -- stanza_id
    flags INTEGER NOT NULL,
    -- nodes.id of the node that mirrored the first copy
    node_id INTEGER NOT NULL,
    -- 1 message, 2 subject, 3 correction, 4 retraction, 5 moderation, 6 reaction, 7 invitation, 8
    -- invitation declined, 9 call, 10 receipt, 11 marker, 12 chat state, 13 file, 14 reply, 99
    -- unreadable
    kind INTEGER NOT NULL,
    -- Type of the stanza: 0 normal, 1 chat, 2 groupchat, 3 headline, 4 error
    type INTEGER NOT NULL,
    -- 0 unknown, 1 incoming (remote to local), 2 outgoing (local to remote), 3 internal (local to
    -- local)
    direction INTEGER NOT NULL,
    -- How it came to be known: 1 live, 2 replay, 3 import, 4 backfill
    via INTEGER NOT NULL,
    -- Hash of what all copies of one message share, not unique, since people do say the same thing
    -- twice
    content_key BLOB NOT NULL,
    -- Resource that the sender wrote from
    sender_resource TEXT,
    -- Nick of the sender in the room
    sender_nick TEXT,
    -- Resource that the message was addressed to
    recipient_resource TEXT,
    -- Nick of the recipient of a room private message
    recipient_nick TEXT,
    -- The id attribute of the stanza
    stanza_id TEXT,
    -- XEP-0359 origin-id, NULL when there is none or, as flag 512 says, it is the same as stanza_id
    origin_id TEXT,
    -- Thread (RFC 6121, section 5.2.5)
    thread TEXT,
    -- Subject
    subject TEXT,
    -- xml:lang of the body
    lang TEXT,
    -- The id that the stanza itself names as the message it refers to
    refers_to_id TEXT,
    -- What is particular to the kind, as JSON: emoji, link, password-protected room, call
    detail TEXT,
    -- Text of the message as it was sent
    body TEXT,
    -- The stanza exactly as it was received: one format byte, then the bytes
    -- (migrations/README.md)
    xml BLOB NOT NULL
) STRICT;
CREATE INDEX messages_content_key ON messages (content_key);
CREATE INDEX messages_conversation_sent_at ON messages (conversation_id, sent_at);
CREATE INDEX messages_sent_at ON messages (sent_at);

-- No copy is thrown away: each is evidence of who sent and who got a message. The
-- number of the message comes first in the key, so the copies of a message lie
-- together and the table can be cut by message number as messages can.
CREATE TABLE deliveries ( -- Every copy of every message that a node showed: who got it, where and when. Rows are only ever added
    -- messages.id
    message_id INTEGER NOT NULL,
    -- When this copy reached the archive (microseconds since 1970, UTC)
    at INTEGER NOT NULL,
    -- Number of the copy within its message, from 0
    seq INTEGER NOT NULL,
    -- jids.id of the account that this copy went to
    recipient_id INTEGER,
    -- nodes.id of the node that mirrored this copy
    node_id INTEGER NOT NULL,
    -- 0 unknown, 1 sent, 2 received
    direction INTEGER NOT NULL,
    -- 1 direct copy, 2 carbon (XEP-0280), 3 late copy (offline or XEP-0198), 4 room history, 5
    -- archive result (XEP-0313), 6 into the room, 7 from the room to an occupant, 8 direct copy
    -- whose direction the mirror told
    source INTEGER NOT NULL,
    -- Which send this copy belongs to when equal messages could not be told apart, from 1
    send_no INTEGER NOT NULL,
    -- Resource that this copy went to
    resource TEXT,
    -- The stanza of this copy, NULL when it is that of an earlier copy but for its to attribute
    xml BLOB,
    PRIMARY KEY (message_id, seq)
) STRICT, WITHOUT ROWID;

-- The only way in which a replay that comes days later is known for what it is. Not
-- unique by key alone: a unique key over all time would forbid partitions, and two
-- messages with one forged stanza-id must both be kept.
CREATE TABLE message_keys ( -- Exact names of a message, by which later copies and replays are recognised
    -- messages.id
    message_id INTEGER NOT NULL,
    -- jids.id of the room, account or node that gave the name
    by_id INTEGER,
    -- 1 stanza-id (XEP-0359), 2 ref given by the mirror
    kind INTEGER NOT NULL,
    -- Hash of the kind, by and value: what look-ups use
    key BLOB NOT NULL,
    -- The name itself
    value TEXT NOT NULL,
    PRIMARY KEY (message_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_keys_key ON message_keys (key);

CREATE TABLE bounces ( -- Errors that came back for messages (RFC 6120, section 8.3)
    -- Number of the bounce
    id INTEGER PRIMARY KEY,
    -- messages.id of the message that bounced, NULL when it is not known
    message_id INTEGER,
    -- When the error reached the archive (microseconds since 1970, UTC)
    at INTEGER NOT NULL,
    -- jids.id of who sent the error
    from_id INTEGER,
    -- jids.id of who it went to
    to_id INTEGER,
    -- nodes.id of the node that mirrored it
    node_id INTEGER NOT NULL,
    -- The id attribute of the error, which is that of the message
    stanza_id TEXT,
    -- Defined condition, such as service-unavailable
    condition TEXT NOT NULL,
    -- Explanation in words
    text TEXT,
    -- The error stanza: one format byte, then the bytes
    xml BLOB NOT NULL
) STRICT;
CREATE INDEX bounces_message_id ON bounces (message_id);

CREATE TABLE rooms ( -- Rooms that were seen
    -- jids.id of the room
    jid_id INTEGER PRIMARY KEY,
    -- 0 unknown, 1 persistent, 2 ad hoc
    kind INTEGER NOT NULL,
    -- When the room was first seen (microseconds since 1970, UTC)
    first_seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE occupancy_events ( -- Who joined and left which room, when. The view occupancies makes intervals of them
    -- Number of the event
    id INTEGER PRIMARY KEY,
    -- When it happened (microseconds since 1970, UTC)
    at INTEGER NOT NULL,
    -- jids.id of the room
    room_id INTEGER NOT NULL,
    -- jids.id of the occupant, NULL when only the nick is known
    jid_id INTEGER,
    -- 1 join, 2 leave
    event INTEGER NOT NULL,
    -- nodes.id of the node that showed it
    node_id INTEGER NOT NULL,
    -- Nick of the occupant
    nick TEXT NOT NULL,
    -- Resource of the occupant
    resource TEXT
) STRICT;
CREATE INDEX occupancy_events_room_at ON occupancy_events (room_id, at);

-- One record that the database refuses must not hold up those behind it.
CREATE TABLE quarantine ( -- Spool records that could not be stored, kept whole until an operator decides
    -- Number of the entry
    id INTEGER PRIMARY KEY,
    -- Number of the record in its spool
    seq INTEGER NOT NULL,
    -- When the record reached the archive (microseconds since 1970, UTC)
    received_at INTEGER NOT NULL,
    -- nodes.id of the node that it came from, NULL when that is unreadable
    node_id INTEGER,
    -- The spool that it came from
    spool_id BLOB NOT NULL,
    -- Why it could not be stored
    reason TEXT NOT NULL,
    -- The spool record as it was
    record BLOB NOT NULL,
    CONSTRAINT quarantine_spool_seq UNIQUE (spool_id, seq)
) STRICT;

-- A spool may be read again from any point: what lies below next_seq is stored.
CREATE TABLE progress ( -- How far each spool has been stored. It moves in the transaction that stores
    -- The spool
    spool_id BLOB NOT NULL PRIMARY KEY,
    -- First record of that spool that is not stored yet
    next_seq INTEGER NOT NULL
) STRICT;

CREATE TABLE settings ( -- What the archive must remember about itself, such as the dictionary that xml is compressed with
    -- Name of the setting
    name TEXT NOT NULL PRIMARY KEY,
    -- Its value
    value BLOB NOT NULL
) STRICT;
