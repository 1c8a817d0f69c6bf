//! The audit trail can't be changed: neither by the program's own connection nor by the database's own client. And a database that refuses the guards.

use std::sync::Arc;

use diesel_async::SimpleAsyncConnection;

use xmpp_archiver::store::access::audit;
use xmpp_archiver::store::{Backend, Connection, Endpoint, migrations};

use super::stage::on_each;
use crate::support::archiver::Store;
use crate::support::mariadb::MariaDb;

async fn run(connection: &mut Connection, sql: &str) -> Result<(), String> {
    let outcome = match connection {
        Connection::Sqlite(inner) => diesel::connection::SimpleConnection::batch_execute(inner, sql),
        Connection::Postgres(inner) => inner.batch_execute(sql).await,
        Connection::Mysql(inner) => inner.batch_execute(sql).await,
    };
    outcome.map_err(|error| error.to_string())
}

#[test]
fn no_row_is_changed_or_removed() {
    on_each(async |stage| {
        let before = stage.audit().await;
        let mut connection = Connection::open(&stage.store.endpoint()).await.unwrap();
        let mut statements = vec![
            "UPDATE audit SET actor = 'nobody'",
            "UPDATE audit SET outcome = outcome WHERE id = 1",
            "DELETE FROM audit",
            "DELETE FROM audit WHERE id = 1",
        ];
        statements.extend(match connection {
            Connection::Sqlite(_) => vec![
                "INSERT OR REPLACE INTO audit SELECT * FROM audit",
                "REPLACE INTO audit (id, at, roles, outcome, actor, action, way, target) VALUES (1, 0, 0, 1, '', '', '', '{}')",
                "INSERT INTO audit SELECT * FROM audit WHERE id = 1 ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
            ],
            Connection::Postgres(_) => {
                vec!["TRUNCATE audit", "INSERT INTO audit SELECT * FROM audit WHERE id = 1 ON CONFLICT (id) DO UPDATE SET actor = 'nobody'"]
            }
            Connection::Mysql(_) => vec![
                "REPLACE INTO audit SELECT * FROM audit",
                "INSERT INTO audit SELECT * FROM audit WHERE id = 1 ON DUPLICATE KEY UPDATE actor = 'nobody'",
            ],
        });
        for sql in statements {
            let refused = run(&mut connection, sql).await.unwrap_err();
            assert!(refused.contains("rows of audit are only added"), "{sql}: {refused}");
        }
        let after = stage.audit().await;
        assert_eq!(after[..before.len()], before);
        assert!(stage.access.is_audit_guarded().await.unwrap());
    });
}

#[test]
fn the_tables_are_not_undone_once_there_is_a_trail() {
    on_each(async |stage| {
        stage.audit().await;
        let mut connection = Connection::open(&stage.store.endpoint()).await.unwrap();
        let refused = migrations::down(&mut connection, 1).await.unwrap_err().to_string();
        assert!(refused.contains("rows of audit are only added"), "{refused}");
        assert!(!stage.audit().await.is_empty());
    });
}

/// With the binary log on, MariaDB lets only SUPER make triggers. That is no reason not to archive.
#[test]
fn an_archive_without_guards_says_so_and_gets_them_later() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Arc::new(MariaDb::start_with_log());
        let database = server.new_database();
        let endpoint = |url: String| Endpoint { backend: Backend::Mysql(url), ..Store::MariaDb(database.clone()).endpoint() };
        let owner = endpoint(server.url_of_owner(&database));
        let mut connection = Connection::open(&owner).await.unwrap();
        migrations::up(&mut connection, None).await.unwrap();
        migrations::require_current(&mut connection).await.unwrap();
        assert!(!audit::is_guarded(&mut connection).await);
        assert!(migrations::up(&mut connection, None).await.unwrap().is_empty());
        let mut dba = Connection::open(&endpoint(database.url())).await.unwrap();
        assert!(migrations::up(&mut dba, None).await.unwrap().is_empty());
        assert!(audit::is_guarded(&mut connection).await);
        migrations::up(&mut connection, None).await.unwrap();
    });
}
