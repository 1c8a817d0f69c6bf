//! Copies that come after the fact, come twice, come by two ways, come by half, or lie: what the archive makes of each, on each database.

mod forged;
mod halves;
mod incoming;
mod late;
mod packets;
mod past;

/// Makes a test of each function for each database.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        on_every_store!(in_sqlite: Sqlite, $($test)+);
        on_every_store!(in_postgres: Postgres, $($test)+);
        on_every_store!(in_mariadb: MariaDb, $($test)+);
    };
    ($module:ident: $store:ident, $($test:ident)+) => {
        mod $module {
            $(#[test] fn $test() {
                super::$test(crate::support::archiver::StoreKind::$store);
            })+
        }
    };
}
pub(crate) use on_every_store;
