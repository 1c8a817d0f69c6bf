//! MariaDB servers of our own: a data directory in a temporary directory, on a free port of the loopback interface, with a database for each test.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::process::{Directory, PATIENCE, Process, User, command, free_port, program, run, tail, try_for};
use super::template;
use super::tls::Authority;

pub(crate) const USER: &str = "archiver";
/// With characters that have to be escaped in a URL.
pub(crate) const PASSWORD: &str = "s3cret/of:tests";
const PASSWORD_IN_URL: &str = "s3cret%2Fof%3Atests";
const ATTEMPTS: usize = 3;

/// How a server is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    Plain,
    /// It accepts connections by TLS only.
    Tls,
    /// It writes a binary log, as one with replicas or backups does.
    Logging,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct MariaDb {
    // Before the directory: it is to be gone when that is removed.
    process: Mutex<Process>,
    directory: Directory,
    port: u16,
    setup: Setup,
    tls: Option<Authority>,
    next_database: AtomicU32,
}

/// A database of a test's own.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) server: Arc<MariaDb>,
    pub(crate) name: String,
}

impl Database {
    /// The URL that goes into the archiver's configuration.
    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// What the client prints for a query, columns separated by tabs and without headings.
    pub(crate) fn query(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }
}

/// A fresh database on the server that the tests of this process share.
pub(crate) fn database() -> Database {
    static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let server = shared.upgrade().unwrap_or_else(|| Arc::new(MariaDb::start()));
    *shared = Arc::downgrade(&server);
    drop(shared);
    server.new_database()
}

impl MariaDb {
    /// A server of the test's own, for tests that stop, kill or pause it.
    pub(crate) fn start() -> MariaDb {
        MariaDb::launch(Setup::Plain)
    }

    /// A server that accepts connections by TLS only.
    pub(crate) fn start_with_tls() -> MariaDb {
        MariaDb::launch(Setup::Tls)
    }

    /// A server that writes a binary log.
    pub(crate) fn start_with_log() -> MariaDb {
        MariaDb::launch(Setup::Logging)
    }

    fn launch(setup: Setup) -> MariaDb {
        let directory = Directory::new(User::first_of(&["mysql", "nobody"]));
        directory.make("tmp");
        let mut version = Command::new(needed("mariadbd"));
        version.arg("--version");
        let archive = template::cached("mysql", &run(version), initialise);
        template::unpack(&archive, &directory, "data");
        let tls = (setup == Setup::Tls).then(|| Authority::new(&directory));
        if let Some(authority) = &tls {
            authority.issue(&directory, "server");
        }
        let (process, port) = first_that_starts(&directory, setup);
        let server = MariaDb { process: Mutex::new(process), directory, port, setup, tls, next_database: AtomicU32::new(0) };
        server.create_user();
        server
    }

    fn create_user(&self) {
        self.sql(
            "",
            &format!(
                "CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
                 GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'127.0.0.1'"
            ),
        );
    }

