//! What the writer looks up by keys, once for three databases (see [`super::queries`] for how); whoever asks ahead asks this and nothing else.

use diesel::QueryResult;

use super::references::Sought;
use super::rows::*;

/// Most values in one `IN (…)`: SQLite allows 32,766 variables in a statement.
pub(crate) const MAX_IN: usize = 8_000;
/// How far back in a conversation a message is looked for that another one refers to.
pub(crate) const MAX_REFERENCE_SCAN: i64 = 5_000;

diesel::define_sql_function! {
    /// Bytes of a text. For MariaDB and MySQL texts are equal that differ in how many spaces they end with, and so only in this.
    #[sql_name = "octet_length"]
    fn text_bytes(value: diesel::sql_types::Nullable<diesel::sql_types::Text>) -> diesel::sql_types::Nullable<diesel::sql_types::Integer>;
}

/// What is asked about messages, names and rooms that may be stored.
pub(crate) trait Reads {
    async fn jid_ids(&mut self, jids: &[String]) -> QueryResult<Vec<JidRow>>;
    async fn jids_of(&mut self, ids: &[i32]) -> QueryResult<Vec<JidRow>>;
    async fn conversations_of(&mut self, first: &[i32], second: &[i32]) -> QueryResult<Vec<ConversationRow>>;
    async fn known_rooms(&mut self, rooms: &[i32]) -> QueryResult<Vec<(i32, i16)>>;

    async fn known_by_content(&mut self, keys: &[Vec<u8>]) -> QueryResult<Vec<KnownRow>>;
    async fn known_by_id(&mut self, ids: &[i64]) -> QueryResult<Vec<KnownRow>>;
    async fn ids_by_exact(&mut self, keys: &[Vec<u8>]) -> QueryResult<Vec<KeyRow>>;
    async fn keys_of(&mut self, ids: &[i64]) -> QueryResult<Vec<KeyRow>>;
    async fn counted(&mut self, ids: &[i64]) -> QueryResult<Vec<CountedRow>>;
    async fn bounced(&mut self, ids: &[i64]) -> QueryResult<Vec<Option<i64>>>;
    /// The latest message of a conversation, among its [`MAX_REFERENCE_SCAN`] latest, with this id.
    async fn named_in(&mut self, conversation: i32, wanted: &str) -> QueryResult<Option<ReferenceRow>>;
    async fn reference(&mut self, wanted: i64) -> QueryResult<Option<ReferenceRow>>;
    async fn latest_subject(&mut self, conversation: i32) -> QueryResult<Option<i64>>;
    async fn sightings_of(&mut self, of: Sighted, ids: &[i64]) -> QueryResult<Vec<SightingRow>>;

    /// The latest change of the subject in each of these conversations.
    async fn latest_subjects(&mut self, conversations: &[i32]) -> QueryResult<Vec<Option<i64>>> {
        let mut found = Vec::with_capacity(conversations.len());
        for conversation in conversations {
            found.push(self.latest_subject(*conversation).await?);
        }
        Ok(found)
    }
    /// The messages that these ids mean.
    async fn references(&mut self, wanted: &[Sought]) -> QueryResult<Vec<Option<ReferenceRow>>> {
        let mut found = Vec::with_capacity(wanted.len());
        for sought in wanted {
            found.push(reference(self, sought).await?);
        }
        Ok(found)
    }
    /// The messages with these content keys, and the rows of these exact keys.
    async fn alike(&mut self, content: &[Vec<u8>], exact: &[Vec<u8>]) -> QueryResult<(Vec<KnownRow>, Vec<KeyRow>)> {
        Ok((self.known_by_content(content).await?, self.ids_by_exact(exact).await?))
    }
    /// What else identity needs of these messages.
    async fn details(&mut self, ids: &[i64], with_sightings: bool) -> QueryResult<Details> {
        let sightings = if with_sightings { self.sightings_of(Sighted::Delivery, ids).await? } else { Vec::new() };
        Ok(Details { deliveries: self.counted(ids).await?, keys: self.keys_of(ids).await?, bounced: self.bounced(ids).await?, sightings })
    }
}

/// The message that an id means: by the room that gave it, else by the sender's own ids.
pub(crate) async fn reference<R: Reads + ?Sized>(db: &mut R, sought: &Sought) -> QueryResult<Option<ReferenceRow>> {
    if let Some(key) = &sought.in_room
        && let Some(row) = db.ids_by_exact(std::slice::from_ref(key)).await?.first()
    {
        return db.reference(row.message_id).await;
    }
    db.named_in(sought.conversation, &sought.id).await
}

/// What identity needs of messages, beside their rows.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) deliveries: Vec<CountedRow>,
    pub(crate) keys: Vec<KeyRow>,
    pub(crate) bounced: Vec<Option<i64>>,
    /// Who else brought its copies; looked up only where asked for.
    pub(crate) sightings: Vec<SightingRow>,
}

