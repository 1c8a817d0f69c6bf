//! PostgreSQL servers of our own: a cluster in a temporary directory, on a free port of the loopback interface, with a database for each test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::process::{Directory, PATIENCE, Process, User, command, free_port, program, run, tail, try_for};
use super::template;
use super::tls::Authority;

/// The server's administrator, which the tests connect as.
pub(crate) const USER: &str = "archiver";
/// With a character that has to be escaped in a URL.
pub(crate) const PASSWORD: &str = "s3cret/of:tests";
const PASSWORD_IN_URL: &str = "s3cret%2Fof%3Atests";
const ATTEMPTS: usize = 3;

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    // Before the directory: it is to be gone when that is removed.
    process: Mutex<Process>,
    directory: Directory,
    port: u16,
    tls: Option<Authority>,
    next_database: AtomicU32,
}

/// A database of a test's own.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) server: Arc<Postgres>,
    pub(crate) name: String,
}

impl Database {
    /// The URL that goes into the archiver's configuration.
    pub(crate) fn url(&self) -> String {
        let query = if self.server.tls.is_some() { "?sslmode=verify-full" } else { "" };
        self.server.url(&self.name, query)
    }

    /// What `psql` prints for a query, unaligned and without headings.
    pub(crate) fn query(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql)
    }
}

/// A fresh database on the server that the tests of this process share.
pub(crate) fn database() -> Database {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let server = shared.upgrade().unwrap_or_else(|| Arc::new(Postgres::start()));
    *shared = Arc::downgrade(&server);
    drop(shared);
    server.new_database()
}

/// Where the programs of the newest PostgreSQL that is installed are.
fn binary(name: &str) -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(_, path)| path.join("bin").join(name).is_file())
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, path)| path.join("bin").join(name));
    newest.or_else(|| program(name)).unwrap_or_else(|| panic!("{name} of PostgreSQL is not installed: run script/test"))
}

impl Postgres {
    /// A server of the test's own, for tests that stop, kill or pause it.
    pub(crate) fn start() -> Postgres {
        Postgres::launch(false)
    }

    /// A server that accepts connections by TLS only.
    pub(crate) fn start_with_tls() -> Postgres {
        Postgres::launch(true)
    }

    fn launch(with_tls: bool) -> Postgres {
        let user = User::first_of(&["postgres", "nobody"]);
        let directory = Directory::new(user);
        directory.make("sockets");
        let version = run(version_command());
        let archive = template::cached("postgres", &version, initialise);
        template::unpack(&archive, &directory, "data");
        let tls = with_tls.then(|| Authority::new(&directory));
        if let Some(authority) = &tls {
            authority.issue(&directory, "server");
            let hba = "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
            directory.write("data/pg_hba.conf", hba);
        }
        let (process, port) = first_that_starts(&directory, with_tls);
        Postgres { process: Mutex::new(process), directory, port, tls, next_database: AtomicU32::new(0) }
    }

    /// The file with the certificate of the authority that signed the server's.
    pub(crate) fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(Authority::certificate)
    }

    /// A connection URL, with the text of its query part.
    pub(crate) fn url(&self, database: &str, query: &str) -> String {
        format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}{query}", self.port)
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn new_database(self: &Arc<Postgres>) -> Database {
        let number = self.next_database.fetch_add(1, Ordering::Relaxed);
        let name = format!("archive_{number}");
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        Database { server: Arc::clone(self), name }
    }

    fn psql(&self, database: &str, sql: &str) -> String {
        run(psql_command(&self.directory, self.port, database, sql))
    }

    /// Stops the server in an orderly way, cutting its connections.
    pub(crate) fn stop(&self) {
        self.process().stop("INT");
    }

    /// Stops it as a crash would.
    pub(crate) fn kill(&self) {
        self.process().kill();
    }

    /// Starts it again, on the same port and with the same data.
    pub(crate) fn restart(&self) {
        let mut process = self.process();
        let started = try_for(PATIENCE, || {
            // After a crash the old server's children may still hold the shared memory for a moment.
            let mut next = serve(&self.directory, self.port, self.tls.is_some());
            is_up(&mut next, &self.directory, self.port).then_some(next)
        });
        *process = started.expect("PostgreSQL starts again");
    }

    /// The server answers nothing, but keeps its connections.
    pub(crate) fn pause(&self) {
        self.process().signal_family("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.process().signal_family("CONT");
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().expect("the server's process")
    }
}

impl Drop for Postgres {
    /// The children of a server that is killed live on for a moment, and write into the directory that is being removed.
    fn drop(&mut self) {
        let Ok(process) = self.process.get_mut() else { return };
        if process.is_running() {
            process.signal("CONT");
            process.signal("INT");
            try_for(PATIENCE, || (!process.is_running()).then_some(()));
        }
    }
}

fn version_command() -> Command {
    let mut version = Command::new(binary("postgres"));
    version.arg("--version");
    version
}

fn initialise(directory: &Directory) {
    let password = directory.write("password", PASSWORD);
    let mut initdb = command(directory.user(), binary("initdb"));
    initdb.current_dir(directory.path());
    initdb.args(["--username", USER, "--auth=scram-sha-256", "--no-sync"]);
    initdb.args(["--encoding=UTF8", "--locale=C", "--no-instructions"]);
    initdb.arg("--pwfile").arg(password);
    initdb.arg("--pgdata").arg(directory.make("data"));
    run(initdb);
}

fn first_that_starts(directory: &Directory, with_tls: bool) -> (Process, u16) {
    for _ in 0..ATTEMPTS {
        let port = free_port();
        let mut process = serve(directory, port, with_tls);
        if is_up(&mut process, directory, port) {
            return (process, port);
        }
    }
    panic!("PostgreSQL does not start:\n{}", tail(&directory.path().join("log")));
}

fn serve(directory: &Directory, port: u16, with_tls: bool) -> Process {
    let at = |name: &str| directory.path().join(name).display().to_string();
    let mut postgres = command(directory.user(), binary("postgres"));
    postgres.current_dir(directory.path());
    postgres.args(["-D", &at("data"), "-p", &port.to_string()]);
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", at("sockets")),
        "fsync=off".to_owned(),
        "shared_buffers=32MB".to_owned(),
        "dynamic_shared_memory_type=mmap".to_owned(),
    ];
    if with_tls {
        settings.push("ssl=on".to_owned());
        settings.push(format!("ssl_cert_file={}", at("server.crt")));
        settings.push(format!("ssl_key_file={}", at("server.key")));
    }
    for setting in settings {
        postgres.args(["-c", &setting]);
    }
    Process::spawn(postgres, &directory.path().join("log"))
}

fn is_up(process: &mut Process, directory: &Directory, port: u16) -> bool {
    let answer = try_for(PATIENCE, || {
        let answers = psql_command(directory, port, "postgres", "SELECT 1").output();
        let answers = answers.is_ok_and(|output| output.status.success());
        (answers || !process.is_running()).then_some(answers)
    });
    answer.unwrap_or(false)
}

fn psql_command(directory: &Directory, port: u16, database: &str, sql: &str) -> Command {
    let mut psql = Command::new(binary("psql"));
    psql.env("PGPASSWORD", PASSWORD).current_dir("/");
    psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet"]);
    psql.args(["--set", "ON_ERROR_STOP=1", "--username", USER]);
    psql.args(["--port", &port.to_string(), "--dbname", database]);
    psql.arg("--host").arg(directory.path().join("sockets"));
    psql.args(["--command", sql]);
    psql
}