    /// The file with the certificate of the authority that signed the server's.
    pub(crate) fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(Authority::certificate)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("mysql://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) fn new_database(self: &Arc<MariaDb>) -> Database {
        let number = self.next_database.fetch_add(1, Ordering::Relaxed);
        let name = format!("archive_{number}");
        self.sql("", &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"));
        Database { server: Arc::clone(self), name }
    }

    /// The URL of a database for a user who may do everything in it and nothing else on the server.
    pub(crate) fn url_of_owner(&self, database: &Database) -> String {
        let name = &database.name;
        self.sql(
            "",
            &format!("CREATE USER '{name}'@'127.0.0.1' IDENTIFIED BY 'x'; GRANT ALL PRIVILEGES ON {name}.* TO '{name}'@'127.0.0.1'"),
        );
        format!("mysql://{name}:x@127.0.0.1:{}/{name}", self.port)
    }

    /// Where the files of a database are.
    pub(crate) fn directory_of(&self, database: &Database) -> std::path::PathBuf {
        self.directory.path().join("data").join(&database.name)
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        run(client_command(&self.directory, database, sql))
    }

    /// Stops the server in an orderly way.
    pub(crate) fn stop(&self) {
        self.process().stop("TERM");
    }

    /// Stops it as a crash would.
    pub(crate) fn kill(&self) {
        self.process().kill();
    }

    /// Starts it again, on the same port and with the same data.
    pub(crate) fn restart(&self) {
        let mut process = self.process();
        let started = try_for(PATIENCE, || {
            let mut next = serve(&self.directory, self.port, self.setup);
            is_up(&mut next, &self.directory).then_some(next)
        });
        *process = started.expect("MariaDB starts again");
    }

    /// The server answers nothing, but keeps its connections.
    pub(crate) fn pause(&self) {
        self.process().signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.process().signal("CONT");
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().expect("the server's process")
    }
}

fn needed(name: &str) -> std::path::PathBuf {
    program(name).unwrap_or_else(|| panic!("{name} is not installed: run script/test"))
}

fn initialise(directory: &Directory) {
    let mut install = command(directory.user(), needed("mariadb-install-db"));
    install.current_dir(directory.path());
    install.args(["--no-defaults", "--skip-test-db"]);
    install.arg("--auth-root-authentication-method=normal");
    install.arg(format!("--datadir={}", directory.make("data").display()));
    install.arg(format!("--tmpdir={}", directory.make("tmp").display()));
    run(install);
}

fn first_that_starts(directory: &Directory, setup: Setup) -> (Process, u16) {
    for _ in 0..ATTEMPTS {
        let port = free_port();
        let mut process = serve(directory, port, setup);
        if is_up(&mut process, directory) {
            return (process, port);
        }
    }
    panic!("MariaDB does not start:\n{}", tail(&directory.path().join("log")));
}

fn serve(directory: &Directory, port: u16, setup: Setup) -> Process {
    let at = |name: &str| directory.path().join(name).display().to_string();
    let mut mariadbd = command(directory.user(), needed("mariadbd"));
    mariadbd.current_dir(directory.path());
    mariadbd.args(["--no-defaults", "--bind-address=127.0.0.1"]);
    mariadbd.args(["--skip-name-resolve", "--innodb-buffer-pool-size=32M"]);
    mariadbd.args(["--innodb-flush-log-at-trx-commit=2", "--port", &port.to_string()]);
    mariadbd.args(["--datadir", &at("data"), "--tmpdir", &at("tmp")]);
    mariadbd.args(["--socket", &at("data/socket"), "--pid-file", &at("data/pid")]);
    if setup == Setup::Logging {
        mariadbd.args(["--log-bin", "--server-id=1"]);
    }
    if setup == Setup::Tls {
        mariadbd.args(["--ssl-cert", &at("server.crt"), "--ssl-key", &at("server.key")]);
        mariadbd.args(["--ssl-ca", &at("authority.crt"), "--require-secure-transport=ON"]);
    }
    Process::spawn(mariadbd, &directory.path().join("log"))
}

fn is_up(process: &mut Process, directory: &Directory) -> bool {
    let answer = try_for(PATIENCE, || {
        let answers = client_command(directory, "", "SELECT 1").output();
        let answers = answers.is_ok_and(|output| output.status.success());
        (answers || !process.is_running()).then_some(answers)
    });
    answer.unwrap_or(false)
}

fn client_command(directory: &Directory, database: &str, sql: &str) -> Command {
    let mut client = Command::new(needed("mariadb"));
    client.arg("--no-defaults").arg("--socket");
    client.arg(directory.path().join("data/socket"));
    client.args(["--user=root", "--batch", "--skip-column-names", "--raw"]);
    client.args(["--default-character-set=utf8mb4", "--execute", sql, database]);
    client
}
