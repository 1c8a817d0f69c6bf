//! PostgreSQL, without its client library: diesel-async over tokio-postgres, TLS by rustls.
//!
//! Statements can be sent before the answer to the one before has come: a transaction takes one round trip (see [`store`]).

use std::task::Poll;

use diesel::QueryResult;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::ahead::{Guard, Recorded};
use super::queries::queries;
use super::reads::{Details, reads, reference};
use super::references::Sought;
use super::rows::*;
use super::schema::settings;
use super::{Endpoint, StoreError, unnest};

/// Most questions on their way at once.
const MAX_ASKED_AT_ONCE: usize = 500;

/// Connects, and sets up the session so that it behaves as the other databases do.
pub(crate) async fn open(endpoint: &Endpoint, url: &str) -> Result<AsyncPgConnection, StoreError> {
    let (mut config, verify) = settings_of(url)?;
    config.connect_timeout(endpoint.connect_timeout);
    let connected = async {
        let (client, connection) = if config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(|error| unreachable(&error))?;
            (client, tokio::spawn(connection))
        } else {
            let tls = MakeRustlsConnect::new(super::tls::client(&endpoint.name, endpoint.tls_ca.as_deref(), verify)?);
            let (client, connection) = config.connect(tls).await.map_err(|error| unreachable(&error))?;
            (client, tokio::spawn(connection))
        };
        drop(connection);
        let milliseconds = endpoint.statement_timeout.as_millis();
        let setup = format!(
            "SET statement_timeout = {milliseconds}; SET TIME ZONE 'UTC'; SET client_min_messages = warning; SET jit = off; \
             SET default_transaction_isolation = 'read committed'"
        );
        client.batch_execute(&setup).await.map_err(|error| unreachable(&error))?;
        AsyncPgConnection::try_from(client).await.map_err(|error| StoreError::unreachable("PostgreSQL", &error))
    };
    tokio::time::timeout(endpoint.connect_timeout, connected)
        .await
        .map_err(|_elapsed| StoreError::Unreachable(format!("PostgreSQL did not answer within {:?}", endpoint.connect_timeout)))?
}

/// tokio-postgres's own message is short; what the server said stands in its source.
fn unreachable(error: &tokio_postgres::Error) -> StoreError {
    let said = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    StoreError::Unreachable(format!("PostgreSQL: {error}{said}"))
}

/// tokio-postgres knows neither `verify-ca` nor `verify-full`: they are read here. Anything that asks for TLS gets the full check
/// unless the URL says `require`, which in PostgreSQL's own words checks nothing.
fn settings_of(url: &str) -> Result<(tokio_postgres::Config, super::tls::Verify), StoreError> {
    let mut verify = super::tls::Verify::Full;
    let mut plain = url.to_owned();
    for (mode, meant) in [("verify-full", super::tls::Verify::Full), ("verify-ca", super::tls::Verify::Full)] {
        let wanted = format!("sslmode={mode}");
        if plain.contains(&wanted) {
            plain = plain.replacen(&wanted, "sslmode=require", 1);
            verify = meant;
        }
    }
    if url.contains("sslmode=require") || url.contains("sslmode=prefer") {
        verify = super::tls::Verify::Nothing;
    }
    let mut config: tokio_postgres::Config =
        plain.parse().map_err(|error: tokio_postgres::Error| StoreError::Misconfigured(format!("PostgreSQL URL: {error}")))?;
    if !url.contains("sslmode=") {
        config.ssl_mode(SslMode::Disable);
    }
    if config.get_application_name().is_none() {
        config.application_name("xmpp-archiver");
    }
    Ok((config, verify))
}

