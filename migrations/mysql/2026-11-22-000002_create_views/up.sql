-- Creates the views that people read: jm, for reports written for the table of that
-- name in the Message Archiver of Cisco, conversations and occupancies.
--
-- jm has a row for each copy as that archiver has it, conversations one for each message.
-- Both end with the time in microseconds: a range over that column can use an index,
-- while one over the computed time reads everything. All times are DATETIME(6) in UTC:
-- a TIMESTAMP would follow the time zone of the session and ends in 2038.

-- The rows, as evidence in deliveries has them:
--  O  once, when the message was seen on its way out of a local client or into a room,
--     or is known by a replay or an import only and its sender is local
--  I  between two people, once for the recipient: the message came from elsewhere, or a
--     copy was seen on its way to the recipient, or there are two copies of a mirror
--     that does not tell which is which, where the first is the sent one
--  I  in a room, once for each full JID that got a copy, the one who wrote it included,
--     with H where the copy was history replayed to somebody who joined
-- Only kinds that hold words for people: message, subject, correction, invitation and
-- its refusal, file, reply. A copy that a client fetched from an archive (source 5) went
-- to nobody new and makes no row.
-- Stanzas are compressed, which SQL cannot undo: message_string and message_text are
-- empty and message_len is 0. The command "export" gives the stanzas.
CREATE VIEW jm AS
SELECT
    LEFT(CASE
        WHEN r.direction = 'O' AND m.type = 2 AND c.kind = 2 THEN c.name
        WHEN r.to_id IS NOT NULL THEN CONCAT(t.jid, COALESCE(CONCAT('/', NULLIF(r.to_resource, '')), ''))
        WHEN c.kind = 2 THEN CONCAT(c.name, COALESCE(CONCAT('/', NULLIF(m.recipient_nick, '')), ''))
        ELSE ''
    END, 3071) AS to_jid,
    LEFT(CASE
        WHEN m.sender_id IS NOT NULL THEN CONCAT(s.jid, COALESCE(CONCAT('/', NULLIF(m.sender_resource, '')), ''))
        WHEN c.kind = 2 THEN CONCAT(c.name, COALESCE(CONCAT('/', NULLIF(m.sender_nick, '')), ''))
        ELSE ''
    END, 3071) AS from_jid,
    DATE_ADD(CAST('1970-01-01' AS DATETIME(6)), INTERVAL r.sent_at MICROSECOND) AS sent_date,
    LEFT(COALESCE(m.subject, ''), 128) AS subject,
    LEFT(COALESCE(m.thread, ''), 128) AS thread_id,
    CASE m.type WHEN 1 THEN 'c' WHEN 2 THEN 'g' WHEN 3 THEN 'h' WHEN 4 THEN 'e' ELSE 'n' END AS msg_type,
    r.direction AS direction,
    CHAR_LENGTH(COALESCE(m.body, '')) AS body_len,
    0 AS message_len,
    LEFT(CASE WHEN CHAR_LENGTH(COALESCE(m.body, '')) <= 4000 THEN COALESCE(m.body, '') ELSE '' END, 4000) AS body_string,
    '' AS message_string,
    CASE WHEN CHAR_LENGTH(COALESCE(m.body, '')) > 4000 THEN m.body ELSE '' END AS body_text,
    '' AS message_text,
    r.history_flag AS history_flag,
    r.sent_at AS sent_at
FROM (
    SELECT
        m.id AS message_id, m.sent_at AS sent_at, 'O' AS direction, 'N' AS history_flag,
        m.recipient_id AS to_id, m.recipient_resource AS to_resource
    FROM messages m
    WHERE m.kind IN (1, 2, 3, 7, 8, 13, 14) AND (
        (m.direction <> 1 AND m.via <> 1)
        OR EXISTS (
            SELECT 1 FROM deliveries d
            WHERE d.message_id = m.id AND d.source NOT IN (3, 4, 5) AND (
                d.direction = 1 OR d.source = 6 OR (d.direction = 0 AND m.direction <> 1)
            )
        )
    )
    UNION ALL
    SELECT
        m.id, m.sent_at, 'I', 'N', m.recipient_id,
        COALESCE(NULLIF(m.recipient_resource, ''), (
            SELECT MIN(d.resource) FROM deliveries d
            WHERE d.message_id = m.id AND d.direction = 2 AND d.source <> 5
                AND d.recipient_id = m.recipient_id
        ))
    FROM messages m
    WHERE m.kind IN (1, 2, 3, 7, 8, 13, 14) AND m.type <> 2 AND (
        m.direction = 1
        OR EXISTS (
            SELECT 1 FROM deliveries d
            WHERE d.message_id = m.id AND d.direction = 2 AND d.source <> 5
                AND (d.recipient_id IS NULL OR m.recipient_id IS NULL
                    OR d.recipient_id = m.recipient_id)
        )
        OR 2 <= (
            SELECT COUNT(*) FROM deliveries d
            WHERE d.message_id = m.id AND d.direction = 0 AND d.source = 1 AND d.source NOT IN (3, 4, 5)
                AND m.direction <> 2
        )
    )
    UNION ALL
    SELECT message_id, sent_at, 'I', history_flag, to_id, to_resource
    FROM (
        SELECT DISTINCT
            d.message_id AS message_id, m.sent_at AS sent_at,
            CASE d.source WHEN 4 THEN 'H' ELSE 'N' END AS history_flag,
            d.recipient_id AS to_id, d.resource AS to_resource
        FROM messages m
        JOIN deliveries d ON d.message_id = m.id
        WHERE m.kind IN (1, 2, 3, 7, 8, 13, 14) AND m.type = 2
            AND d.direction <> 1 AND d.source NOT IN (5, 6)
    ) AS occupants
) AS r
JOIN messages m ON m.id = r.message_id
LEFT JOIN conversation_names c ON c.id = m.conversation_id
LEFT JOIN jids s ON s.id = m.sender_id
LEFT JOIN jids t ON t.id = r.to_id;

