//! Questions to MySQL as plain text: several go in one packet and are answered in one round trip, where a prepared statement takes two for each.

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error};
use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, TextProtocol};

use super::literal::{self, Literal};
use super::overlap::{MYSQL_IDENTITY, SEVERAL};
use super::reads::{Details, MAX_IN, MAX_REFERENCE_SCAN, Reads};
use super::references::Sought;
use super::rows::*;
use crate::message::content::Kind;

/// Names that are looked for in one packet.
const NAMES_AT_ONCE: usize = 250;

const KNOWN: &str = "SELECT id,content_key,sent_at,sender_id,recipient_id,sender_resource,sender_nick,recipient_resource,recipient_nick,stanza_id \
                     FROM messages WHERE ";
const KEYS: &str = "SELECT message_id,by_id,kind,`key`,value FROM message_keys WHERE ";
const COUNTED: &str =
    "SELECT message_id,`at`,seq,recipient_id,node_id,direction,source,send_no,resource FROM deliveries WHERE message_id IN ";
const BOUNCED: &str = "SELECT message_id FROM bounces WHERE message_id IN ";
const SIGHTINGS: &str = "SELECT row_id,`at`,seq,kind,node_id,is_first FROM sightings WHERE kind=";

/// A connection that only asks; its session is set up by [`super::mysql::open_asker`].
pub(super) struct Asker(pub(super) Conn);

/// SELECTs for one packet.
#[derive(Default)]
struct Text {
    sql: String,
    selects: usize,
}

impl Text {
    fn select(&mut self, sql: &str) {
        if self.selects > 0 {
            self.sql.push(';');
        }
        self.sql.push_str(sql);
        self.selects += 1;
    }

    /// A SELECT for each part of a long list.
    fn select_in(&mut self, head: &str, values: &[impl Literal], tail: &str) -> usize {
        for part in values.chunks(MAX_IN) {
            self.select(&format!("{head}{}{tail}", literal::list(part)));
        }
        values.chunks(MAX_IN).len()
    }
}

/// What comes back.
struct Answers<'a>(Option<mysql_async::QueryResult<'a, 'static, TextProtocol>>);

impl Answers<'_> {
    /// The rows of so many SELECTs.
    async fn rows<R: FromRow + Send + 'static>(&mut self, selects: usize) -> QueryResult<Vec<R>> {
        let mut rows = Vec::new();
        let Some(answers) = &mut self.0 else { return Ok(rows) };
        for _ in 0..selects {
            for row in answers.try_collect().await.map_err(|error| failed(&error))? {
                // The error's text would quote the row.
                rows.push(row.map_err(|_quotes| Error::DeserializationError("a row is not what was asked for".into()))?);
            }
        }
        Ok(rows)
    }
}

/// Without the server's words, which quote the statement.
fn failed(error: &mysql_async::Error) -> Error {
    let text = match error {
        mysql_async::Error::Server(error) => format!("the server's error {} ({})", error.code, error.state),
        other => other.to_string(),
    };
    Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text))
}

impl Asker {
    async fn ask(&mut self, text: Text) -> QueryResult<Answers<'_>> {
        if text.selects == 0 {
            return Ok(Answers(None));
        }
        self.0.query_iter(text.sql).await.map(|answers| Answers(Some(answers))).map_err(|error| failed(&error))
    }

    /// What tells its server from every other one, as [`super::overlap::identity_of`].
    pub(super) async fn server(&mut self) -> QueryResult<String> {
        let asked = self.named().await?;
        self.0.query_drop("BEGIN").await.map_err(|error| failed(&error))?;
        let within = self.named().await?;
        self.0.query_drop("ROLLBACK").await.map_err(|error| failed(&error))?;
        Ok(if asked == within { asked } else { SEVERAL.to_owned() })
    }

    async fn named(&mut self) -> QueryResult<String> {
        let mut text = Text::default();
        text.select(&format!("SELECT {MYSQL_IDENTITY}"));
        Ok(self.first_of_each::<(String,)>(text).await?.pop().flatten().unwrap_or_default().0)
    }

    /// The rows of one SELECT, or of one for each part of a long list.
    async fn all<R: FromRow + Send + 'static>(&mut self, head: &str, values: &[impl Literal], tail: &str) -> QueryResult<Vec<R>> {
        let mut text = Text::default();
        let selects = text.select_in(head, values, tail);
        self.ask(text).await?.rows(selects).await
    }

    /// The first row of each SELECT.
    async fn first_of_each<R: FromRow + Send + 'static>(&mut self, text: Text) -> QueryResult<Vec<Option<R>>> {
        let selects = text.selects;
        let mut answers = self.ask(text).await?;
        let mut found = Vec::with_capacity(selects);
        for _ in 0..selects {
            found.push(answers.rows(1).await?.into_iter().next());
        }
        Ok(found)
    }

    /// The latest messages with these names in their conversations, see [`Reads::named_in`].
    async fn latest_named(&mut self, names: &[(i32, String)]) -> QueryResult<Vec<Option<ReferenceRow>>> {
        let mut found = Vec::with_capacity(names.len());
        for part in names.chunks(NAMES_AT_ONCE) {
            let mut text = Text::default();
            for (conversation, id) in part {
                // Texts that differ in how many spaces they end with are equal here.
                let (id, bytes) = (literal::text(id), id.len());
                let is_named = |column: &str| format!("({column}={id} AND OCTET_LENGTH({column})={bytes})");
                // How far back is asked for first: only what is known before goes into the choice of the index.
                text.select(&format!(
                    "SELECT @bound:=COALESCE((SELECT sent_at FROM messages WHERE conversation_id={conversation} ORDER BY sent_at DESC \
                     LIMIT 1 OFFSET {MAX_REFERENCE_SCAN}),0),NULL,NULL"
                ));
                text.select(&format!(
                    "SELECT id,sender_id,sender_nick FROM messages WHERE conversation_id={conversation} AND sent_at>=@bound \
                     AND ({} OR {} OR (kind={} AND {})) ORDER BY sent_at DESC LIMIT 1",
                    is_named("stanza_id"),
                    is_named("origin_id"),
                    Kind::Call as i16,
                    is_named("refers_to_id")
                ));
            }
            let rows = self.first_of_each::<Named>(text).await?;
            found.extend(rows.into_iter().skip(1).step_by(2).map(|row| row.map(referred)));
        }
        Ok(found)
    }
}