// For a shared reference, since what is asked through several of them at once goes to the server in one round trip.
reads!(&AsyncPgConnection, diesel_async::RunQueryDsl, [.await], {
    async fn alike(&mut self, content: &[Vec<u8>], exact: &[Vec<u8>]) -> QueryResult<(Vec<KnownRow>, Vec<KeyRow>)> {
        let (mut one, mut other) = (*self, *self);
        tokio::try_join!(one.known_by_content(content), other.ids_by_exact(exact))
    }

    async fn details(&mut self, ids: &[i64], with_sightings: bool) -> QueryResult<Details> {
        let (mut one, mut two, mut three, mut four) = (*self, *self, *self, *self);
        let sighted: &[i64] = if with_sightings { ids } else { &[] };
        let sightings = four.sightings_of(Sighted::Delivery, sighted);
        let (deliveries, keys, bounced, sightings) = tokio::try_join!(one.counted(ids), two.keys_of(ids), three.bounced(ids), sightings)?;
        Ok(Details { deliveries, keys, bounced, sightings })
    }

    async fn references(&mut self, wanted: &[Sought]) -> QueryResult<Vec<Option<ReferenceRow>>> {
        let mut found = Vec::with_capacity(wanted.len());
        for part in wanted.chunks(MAX_ASKED_AT_ONCE) {
            let ask = |sought| {
                let mut db = *self;
                async move { reference(&mut db, sought).await }
            };
            for answer in all(part.iter().map(ask)).await {
                found.push(answer?);
            }
        }
        Ok(found)
    }

    async fn latest_subjects(&mut self, conversations: &[i32]) -> QueryResult<Vec<Option<i64>>> {
        let mut found = Vec::with_capacity(conversations.len());
        for part in conversations.chunks(MAX_ASKED_AT_ONCE) {
            let ask = |conversation: &i32| {
                let (mut db, conversation) = (*self, *conversation);
                async move { db.latest_subject(conversation).await }
            };
            for answer in all(part.iter().map(ask)).await {
                found.push(answer?);
            }
        }
        Ok(found)
    }
});

queries!(&AsyncPgConnection, diesel_async::RunQueryDsl, diesel_async::SimpleAsyncConnection, [.await],
    "ON CONFLICT (node_id, day, state, reason) DO UPDATE SET count = tallies.count + excluded.count", {
    async fn begin(&mut self) -> QueryResult<Vec<u8>> {
        let (mut one, mut two, mut other) = (*self, *self, *self);
        let (begun, queued, writer) = tokio::join!(
            biased;
            unnest::BEGIN.execute(&mut one),
            unnest::QUEUE.execute(&mut two),
            settings::table.filter(settings::name.eq("writer")).select(settings::value).for_update().first(&mut other)
        );
        begun.and(queued).and(writer)
    }

    async fn insert_jids(&mut self, rows: Vec<JidRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Jids::of(rows)).await
    }

    async fn insert_nodes(&mut self, rows: Vec<NodeRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Nodes::of(rows)).await
    }

    async fn insert_conversations(&mut self, rows: Vec<ConversationRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Conversations::of(rows)).await
    }

    async fn insert_rooms(&mut self, rows: Vec<RoomRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Rooms::of(rows)).await
    }

    async fn insert_keys(&mut self, rows: Vec<KeyRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Keys::of(rows)).await
    }

    async fn insert_bounces(&mut self, rows: Vec<BounceRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Bounces::of(rows)).await
    }

    async fn insert_occupancies(&mut self, rows: Vec<OccupancyRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Occupancies::of(rows)).await
    }

    async fn insert_sightings(&mut self, rows: Vec<SightingRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Sightings::of(rows)).await
    }

    async fn insert_late(&mut self, rows: Vec<LateRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Late::of(rows)).await
    }

    async fn insert_messages(&mut self, rows: Vec<MessageRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Messages::of(rows)).await
    }

    async fn insert_deliveries(&mut self, rows: Vec<DeliveryRow>) -> QueryResult<()> {
        unnest::insert(self, unnest::Deliveries::of(rows)).await
    }
});

