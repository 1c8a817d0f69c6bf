-- What is asked of the rows of views_rows.sql. The answers, NULL as nothing, columns parted by |
-- and times as SQLite writes them, are in views_expected.txt.
SELECT sent_at, direction, history_flag, msg_type, from_jid, to_jid, body_len, message_len,
    substr(body_string, 1, 12), substr(body_text, 1, 5), sent_date, substr(subject, 127, 5)
    FROM jm ORDER BY 1, 2 DESC, 3 DESC, 6;
SELECT message_id, conversation, conversation_kind, sent_at, sender, sender_resource, sender_nick,
    recipient, kind, type, direction, via, refers_to, encrypted, copies, possibly_several, node, sent_at_us
    FROM conversations ORDER BY 1;
SELECT room, nick, jid, resource, joined_at, left_at FROM occupancies ORDER BY joined_at, nick;