type Known = (i64, Vec<u8>, i64, Option<i32>, Option<i32>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);

fn known(row: Known) -> KnownRow {
    let (id, content_key, sent_at, sender_id, recipient_id, sender_resource, sender_nick, recipient_resource, recipient_nick, stanza_id) =
        row;
    KnownRow {
        id,
        content_key,
        sent_at,
        sender_id,
        recipient_id,
        sender_resource,
        sender_nick,
        recipient_resource,
        recipient_nick,
        stanza_id,
    }
}

type Keyed = (i64, Option<i32>, i16, Vec<u8>, String);

fn keyed((message_id, by_id, kind, key, value): Keyed) -> KeyRow {
    KeyRow { message_id, by_id, kind, key, value }
}

type Counted = (i64, i64, i32, Option<i32>, i16, i16, i16, i16, Option<String>);

fn counted((message_id, at, seq, recipient_id, node_id, direction, source, send_no, resource): Counted) -> CountedRow {
    CountedRow { message_id, at, seq, recipient_id, node_id, direction, source, send_no, resource }
}

type Seen = (i64, i64, i32, i16, i16, i16);

fn seen((row_id, at, seq, kind, node_id, is_first): Seen) -> SightingRow {
    SightingRow { row_id, at, seq, kind, node_id, is_first }
}

type Named = (i64, Option<i32>, Option<String>);

type InRoom = (Vec<u8>, i64, Option<i32>, Option<String>);

fn referred((id, sender_id, sender_nick): Named) -> ReferenceRow {
    ReferenceRow { id, sender_id, sender_nick }
}

fn each<R, T>(rows: Vec<R>, row: impl Fn(R) -> T) -> Vec<T> {
    rows.into_iter().map(row).collect()
}

impl Reads for Asker {
    async fn jid_ids(&mut self, jids: &[String]) -> QueryResult<Vec<JidRow>> {
        Ok(each(self.all("SELECT id,jid FROM jids WHERE jid IN ", jids, "").await?, |(id, jid)| JidRow { id, jid }))
    }

    async fn jids_of(&mut self, ids: &[i32]) -> QueryResult<Vec<JidRow>> {
        Ok(each(self.all("SELECT id,jid FROM jids WHERE id IN ", ids, "").await?, |(id, jid)| JidRow { id, jid }))
    }

    async fn conversations_of(&mut self, first: &[i32], second: &[i32]) -> QueryResult<Vec<ConversationRow>> {
        let mut text = Text::default();
        for other in second.chunks(MAX_IN) {
            let either = format!(" AND (second_id IS NULL OR second_id IN {})", literal::list(other));
            text.select_in("SELECT id,kind,first_id,second_id,name FROM conversation_names WHERE first_id IN ", first, &either);
        }
        let selects = text.selects;
        let rows = self.ask(text).await?.rows(selects).await?;
        Ok(each(rows, |(id, kind, first_id, second_id, name)| ConversationRow { id, kind, first_id, second_id, name }))
    }

    async fn known_rooms(&mut self, rooms: &[i32]) -> QueryResult<Vec<(i32, i16)>> {
        self.all("SELECT jid_id,kind FROM rooms WHERE jid_id IN ", rooms, "").await
    }

    async fn known_by_content(&mut self, keys: &[Vec<u8>]) -> QueryResult<Vec<KnownRow>> {
        Ok(self.alike(keys, &[]).await?.0)
    }

    async fn known_by_id(&mut self, ids: &[i64]) -> QueryResult<Vec<KnownRow>> {
        Ok(each(self.all(&format!("{KNOWN}id IN "), ids, "").await?, known))
    }

    async fn ids_by_exact(&mut self, keys: &[Vec<u8>]) -> QueryResult<Vec<KeyRow>> {
        Ok(self.alike(&[], keys).await?.1)
    }