/// Waits for all of them, asking all of them first.
pub(super) async fn all<F: Future>(asked: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut asked: Vec<_> = asked.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut waits = false;
        for (one, answer) in asked.iter_mut().filter(|(_, answer)| answer.is_none()) {
            match one.as_mut().poll(context) {
                Poll::Ready(ready) => *answer = Some(ready),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    asked.into_iter().filter_map(|(_, answer)| answer).collect()
}

/// One transaction with everything that a batch writes, in one round trip: all of it is sent before the first answer comes. The server
/// does it in order, and what comes after an error fails, the commit included; should the transaction not be the next one, by `guard`,
/// then it is an early statement that fails.
///
/// The order in which things are sent is that in which they are polled first: each is a prepared statement of Diesel's, and waits in the one
/// queue for its cache of them. So even one that has to be prepared first is overtaken by nothing, not by the next transaction either. No
/// statement here may be one that is not prepared (`batch_execute`): it would not queue.
pub(super) async fn store(db: &AsyncPgConnection, guard: &Guard, rows: Recorded) -> QueryResult<()> {
    let check = |next_seq| unnest::Check { token: guard.token.clone(), spool_id: guard.spool_id.clone(), next_seq };
    let (begun, written, committed) = tokio::join!(
        biased;
        begin(db, check(guard.before)),
        write(db, rows),
        commit(db, check(guard.after)),
    );
    begun.and(written).and(committed)
}

/// Begins a transaction that fails unless this writer was the last one and has stored everything before this batch.
async fn begin(db: &AsyncPgConnection, check: unnest::Check) -> QueryResult<()> {
    let (mut one, mut two, mut three, mut four) = (db, db, db, db);
    let (begun, queued, locked, checked) = tokio::join!(
        biased;
        unnest::BEGIN.execute(&mut one),
        unnest::QUEUE.execute(&mut two),
        unnest::LOCK.execute(&mut three),
        check.execute(&mut four),
    );
    begun.and(queued).and(locked).and(checked).map(drop)
}

async fn write(db: &AsyncPgConnection, rows: Recorded) -> QueryResult<()> {
    let (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r) = tokio::join!(
        biased;
        unnest::insert(db, unnest::Nodes::of(rows.nodes)),
        unnest::insert(db, unnest::Jids::of(rows.jids)),
        unnest::insert(db, unnest::Conversations::of(rows.conversations)),
        unnest::insert(db, unnest::Rooms::of(rows.rooms)),
        unnest::insert(db, unnest::Messages::of(rows.messages)),
        unnest::insert(db, unnest::Deliveries::of(rows.deliveries)),
        unnest::insert(db, unnest::Keys::of(rows.keys)),
        unnest::insert(db, unnest::Bounces::of(rows.bounces)),
        unnest::insert(db, unnest::Occupancies::of(rows.occupancies)),
        unnest::insert(db, unnest::Sightings::of(rows.sightings)),
        unnest::insert(db, unnest::Late::of(rows.late)),
        unnest::insert(db, unnest::Senders::of(rows.senders)),
        unnest::insert(db, unnest::Recipients::of(rows.recipients)),
        unnest::insert(db, unnest::SenderNicks::of(rows.sender_nicks)),
        unnest::insert(db, unnest::RecipientNicks::of(rows.recipient_nicks)),
        unnest::insert(db, unnest::Tallies::of(rows.tallies)),
        unnest::insert(db, unnest::Settings::of(rows.settings)),
        unnest::insert(db, unnest::Progress::of(rows.progress)),
    );
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r].into_iter().collect()
}

/// Commits if the position was moved, and nothing else happened.
async fn commit(db: &AsyncPgConnection, check: unnest::Check) -> QueryResult<()> {
    let (mut one, mut other) = (db, db);
    let (checked, committed) = tokio::join!(biased; check.execute(&mut one), unnest::COMMIT.execute(&mut other));
    checked.and(committed).map(drop)
}

/// Has every statement of [`store`] prepared, so that none of them costs a round trip later.
pub(super) async fn prepare(mut db: &AsyncPgConnection) -> QueryResult<()> {
    unnest::prepare(db).await?;
    // It divides by zero: nobody has this token.
    let _fails = unnest::Check { token: Vec::new(), spool_id: Vec::new(), next_seq: 0 }.execute(&mut db).await;
    Ok(())
}
