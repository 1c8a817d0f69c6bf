//! The processes that the tests start: servers and the archiver itself.
//!
//! None may outlive the test process, even when that is killed: each is started through `setpriv --pdeathsig KILL`. The kernel sends that signal
//! when the *thread* that started the process ends, so one thread (the nursery), which lives as long as the test process, starts them all.
//! Servers that refuse to run as root run as the user that their Debian package made, or as `nobody`.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long anything may take that a test waits for, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at something that tells nobody when it changes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `look` finds something; panics with `what` when that takes longer than anything may.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    try_for(PATIENCE, &mut look).unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}"))
}

/// Looks again and again until something is found or the time is up.
pub(crate) fn try_for<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Where [`free_port`] looks: below the range from which systems take the ports of outgoing connections, of which tests make many.
const PORTS: std::ops::Range<u64> = 10_000..32_000;

/// A port of the loopback interface that is free, and that no other test of this run is given while this process lives: a server that a test
/// restarts finds its port again. Something else on the machine may still take it first: whoever starts a server tries again.
pub(crate) fn free_port() -> u16 {
    static LEASES: Mutex<Vec<fs::File>> = Mutex::new(Vec::new());
    let leases = std::env::temp_dir().join("xmpp-archiver-ports");
    fs::create_dir_all(&leases).expect("a directory for the leases of ports");
    loop {
        let random = RandomState::new().build_hasher().finish();
        let port = u16::try_from(PORTS.start + random % (PORTS.end - PORTS.start)).expect("a port");
        let lease = fs::File::create(leases.join(port.to_string())).expect("a lease");
        if lease.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            LEASES.lock().expect("no test died while it took a port").push(lease);
            return port;
        }
    }
}

/// A user that a server runs as.
#[derive(Clone, Debug)]
pub(crate) struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// The first of `names` that exists, when we are root; otherwise there is no other user that we could be, and none is needed.
    pub(crate) fn first_of(names: &[&str]) -> Option<User> {
        let we_are_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
        we_are_root.then(|| {
            let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
            let found = names.iter().find_map(|name| User::parse(&passwd, name));
            found.unwrap_or_else(|| panic!("none of the users {names:?} exists"))
        })
    }

    fn parse(passwd: &str, name: &str) -> Option<User> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let fields: Vec<&str> = line.split(':').collect();
        Some(User { name: name.to_owned(), uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    }
}

/// A command that dies with us, run as `user` where one is given.
pub(crate) fn command(user: Option<&User>, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user {
        command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)]);
        command.arg("--init-groups");
        command.env("USER", &user.name).env("LOGNAME", &user.name);
    }
    command.arg("--").arg(program.as_ref());
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns its output; panics with what it said when it fails.
pub(crate) fn run(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} failed: {status}\n{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

/// The path of a program in PATH or in one of the directories where Debian hides daemons.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// A temporary directory with room for one of a server's own inside; removed when dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    root: tempfile::TempDir,
    user: Option<User>,
}

impl Directory {
    pub(crate) fn new(user: Option<User>) -> Directory {
        let root = tempfile::Builder::new().prefix("xa-it-").tempdir();
        let root = root.expect("a temporary directory");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711)).expect("permissions");
        Directory { root, user }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Writes a file that the server may read, and nobody else.
    pub(crate) fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, contents).expect("write a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
        self.give(&path);
        path
    }

    /// Makes a directory that belongs to the server.
    pub(crate) fn make(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("make a directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("permissions");
        self.give(&path);
        path
    }

    fn give(&self, path: &Path) {
        if let Some(user) = &self.user {
            chown(path, Some(user.uid), Some(user.gid)).expect("give a file to the server's user");
        }
    }

    /// Gives everything below `name` to the server's user.
    pub(crate) fn give_all(&self, name: &str) {
        if let Some(user) = &self.user {
            let mut chown = Command::new("chown");
            chown.arg("-R").arg(format!("{}:{}", user.uid, user.gid));
            chown.arg(self.path().join(name));
            run(chown);
        }
    }
}

type Birth = (Command, Sender<std::io::Result<Child>>);

fn nursery() -> Sender<Birth> {
    static NURSERY: OnceLock<Mutex<Sender<Birth>>> = OnceLock::new();
    let sender = NURSERY.get_or_init(|| {
        let (sender, births) = channel::<Birth>();
        std::thread::spawn(move || {
            for (mut command, parent) in births {
                // The parent waits for the answer, so this can't fail while anybody cares.
                let _ = parent.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    sender.lock().expect("the nursery").clone()
}

/// A running process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a command made by [`command`], its output going to `log`.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Process {
        let log = fs::OpenOptions::new().create(true).append(true).open(log);
        let log = log.expect("a log file");
        command.stderr(log.try_clone().expect("a log file"));
        command.stdout(log);
        let (sender, born) = channel();
        nursery().send((command, sender)).expect("the nursery is open");
        let child = born.recv().expect("an answer").expect("start a process");
        Process { child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal such as `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let mut kill = Command::new("sh");
        kill.args(["-c", &format!("kill -{name} {}", self.pid())]);
        run(kill);
    }

    /// Sends a signal to the process and to its children, which serve its connections; one of them may end at that very moment.
    pub(crate) fn signal_family(&self, name: &str) {
        let pid = self.pid();
        let mut kill = Command::new("sh");
        kill.args(["-c", &format!("kill -{name} {pid} && for child in $(ps -o pid= --ppid {pid}); do kill -{name} $child || true; done")]);
        run(kill);
    }

    /// `kill -9`: the process gets no chance to do anything more.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to end and waits until it has.
    pub(crate) fn stop(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("a process to end", || child.try_wait().expect("wait for a process"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a log, for the message of a test that failed.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