macro_rules! reads {
    ($connection:ty, $dsl:path, [$($wait:tt)*], { $($own:tt)* }) => {
        impl crate::store::reads::Reads for $connection {
            $($own)*

            async fn jid_ids(&mut self, wanted: &[String]) -> diesel::QueryResult<Vec<JidRow>> {
                use $dsl as _;
                use crate::store::schema::jids::dsl::*;
                let mut found = Vec::new();
                for part in wanted.chunks(crate::store::reads::MAX_IN) {
                    found.extend(jids.filter(jid.eq_any(part)).select((id, jid)).load::<JidRow>(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn jids_of(&mut self, wanted: &[i32]) -> diesel::QueryResult<Vec<JidRow>> {
                use $dsl as _;
                use crate::store::schema::jids::dsl::*;
                let mut found = Vec::new();
                for part in wanted.chunks(crate::store::reads::MAX_IN) {
                    found.extend(jids.filter(id.eq_any(part)).select((id, jid)).load::<JidRow>(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn conversations_of(&mut self, first: &[i32], second: &[i32]) -> diesel::QueryResult<Vec<ConversationRow>> {
                use $dsl as _;
                use crate::store::schema::conversation_names::dsl::*;
                let mut found = Vec::new();
                for part in first.chunks(crate::store::reads::MAX_IN) {
                    for other in second.chunks(crate::store::reads::MAX_IN) {
                        let either = second_id.is_null().or(second_id.eq_any(other));
                        let query = conversation_names.filter(first_id.eq_any(part).and(either)).select(ConversationRow::as_select());
                        found.extend(query.load(self)$($wait)*?);
                    }
                }
                Ok(found)
            }

            async fn known_rooms(&mut self, wanted: &[i32]) -> diesel::QueryResult<Vec<(i32, i16)>> {
                use $dsl as _;
                use crate::store::schema::rooms::dsl::*;
                let mut found = Vec::new();
                for part in wanted.chunks(crate::store::reads::MAX_IN) {
                    found.extend(rooms.filter(jid_id.eq_any(part)).select((jid_id, kind)).load::<(i32, i16)>(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn known_by_content(&mut self, keys: &[Vec<u8>]) -> diesel::QueryResult<Vec<KnownRow>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                let mut found = Vec::new();
                for part in keys.chunks(crate::store::reads::MAX_IN) {
                    found.extend(messages.filter(content_key.eq_any(part)).select(KnownRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn known_by_id(&mut self, ids: &[i64]) -> diesel::QueryResult<Vec<KnownRow>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::reads::MAX_IN) {
                    found.extend(messages.filter(id.eq_any(part)).select(KnownRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn ids_by_exact(&mut self, keys: &[Vec<u8>]) -> diesel::QueryResult<Vec<KeyRow>> {
                use $dsl as _;
                use crate::store::schema::message_keys::dsl::*;
                let mut found = Vec::new();
                for part in keys.chunks(crate::store::reads::MAX_IN) {
                    found.extend(message_keys.filter(key.eq_any(part)).select(KeyRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn keys_of(&mut self, ids: &[i64]) -> diesel::QueryResult<Vec<KeyRow>> {
                use $dsl as _;
                use crate::store::schema::message_keys::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::reads::MAX_IN) {
                    found.extend(message_keys.filter(message_id.eq_any(part)).select(KeyRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn counted(&mut self, ids: &[i64]) -> diesel::QueryResult<Vec<CountedRow>> {
                use $dsl as _;
                use crate::store::schema::deliveries::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::reads::MAX_IN) {
                    let query = deliveries.filter(message_id.eq_any(part)).order((message_id, seq)).select(CountedRow::as_select());
                    found.extend(query.load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn bounced(&mut self, ids: &[i64]) -> diesel::QueryResult<Vec<Option<i64>>> {
                use $dsl as _;
                use crate::store::schema::bounces::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::reads::MAX_IN) {
                    found.extend(bounces.filter(message_id.eq_any(part)).select(message_id).load::<Option<i64>>(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn named_in(&mut self, conversation: i32, wanted: &str) -> diesel::QueryResult<Option<ReferenceRow>> {
                use $dsl as _;
                use crate::store::reads::text_bytes;
                use crate::store::schema::messages::dsl::*;
                let Ok(bytes) = i32::try_from(wanted.len()) else { return Ok(None) };
                // The bound is looked up first: no database but PostgreSQL takes a LIMIT inside an IN.
                let bound: Option<i64> = messages
                    .filter(conversation_id.eq(conversation))
                    .order(sent_at.desc())
                    .offset(crate::store::reads::MAX_REFERENCE_SCAN)
                    .limit(1)
                    .select(sent_at)
                    .first(self)$($wait)*
                    .optional()?;
                let call = kind.eq(crate::message::content::Kind::Call as i16);
                let by_stanza = stanza_id.eq(wanted).and(text_bytes(stanza_id).eq(bytes));
                let by_origin = origin_id.eq(wanted).and(text_bytes(origin_id).eq(bytes));
                let by_call = call.and(refers_to_id.eq(wanted)).and(text_bytes(refers_to_id).eq(bytes));
                messages
                    .filter(conversation_id.eq(conversation).and(sent_at.ge(bound.unwrap_or(0))))
                    .filter(by_stanza.or(by_origin).or(by_call))
                    .order(sent_at.desc())
                    .select(ReferenceRow::as_select())
                    .first(self)$($wait)*
                    .optional()
            }

            async fn reference(&mut self, wanted: i64) -> diesel::QueryResult<Option<ReferenceRow>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                messages.filter(id.eq(wanted)).select(ReferenceRow::as_select()).first(self)$($wait)*.optional()
            }

            async fn latest_subject(&mut self, conversation: i32) -> diesel::QueryResult<Option<i64>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                let subject_kind = crate::message::content::Kind::Subject as i16;
                messages
                    .filter(conversation_id.eq(conversation).and(kind.eq(subject_kind)))
                    .order(sent_at.desc())
                    .select(id)
                    .first(self)$($wait)*
                    .optional()
            }

            async fn sightings_of(&mut self, of: Sighted, ids: &[i64]) -> diesel::QueryResult<Vec<SightingRow>> {
                use $dsl as _;
                use crate::store::schema::sightings::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::reads::MAX_IN) {
                    let query = sightings.filter(kind.eq(of as i16).and(row_id.eq_any(part)));
                    found.extend(query.select(SightingRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }
        }
    };
}
pub(crate) use reads;
