-- Creates what makes a large archive quick to search: the words of each message, and who
-- took part in it.
--
-- None of this is written by capture, whose transactions stay as they are. A task of its
-- own trails it (search_progress), in the order of messages.id; what it has not reached
-- yet is searched without an index. Everything here is derived and can be made anew by
-- xmpp-archiver index rebuild. Words are cut by the program (docs/SEARCH.md), so that
-- a word is the same on every database. They stand here as codes of letters and digits, for
-- the full text of this database has its own idea of other letters.

-- The set of words without their places: whether words stand side by side is seen in the
-- text. A time beside the number, so that what is found can be put in order without
-- reading the messages.
CREATE TABLE search_index (
    message_id BIGINT NOT NULL PRIMARY KEY COMMENT 'messages.id',
    sent_at BIGINT NOT NULL COMMENT 'messages.sent_at',
    words LONGTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'The words of the message as codes (docs/SEARCH.md)',
    KEY search_index_sent_at (sent_at),
    FULLTEXT KEY search_index_words (words)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'One row for each message that has words';

CREATE TABLE participations (
    jid_id INTEGER NOT NULL COMMENT 'jids.id',
    sent_at BIGINT NOT NULL COMMENT 'messages.sent_at',
    message_id BIGINT NOT NULL COMMENT 'messages.id',
    roles TINYINT NOT NULL COMMENT 'Sum of: 1 wrote it, 2 it was for them or a copy went to them',
    PRIMARY KEY (jid_id, sent_at, message_id)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Who took part in which message, in the order of time';

-- A copy may come long after its message was indexed, and tell of somebody new. The
-- writer notes that here, and the indexer takes the note away when it has seen to it.
CREATE TABLE search_late (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'Number of the note',
    message_id BIGINT NOT NULL COMMENT 'messages.id'
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Messages of which more became known after they were stored';

CREATE TABLE search_progress (
    part SMALLINT NOT NULL PRIMARY KEY COMMENT '1, for there is one index',
    next_id BIGINT NOT NULL COMMENT 'First messages.id that is not indexed yet',
    words_version INTEGER NOT NULL COMMENT 'By which version of the rules its words were cut'
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'How far the index is';
