-- Creates what makes a large archive quick to search: the words of each message, and who
-- took part in it.
--
-- None of this is written by capture, whose transactions stay as they are. A task of its
-- own trails it (search_progress), in the order of messages.id; what it has not reached
-- yet is searched without an index. Everything here is derived and can be made anew by
-- xmpp-archiver index rebuild. Words are cut by the program (docs/SEARCH.md), so that
-- a word is the same on every database.
--
-- Needs SQLite 3.43 or newer with FTS5, which the program has built in. An older one can
-- read every other table.

-- A time beside the number, so that what is found can be put in order without
-- reading the messages.
CREATE TABLE search_index ( -- One row for each message that has words
    -- messages.id
    message_id INTEGER PRIMARY KEY,
    -- messages.sent_at
    sent_at INTEGER NOT NULL
) STRICT;
CREATE INDEX search_index_sent_at ON search_index (sent_at);

-- Which message has which words; rowid is messages.id. The texts themselves stand in
-- messages, so only the index is kept, and only the set of words: whether they stand
-- side by side is seen in the text.
CREATE VIRTUAL TABLE search_words USING fts5 (words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');

CREATE TABLE participations ( -- Who took part in which message, in the order of time
    -- jids.id
    jid_id INTEGER NOT NULL,
    -- messages.sent_at
    sent_at INTEGER NOT NULL,
    -- messages.id
    message_id INTEGER NOT NULL,
    -- Sum of: 1 wrote it, 2 it was for them or a copy went to them
    roles INTEGER NOT NULL,
    PRIMARY KEY (jid_id, sent_at, message_id)
) STRICT, WITHOUT ROWID;

-- A copy may come long after its message was indexed, and tell of somebody new. The
-- writer notes that here, and the indexer takes the note away when it has seen to it.
CREATE TABLE search_late ( -- Messages of which more became known after they were stored
    -- Number of the note
    id INTEGER PRIMARY KEY,
    -- messages.id
    message_id INTEGER NOT NULL
) STRICT;

CREATE TABLE search_progress ( -- How far the index is
    -- 1, for there is one index
    part INTEGER NOT NULL PRIMARY KEY,
    -- First messages.id that is not indexed yet
    next_id INTEGER NOT NULL,
    -- By which version of the rules its words were cut
    words_version INTEGER NOT NULL
) STRICT;
