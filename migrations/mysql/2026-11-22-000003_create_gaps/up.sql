-- Creates the account of what was missed and of what became of everything that came.
--
-- A mirror that queues nothing drops its copies in silence while the archiver is away.
-- Nobody can put that right who does not know when it was. So each such interval is a
-- row, and stays one: a backfill or a person changes its state, nobody deletes it.
-- Expects the tables of 000001.

CREATE TABLE gaps (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'Number of the gap',
    node_id SMALLINT NOT NULL COMMENT 'nodes.id of the node whose messages may have been missed, 0 when it is not known which',
    from_at BIGINT NOT NULL COMMENT 'Begin, never later than the truth (microseconds since 1970, UTC)',
    to_at BIGINT COMMENT 'End, never earlier than the truth (microseconds since 1970, UTC), NULL while it lasts',
    reason SMALLINT NOT NULL COMMENT '1 connection lost, 2 jump in the sequence of the queue of the node, 3 new epoch of that queue, 4 stanza over the size limit, 5 record in quarantine, 6 spool at its limit, 7 archiver not running, 8 spool damaged',
    state SMALLINT NOT NULL COMMENT '1 open, 2 backfilled, 3 partly backfilled, 4 unrecoverable, 5 closed by hand',
    lost BIGINT COMMENT 'How many copies were lost, NULL when that is not known',
    found BIGINT NOT NULL COMMENT 'How many messages a backfill added',
    known BIGINT NOT NULL COMMENT 'How many messages a backfill found to be there already',
    note LONGTEXT COMMENT 'What whoever changed the state had to say',
    changed_by LONGTEXT COMMENT 'Who changed the state last',
    changed_at BIGINT NOT NULL COMMENT 'When the row was last changed (microseconds since 1970, UTC)',
    detail LONGTEXT COMMENT 'What is particular to the reason, as JSON',
    KEY gaps_node_from (node_id, from_at)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Intervals in which messages of a node may have been missed';

-- Counts move in the transaction that stores what they count, so they are exact
-- whatever is killed when. What never reached the spool is counted by the intake and
-- comes through the spool as well, some seconds later.
CREATE TABLE tallies (
    node_id SMALLINT NOT NULL COMMENT 'nodes.id of the node that it came from, 0 when that is unreadable',
    day INTEGER NOT NULL COMMENT 'Day of arrival, in days since 1970-01-01 UTC',
    state SMALLINT NOT NULL COMMENT '1 received, 2 archived as a new message, 3 a further copy of a message, 4 a replayed copy of a message, 5 skipped, 6 in quarantine, 7 lost, 8 forged, 9 an error for a message, 10 repeated by the node. The received are the sum of all others',
    reason VARCHAR(191) NOT NULL COMMENT 'Why, empty where there is no more to say',
    count BIGINT NOT NULL COMMENT 'How many',
    PRIMARY KEY (node_id, day, state, reason)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'What became of every stanza that came, by node and day of arrival';

-- What was archived before there were counts can not be compared with any.
INSERT INTO settings (name, value)
SELECT 'tallied_since', CAST(CASE WHEN EXISTS (SELECT 1 FROM messages)
    THEN TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) ELSE 0 END AS CHAR);
