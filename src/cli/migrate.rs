//! `migrate`: brings the schema up to date, or shows or undoes it, in one store or in all.

use super::args::{Backend, MigrateAction, MigrateArgs};
use super::{Failure, connect, output, table};
use crate::config::{Config, StoreConfig};
use crate::store::Endpoint;
use crate::store::migrations::{self, Dialect, Migration, MigrationState};

/// Runs the command.
pub fn execute(config: Config, args: MigrateArgs) -> Result<(), Failure> {
    let stores = connect::stores(&config, args.store.as_deref())?;
    match args.action.unwrap_or(MigrateAction::Up { to: None }) {
        MigrateAction::Status => connect::block_on(status(&stores)),
        MigrateAction::Up { to } => connect::block_on(up(&stores, to.as_deref())),
        MigrateAction::Down { steps, yes } => {
            let store = config.store(args.store.as_deref())?;
            ask(store, yes)?;
            connect::block_on(down(store, steps))
        }
        MigrateAction::Print { backend } => print(&dialects(&stores, backend)),
    }
}

async fn status(stores: &[&StoreConfig]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for store in stores {
        for state in states(store).await? {
            let name = state.name.map_or_else(|| format!("{} (of a newer version)", state.version), str::to_owned);
            let applied = if state.applied { "yes" } else { "no" };
            rows.push([store.name.clone(), name, applied.to_owned()]);
        }
    }
    output::print(&table::render(["STORE", "MIGRATION", "RUN"], rows))
}

async fn states(store: &StoreConfig) -> Result<Vec<MigrationState>, Failure> {
    if connect::is_absent(store) {
        return Ok(migrations::untouched(Dialect::from(&Endpoint::from_config(store).backend)));
    }
    let mut connection = connect::open(store).await?;
    migrations::status(&mut connection).await.map_err(|error| connect::failure(store, &error))
}

/// A store that fails does not keep the others from theirs.
async fn up(stores: &[&StoreConfig], to: Option<&str>) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for store in stores {
        match up_one(store, to).await {
            Ok(done) if done.is_empty() => rows.push([store.name.clone(), String::new(), "nothing to run".to_owned()]),
            Ok(done) => rows.extend(told(store, &done, "run")),
            Err(failure) => failures.push(failure),
        }
    }
    if !rows.is_empty() {
        output::print(&table::render(HEADINGS, rows))?;
    }
    let last = failures.pop();
    for failure in failures {
        output::tell(&format!("xmpp-archiver: {failure}"));
    }
    last.map_or(Ok(()), Err)
}

async fn up_one(store: &StoreConfig, to: Option<&str>) -> Result<Vec<&'static Migration>, Failure> {
    let mut connection = connect::open(store).await?;
    migrations::up(&mut connection, to).await.map_err(|error| connect::failure(store, &error))
}

const HEADINGS: [&str; 3] = ["STORE", "MIGRATION", "DONE"];

fn told(store: &StoreConfig, done: &[&'static Migration], what: &str) -> Vec<[String; 3]> {
    done.iter().map(|migration| [store.name.clone(), migration.name.to_owned(), what.to_owned()]).collect()
}

fn ask(store: &StoreConfig, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "`migrate down` deletes what the tables of the undone migrations hold, which may be the whole archive in {}: \
         stop the archiver, make a backup, then say --yes",
        store.url
    )))
}

async fn down(store: &StoreConfig, steps: u32) -> Result<(), Failure> {
    if connect::is_absent(store) {
        return output::print("Nothing to undo.\n");
    }
    let mut connection = connect::open(store).await?;
    let done = migrations::down(&mut connection, steps).await.map_err(|error| connect::failure(store, &error))?;
    match done.is_empty() {
        true => output::print("Nothing to undo.\n"),
        false => output::print(&table::render(HEADINGS, told(store, &done, "undone"))),
    }
}

/// The database systems asked for, each once.
fn dialects(stores: &[&StoreConfig], backend: Option<Backend>) -> Vec<Dialect> {
    let mut dialects: Vec<Dialect> = match backend {
        Some(Backend::Postgres) => vec![Dialect::Postgres],
        Some(Backend::Mysql) => vec![Dialect::Mysql],
        Some(Backend::Sqlite) => vec![Dialect::Sqlite],
        None => stores.iter().map(|store| Dialect::from(&Endpoint::from_config(store).backend)).collect(),
    };
    dialects.sort_by_key(|dialect| dialect.name());
    dialects.dedup();
    dialects
}

fn print(dialects: &[Dialect]) -> Result<(), Failure> {
    let [dialect] = dialects else {
        return Err(Failure::Usage("the stores are of several database systems: say which, such as `migrate print postgres`".to_owned()));
    };
    output::print(&migrations::print(*dialect))
}