-- One row for each message, with numbers resolved to names.
CREATE VIEW conversations AS
SELECT
    c.name AS conversation,
    CASE c.kind WHEN 1 THEN 'direct' WHEN 2 THEN 'room' ELSE 'unknown' END AS conversation_kind,
    m.id AS message_id,
    DATE_ADD(CAST('1970-01-01' AS DATETIME(6)), INTERVAL m.sent_at MICROSECOND) AS sent_at,
    DATE_ADD(CAST('1970-01-01' AS DATETIME(6)), INTERVAL m.received_at MICROSECOND) AS received_at,
    s.jid AS sender,
    m.sender_resource AS sender_resource,
    m.sender_nick AS sender_nick,
    t.jid AS recipient,
    m.recipient_resource AS recipient_resource,
    CASE m.kind
        WHEN 1 THEN 'message'
        WHEN 2 THEN 'subject'
        WHEN 3 THEN 'correction'
        WHEN 4 THEN 'retraction'
        WHEN 5 THEN 'moderation'
        WHEN 6 THEN 'reaction'
        WHEN 7 THEN 'invitation'
        WHEN 8 THEN 'invitation-declined'
        WHEN 9 THEN 'call'
        WHEN 10 THEN 'receipt'
        WHEN 11 THEN 'marker'
        WHEN 12 THEN 'chat-state'
        WHEN 13 THEN 'file'
        WHEN 14 THEN 'reply'
        ELSE 'unreadable'
    END AS kind,
    CASE m.type
        WHEN 0 THEN 'normal'
        WHEN 1 THEN 'chat'
        WHEN 2 THEN 'groupchat'
        WHEN 3 THEN 'headline'
        WHEN 4 THEN 'error'
        ELSE 'unknown'
    END AS type,
    CASE m.direction
        WHEN 1 THEN 'incoming'
        WHEN 2 THEN 'outgoing'
        WHEN 3 THEN 'internal'
        ELSE 'unknown'
    END AS direction,
    CASE m.via
        WHEN 1 THEN 'live'
        WHEN 2 THEN 'replay'
        WHEN 3 THEN 'import'
        WHEN 4 THEN 'backfill'
        ELSE 'unknown'
    END AS via,
    m.subject AS subject,
    m.thread AS thread,
    m.body AS body,
    m.stanza_id AS stanza_id,
    m.refers_to AS refers_to,
    CASE WHEN (m.flags & 1) <> 0 THEN 1 ELSE 0 END AS encrypted,
    (SELECT COUNT(*) FROM deliveries d WHERE d.message_id = m.id) AS copies,
    (
        SELECT CASE WHEN MAX(d.send_no) > 1 THEN MAX(d.send_no) ELSE 0 END
        FROM deliveries d WHERE d.message_id = m.id
    ) AS possibly_several,
    n.name AS node,
    m.sent_at AS sent_at_us
FROM messages m
LEFT JOIN conversation_names c ON c.id = m.conversation_id
LEFT JOIN jids s ON s.id = m.sender_id
LEFT JOIN jids t ON t.id = m.recipient_id
LEFT JOIN nodes n ON n.id = m.node_id;

-- Who was in which room from when to when, a row for each stay of a session. A stay ends
-- with the next event of the same session: its leave, or, where the leave was never seen,
-- the next join. left_at is NULL while the session is inside.
CREATE VIEW occupancies AS
SELECT
    r.jid AS room,
    e.nick AS nick,
    j.jid AS jid,
    e.resource AS resource,
    DATE_ADD(CAST('1970-01-01' AS DATETIME(6)), INTERVAL e.at MICROSECOND) AS joined_at,
    DATE_ADD(CAST('1970-01-01' AS DATETIME(6)), INTERVAL e.next_at MICROSECOND) AS left_at
FROM (
    SELECT
        o.room_id, o.nick, o.jid_id, o.resource, o.event, o.at,
        LEAD(o.at) OVER (
            PARTITION BY o.room_id, o.nick, COALESCE(o.jid_id, 0), COALESCE(o.resource, '')
            ORDER BY o.at, o.id
        ) AS next_at
    FROM occupancy_events o
) AS e
LEFT JOIN jids r ON r.id = e.room_id
LEFT JOIN jids j ON j.id = e.jid_id
WHERE e.event = 1;