    async fn keys_of(&mut self, ids: &[i64]) -> QueryResult<Vec<KeyRow>> {
        Ok(each(self.all(&format!("{KEYS}message_id IN "), ids, "").await?, keyed))
    }

    async fn counted(&mut self, ids: &[i64]) -> QueryResult<Vec<CountedRow>> {
        Ok(each(self.all(COUNTED, ids, " ORDER BY message_id,seq").await?, counted))
    }

    async fn bounced(&mut self, ids: &[i64]) -> QueryResult<Vec<Option<i64>>> {
        Ok(each(self.all(BOUNCED, ids, "").await?, |(id,)| id))
    }

    async fn sightings_of(&mut self, of: Sighted, ids: &[i64]) -> QueryResult<Vec<SightingRow>> {
        Ok(each(self.all(&format!("{SIGHTINGS}{} AND row_id IN ", of as i16), ids, "").await?, seen))
    }

    async fn named_in(&mut self, conversation: i32, wanted: &str) -> QueryResult<Option<ReferenceRow>> {
        Ok(self.latest_named(&[(conversation, wanted.to_owned())]).await?.pop().flatten())
    }

    async fn reference(&mut self, wanted: i64) -> QueryResult<Option<ReferenceRow>> {
        let rows = self.all("SELECT id,sender_id,sender_nick FROM messages WHERE id IN ", &[wanted], "").await?;
        Ok(rows.into_iter().next().map(referred))
    }

    async fn latest_subjects(&mut self, conversations: &[i32]) -> QueryResult<Vec<Option<i64>>> {
        let mut found = Vec::with_capacity(conversations.len());
        for part in conversations.chunks(NAMES_AT_ONCE) {
            let mut text = Text::default();
            for conversation in part {
                let kind = Kind::Subject as i16;
                text.select(&format!(
                    "SELECT id FROM messages WHERE conversation_id={conversation} AND kind={kind} ORDER BY sent_at DESC LIMIT 1"
                ));
            }
            found.extend(self.first_of_each::<(i64,)>(text).await?.into_iter().map(|row| row.map(|(id,)| id)));
        }
        Ok(found)
    }

    async fn latest_subject(&mut self, conversation: i32) -> QueryResult<Option<i64>> {
        Ok(self.latest_subjects(&[conversation]).await?.pop().flatten())
    }

    async fn references(&mut self, wanted: &[Sought]) -> QueryResult<Vec<Option<ReferenceRow>>> {
        let keys: Vec<Vec<u8>> = wanted.iter().filter_map(|sought| sought.in_room.clone()).collect();
        let head = "SELECT message_keys.`key`,messages.id,sender_id,sender_nick FROM message_keys JOIN messages ON messages.id=message_id \
                    WHERE message_keys.`key` IN ";
        let rows: Vec<InRoom> = self.all(head, &keys, "").await?;
        let in_room = |sought: &Sought| {
            let (_, id, sender, nick) = rows.iter().find(|(key, ..)| Some(key) == sought.in_room.as_ref())?;
            Some(referred((*id, *sender, nick.clone())))
        };
        let mut found: Vec<Option<ReferenceRow>> = wanted.iter().map(in_room).collect();
        let unknown = wanted.iter().zip(&found).filter(|(_, known)| known.is_none());
        let names: Vec<(i32, String)> = unknown.map(|(sought, _)| (sought.conversation, sought.id.clone())).collect();
        let mut named = self.latest_named(&names).await?.into_iter();
        found.iter_mut().filter(|known| known.is_none()).for_each(|known| *known = named.next().flatten());
        Ok(found)
    }

    async fn alike(&mut self, content: &[Vec<u8>], exact: &[Vec<u8>]) -> QueryResult<(Vec<KnownRow>, Vec<KeyRow>)> {
        let mut text = Text::default();
        let known_selects = text.select_in(&format!("{KNOWN}content_key IN "), content, "");
        let key_selects = text.select_in(&format!("{KEYS}`key` IN "), exact, "");
        let mut answers = self.ask(text).await?;
        Ok((each(answers.rows(known_selects).await?, known), each(answers.rows(key_selects).await?, keyed)))
    }

    async fn details(&mut self, ids: &[i64], with_sightings: bool) -> QueryResult<Details> {
        let mut text = Text::default();
        let selects = text.select_in(COUNTED, ids, " ORDER BY message_id,seq");
        text.select_in(&format!("{KEYS}message_id IN "), ids, "");
        text.select_in(BOUNCED, ids, "");
        if with_sightings {
            text.select_in(&format!("{SIGHTINGS}{} AND row_id IN ", Sighted::Delivery as i16), ids, "");
        }
        let mut answers = self.ask(text).await?;
        Ok(Details {
            deliveries: each(answers.rows(selects).await?, counted),
            keys: each(answers.rows(selects).await?, keyed),
            bounced: each(answers.rows(selects).await?, |(id,)| id),
            sightings: if with_sightings { each(answers.rows(selects).await?, seen) } else { Vec::new() },
        })
    }
}
