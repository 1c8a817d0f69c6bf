-- Creates the account of what was missed and of what became of everything that came.
--
-- A mirror that queues nothing drops its copies in silence while the archiver is away.
-- Nobody can put that right who does not know when it was. So each such interval is a
-- row, and stays one: a backfill or a person changes its state, nobody deletes it.
-- Expects the tables of 000001.

CREATE TABLE gaps ( -- Intervals in which messages of a node may have been missed
    -- Number of the gap
    id INTEGER PRIMARY KEY,
    -- nodes.id of the node whose messages may have been missed, 0 when it is not known which
    node_id INTEGER NOT NULL,
    -- Begin, never later than the truth (microseconds since 1970, UTC)
    from_at INTEGER NOT NULL,
    -- End, never earlier than the truth (microseconds since 1970, UTC), NULL while it lasts
    to_at INTEGER,
    -- 1 connection lost, 2 jump in the sequence of the queue of the node, 3 new epoch of that queue, 4 stanza over the size limit, 5 record in quarantine, 6 spool at its limit, 7 archiver not running, 8 spool damaged
    reason INTEGER NOT NULL,
    -- 1 open, 2 backfilled, 3 partly backfilled, 4 unrecoverable, 5 closed by hand
    state INTEGER NOT NULL,
    -- How many copies were lost, NULL when that is not known
    lost INTEGER,
    -- How many messages a backfill added
    found INTEGER NOT NULL,
    -- How many messages a backfill found to be there already
    known INTEGER NOT NULL,
    -- What whoever changed the state had to say
    note TEXT,
    -- Who changed the state last
    changed_by TEXT,
    -- When the row was last changed (microseconds since 1970, UTC)
    changed_at INTEGER NOT NULL,
    -- What is particular to the reason, as JSON
    detail TEXT
) STRICT;
CREATE INDEX gaps_node_from ON gaps (node_id, from_at);

-- Counts move in the transaction that stores what they count, so they are exact
-- whatever is killed when. What never reached the spool is counted by the intake and
-- comes through the spool as well, some seconds later.
CREATE TABLE tallies ( -- What became of every stanza that came, by node and day of arrival
    -- nodes.id of the node that it came from, 0 when that is unreadable
    node_id INTEGER NOT NULL,
    -- Day of arrival, in days since 1970-01-01 UTC
    day INTEGER NOT NULL,
    -- 1 received, 2 archived as a new message, 3 a further copy of a message, 4 a replayed copy of a message, 5 skipped, 6 in quarantine, 7 lost, 8 forged, 9 an error for a message, 10 repeated by the node. The received are the sum of all others
    state INTEGER NOT NULL,
    -- Why, empty where there is no more to say
    reason TEXT NOT NULL,
    -- How many
    count INTEGER NOT NULL,
    PRIMARY KEY (node_id, day, state, reason)
) STRICT, WITHOUT ROWID;

-- What was archived before there were counts can not be compared with any.
INSERT INTO settings (name, value)
SELECT 'tallied_since', CAST(CAST(CASE WHEN EXISTS (SELECT 1 FROM messages)
    THEN CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) ELSE 0 END AS TEXT) AS BLOB);
