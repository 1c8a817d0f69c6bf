//! PostgreSQL, without its client library: diesel-async over tokio-postgres, TLS by rustls.
//!
//! Rows go in as one array for each column (`unnest`): one statement text for any number of rows, prepared once, and half again as
//! fast as a long list of VALUES.

use diesel::QueryResult;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, SmallInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::queries::queries;
use super::rows::*;
use super::schema::settings;
use super::{Endpoint, StoreError};

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
        let setup =
            format!("SET statement_timeout = {milliseconds}; SET TIME ZONE 'UTC'; SET client_min_messages = warning; SET jit = off");
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

queries!(AsyncPgConnection, diesel_async::RunQueryDsl, diesel_async::SimpleAsyncConnection, [.await],
    "ON CONFLICT (node_id, day, state, reason) DO UPDATE SET count = tallies.count + excluded.count", {
    async fn begin(&mut self) -> QueryResult<Vec<u8>> {
        self.batch_execute("BEGIN").await?;
        settings::table.filter(settings::name.eq("writer")).select(settings::value).for_update().first(self).await
    }

    async fn insert_messages(&mut self, rows: Vec<MessageRow>) -> QueryResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut columns = MessageColumns::default();
        rows.into_iter().for_each(|row| columns.push(row));
        columns.insert(self).await
    }

    async fn insert_deliveries(&mut self, rows: Vec<DeliveryRow>) -> QueryResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut columns = DeliveryColumns::default();
        rows.into_iter().for_each(|row| columns.push(row));
        columns.insert(self).await
    }
});

/// One vector for each column, and the statement that takes them.
macro_rules! columns {
    ($name:ident, $row:ident, $table:literal, $($field:ident $column:literal $sql:ty => $rust:ty, $array:literal;)*) => {
        #[derive(Default)]
        struct $name {
            $($field: Vec<$rust>,)*
        }

        impl $name {
            fn push(&mut self, row: $row) {
                $(self.$field.push(row.$field);)*
            }

            async fn insert(self, connection: &mut AsyncPgConnection) -> QueryResult<()> {
                let names = [$($column),*].join(", ");
                let arrays: Vec<String> = [$($array),*].iter().enumerate().map(|(index, array)| format!("${}::{array}[]", index + 1)).collect();
                let statement = format!("INSERT INTO {} ({names}) SELECT * FROM unnest({})", $table, arrays.join(", "));
                let query = diesel::sql_query(statement);
                $(let query = query.bind::<Array<$sql>, _>(self.$field);)*
                query.execute(connection).await.map(drop)
            }
        }
    };
}

columns! {
    MessageColumns, MessageRow, "messages",
    id "id" BigInt => i64, "int8";
    sent_at "sent_at" BigInt => i64, "int8";
    received_at "received_at" BigInt => i64, "int8";
    refers_to "refers_to" Nullable<BigInt> => Option<i64>, "int8";
    conversation_id "conversation_id" Integer => i32, "int4";
    sender_id "sender_id" Nullable<Integer> => Option<i32>, "int4";
    recipient_id "recipient_id" Nullable<Integer> => Option<i32>, "int4";
    flags "flags" Integer => i32, "int4";
    node_id "node_id" SmallInt => i16, "int2";
    kind "kind" SmallInt => i16, "int2";
    type_ "type" SmallInt => i16, "int2";
    direction "direction" SmallInt => i16, "int2";
    via "via" SmallInt => i16, "int2";
    content_key "content_key" Binary => Vec<u8>, "bytea";
    sender_resource "sender_resource" Nullable<Text> => Option<String>, "text";
    sender_nick "sender_nick" Nullable<Text> => Option<String>, "text";
    recipient_resource "recipient_resource" Nullable<Text> => Option<String>, "text";
    recipient_nick "recipient_nick" Nullable<Text> => Option<String>, "text";
    stanza_id "stanza_id" Nullable<Text> => Option<String>, "text";
    origin_id "origin_id" Nullable<Text> => Option<String>, "text";
    thread "thread" Nullable<Text> => Option<String>, "text";
    subject "subject" Nullable<Text> => Option<String>, "text";
    lang "lang" Nullable<Text> => Option<String>, "text";
    refers_to_id "refers_to_id" Nullable<Text> => Option<String>, "text";
    detail "detail" Nullable<Text> => Option<String>, "text";
    body "body" Nullable<Text> => Option<String>, "text";
    xml "xml" Binary => Vec<u8>, "bytea";
}

columns! {
    DeliveryColumns, DeliveryRow, "deliveries",
    message_id "message_id" BigInt => i64, "int8";
    at "at" BigInt => i64, "int8";
    seq "seq" Integer => i32, "int4";
    recipient_id "recipient_id" Nullable<Integer> => Option<i32>, "int4";
    node_id "node_id" SmallInt => i16, "int2";
    direction "direction" SmallInt => i16, "int2";
    source "source" SmallInt => i16, "int2";
    send_no "send_no" SmallInt => i16, "int2";
    resource "resource" Nullable<Text> => Option<String>, "text";
    xml "xml" Nullable<Binary> => Option<Vec<u8>>, "bytea";
}
