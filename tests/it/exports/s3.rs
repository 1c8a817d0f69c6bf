//! Exports that are put into a bucket: moto plays S3 with Object Lock, checks our signatures with Amazon's library, and dies where it hurts; Amazon's own
//! client says what is there afterwards.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::daily::{archiver, finished, next_day, nothing_is_due, turn_is_over};
use crate::support::archiver::Archiver;
use crate::support::played::Played;
use crate::support::process::{Directory, Process, command, free_port, run, tail, wait_for};
use crate::support::tls::Authority;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/exports/s3_server.py");
const READ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/exports/s3_read.py");
/// Two of these are more than the smallest part.
const LARGE_BODY_BYTES: usize = 900 << 10;

/// The Python that script/test made, beside the directory in which the program was built.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_xmpp-archiver")).ancestors().nth(2).expect("a directory of cargo's");
    let python = target.join("test-python/bin/python");
    assert!(python.exists(), "{} is not there; script/test makes it", python.display());
    python
}

struct Server {
    process: Process,
    home: Directory,
    port: u16,
}

impl Server {
    fn start() -> Server {
        Server::of(Directory::new(None))
    }

    fn with_tls() -> Server {
        let home = Directory::new(None);
        Authority::new(&home).issue(&home, "server");
        Server::of(home)
    }

    fn of(home: Directory) -> Server {
        let port = free_port();
        let process = Server::spawn(&home, port);
        Server { process, home, port }
    }

    fn spawn(home: &Directory, port: u16) -> Process {
        let mut python = command(None, python());
        python.arg(SERVER).arg(home.path()).arg(port.to_string());
        let log = home.path().join("log");
        let mut process = Process::spawn(python, &log);
        wait_for("moto", || {
            assert!(process.is_running(), "moto ended:\n{}", tail(&log));
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        process
    }

    fn come_back(&mut self) {
        self.process = Server::spawn(&self.home, self.port);
    }

    /// What goes wrong next: the n-th of such requests.
    fn go_wrong(&self, method: &str, target: &str, nth: u64, how: &str) {
        let fault = json!({ "method": method, "match": target, "nth": nth, "do": how });
        std::fs::write(self.home.path().join("fault.new"), fault.to_string()).expect("a file");
        std::fs::rename(self.home.path().join("fault.new"), self.home.path().join("fault")).expect("a file");
    }

    fn has_gone_wrong(&self) {
        wait_for("the fault", || (!self.home.path().join("fault").exists()).then_some(()));
    }

    fn has_died(&mut self) {
        wait_for("the server to die", || (!self.process.is_running()).then_some(()));
    }

    fn key(&self, who: &str, part: &str) -> String {
        let keys: Value = serde_json::from_slice(&std::fs::read(self.home.path().join("keys.json")).expect("keys")).expect("JSON");
        keys[who][part].as_str().expect("a key").to_owned()
    }

    fn endpoint(&self) -> String {
        let scheme = if self.home.path().join("server.crt").exists() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The settings of an export.
    fn settings(&self, series: &Path, bucket: &str, more: &str) -> String {
        let (series, id, secret) = (series.display(), self.key("archiver", "id"), self.key("archiver", "secret"));
        let (endpoint, authority) = (self.endpoint(), self.home.path().join("authority.crt"));
        let tls = if authority.exists() { format!("tls_ca = '{}'", authority.display()) } else { String::new() };
        format!(
            "[[export]]\nname = 'journal'\npath = '{series}'\nat = '00:00'\n[export.s3]\nendpoint = '{endpoint}'\nbucket = '{bucket}'\n\
             access_key_id = '{id}'\nsecret_access_key = '{secret}'\npart_size = '5 MiB'\n{tls}\n{more}\n"
        )
    }

    /// What Amazon's client finds, having tried to delete each version.
    fn holds(&self, bucket: &str) -> Value {
        self.ask(&[bucket])
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        let mut read = command(None, python());
        read.arg(READ).arg(self.home.path()).arg(self.port.to_string()).args(arguments);
        serde_json::from_str(&run(read)).expect("JSON")
    }

    /// What was asked of it and done: the methods and targets.
    fn done(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.home.path().join("requests.jsonl")).expect("requests");
        let requests = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let done = requests.filter(|request| request[2].as_u64().is_some_and(|status| status < 300));
        done.map(|request| format!("{} {}", request[0].as_str().expect("a method"), request[1].as_str().expect("a target"))).collect()
    }
}

/// The objects that there must be: their keys, and the hashes that the exports name.
fn expected(series: &Path) -> BTreeMap<String, String> {
    let mut expected = BTreeMap::new();
    for name in finished(series) {
        let list = series.join(&name).join("SHA256SUMS");
        for line in std::fs::read_to_string(&list).expect("hashes").lines() {
            let (hash, file) = line.split_once("  ").expect("a hash and a name");
            expected.insert(format!("journal/{name}/{file}"), hash.to_owned());
        }
        let mut sha256sum = command(None, "sha256sum");
        sha256sum.arg(&list);
        expected.insert(format!("journal/{name}/SHA256SUMS"), run(sha256sum).split(' ').next().expect("a hash").to_owned());
    }
    expected
}

/// Each file is there once, with its bytes, and nobody can delete it.
fn is_all_there(server: &Server, bucket: &str, series: &Path) -> Vec<Value> {
    let held = server.holds(bucket);
    let objects = held["objects"].as_array().expect("objects").clone();
    let found: Vec<(String, String)> = objects
        .iter()
        .map(|object| (object["key"].as_str().expect("a key").to_owned(), object["sha256"].as_str().expect("a hash").to_owned()))
        .collect();
    assert_eq!(found, expected(series).into_iter().collect::<Vec<_>>(), "one version of each file");
    for object in &objects {
        assert_eq!(object["deleting"], "AccessDenied", "{object}");
        assert_eq!(object["beside"], object["sha256"], "{object}");
    }
    assert_eq!(held["uploads"], 0, "what an upload left that was broken off is removed");
    for name in finished(series) {
        assert_eq!(finished(&series.join(name)), ["SHA256SUMS", "manifest.json"], "the account stays here");
    }
    objects
}

fn says(id: usize, body: &str) -> String {
    format!(
        "<message to='archive.example' from='example.com' id='f{id}'><forwarded xmlns='urn:xmpp:forward:0'>\
         <message xmlns='jabber:client' from='alice@example.com/a' to='bob@example.com' type='chat' id='m{id}'><body>{body}</body></message>\
         </forwarded></message>"
    )
}

/// An archiver that has archived these, and makes its first export when it is started next.
fn with_messages(settings: &str, series: &Path, bodies: &[String]) -> (Played, Archiver) {
    let (mut node, mut archiver) = archiver(settings);
    std::fs::create_dir_all(series).expect("a series");
    // Nothing is due before the messages are there.
    nothing_is_due(series);
    capture(&mut node, &mut archiver, 0, bodies);
    next_day(series);
    (node, archiver)
}

fn capture(node: &mut Played, archiver: &mut Archiver, first: usize, bodies: &[String]) {
    archiver.start();
    node.accept();
    for (number, body) in bodies.iter().enumerate() {
        node.mirror(&[says(first + number, body)]);
    }
    archiver.wait_until_stored();
    archiver.stop();
}

fn alarm(archiver: &Archiver, text: &str) {
    wait_for(text, || archiver.status().filter(|status| status["alarms"].to_string().contains(text)));
}

#[test]
fn each_file_is_one_locked_object_whatever_breaks() {
    let mut server = Server::start();
    let directory = Directory::new(None);
    let series = directory.path().join("series");
    let settings = server.settings(&series, "vault", "lock = 'compliance'\nretain_days = 30\nlegal_hold = true");
    let bodies: Vec<String> = (0..14).map(|number| format!("{number:06}").repeat(LARGE_BODY_BYTES / 6)).collect();
    let (mut node, mut archiver) = with_messages(&settings, &series, &bodies);
    // The server dies in the middle of a file of several parts, and stays away for longer than anybody waits.
    server.go_wrong("PUT", "partNumber=2", 1, "die");
    archiver.start();
    server.has_died();
    alarm(&archiver, "not delivered");
    archiver.stop();
    server.come_back();
    // Both die when a file is there and its answer is not.
    server.go_wrong("PUT", "manifest.json", 1, "die-after");
    archiver.start();
    server.has_died();
    archiver.kill();
    server.come_back();
    let name = finished(&series).pop().expect("an export");
    assert!(series.join(&name).join("messages.jsonl").exists(), "it is kept until all of it is there");
    server.go_wrong("PUT", "SHA256SUMS", 1, "slow-down");
    archiver.start();
    server.has_gone_wrong();
    turn_is_over(&series);
    archiver.stop();
    is_all_there(&server, "vault", &series);
    // Both die when the parts of the next day's have become an object, which nothing has locked yet.
    nothing_is_due(&series);
    capture(&mut node, &mut archiver, bodies.len(), &bodies);
    next_day(&series);
    server.go_wrong("POST", "uploadId=", 1, "die-after");
    archiver.start();
    server.has_died();
    archiver.kill();
    server.come_back();
    archiver.start();
    turn_is_over(&series);
    archiver.stop();
    let objects = is_all_there(&server, "vault", &series);
    assert_eq!(objects.len(), 6);
    for object in &objects {
        assert_eq!((&object["mode"], &object["hold"]), (&json!("COMPLIANCE"), &json!("ON")), "{object}");
        assert!((object["days"].as_f64().expect("days") - 30.0).abs() < 0.1, "{object}");
    }
    let puts: Vec<String> = server.done().into_iter().filter(|done| done.starts_with("PUT") && done.ends_with('?')).collect();
    let last: Vec<bool> = puts.iter().map(|put| put.ends_with("/SHA256SUMS?")).collect();
    assert_eq!(last, [false, true, false, true], "the list of hashes comes last: {puts:?}");
    // A turn with nothing new asks for nothing.
    let asked = server.done();
    next_day(&series);
    archiver.start();
    turn_is_over(&series);
    archiver.stop();
    assert_eq!(server.done(), asked);
    let trail = archiver.must(&["audit", "list", "--action", "export-end", "--format", "jsonl"]);
    assert!(trail.contains("s3://vault/journal"), "{trail}");
    assert!(!archiver.logged().contains(&server.key("archiver", "secret")));
}

#[test]
fn a_day_without_a_message_is_delivered_with_its_empty_files() {
    let server = Server::start();
    let directory = Directory::new(None);
    let series = directory.path().join("series");
    let all = server.settings(&series, "vault", "lock = 'governance'\nretain_days = 1");
    let settings = all.replace("at = '00:00'", "at = '00:00'\nquery = 'room=nobodys@muc.example.com'");
    let (_node, mut archiver) = with_messages(&settings, &series, &["said elsewhere".to_owned()]);
    archiver.start();
    turn_is_over(&series);
    archiver.stop();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let objects = is_all_there(&server, "vault", &series);
    let is_empty = |object: &&Value| object["sha256"] == empty;
    let keys: Vec<&Value> = objects.iter().filter(is_empty).map(|object| &object["key"]).collect();
    assert!(keys.len() == 1 && keys[0].as_str().is_some_and(|key| key.ends_with("/messages.jsonl")), "{objects:?}");
}

#[test]
fn a_bucket_that_can_not_take_or_lock_it_is_told_and_then_mended() {
    let server = Server::with_tls();
    let directory = Directory::new(None);
    let series = directory.path().join("series");
    let right = server.settings(&series, "vault-by-default", "");
    let (mut node, mut archiver) = with_messages(&right, &series, &["a few words".to_owned()]);
    let settings = archiver.settings();
    let secret = server.key("archiver", "secret");
    let reader =
        settings.replace(&server.key("archiver", "id"), &server.key("reader", "id")).replace(&secret, &server.key("reader", "secret"));
    let absent = format!("http://127.0.0.1:{}", free_port());
    for (wrong, said, advice) in [
        (settings.replace(&secret, "hunter2"), "SignatureDoesNotMatch", "mend `secret_access_key`"),
        (settings.replace("vault-by-default", "plain"), "no Object Lock", "turn on Object Lock"),
        (settings.replace("vault-by-default", "nobodys"), "NoSuchBucket", "make the bucket"),
        (settings.replace("vault-by-default", "vault"), "nothing would be locked", "default retention"),
        (reader, "AccessDenied", "s3:PutObject"),
        (settings.replace(&server.endpoint(), &absent), "Connection refused", "check `endpoint`"),
    ] {
        archiver.set_settings(&wrong);
        archiver.start();
        alarm(&archiver, said);
        alarm(&archiver, advice);
        archiver.stop();
    }
    archiver.set_settings(&settings.replace("vault-by-default", "plain"));
    let checked = |archiver: &Archiver| String::from_utf8_lossy(&archiver.command(&["check", "--format", "json"]).stdout).into_owned();
    let report = checked(&archiver);
    assert!(report.contains("s3://plain/journal: the bucket has no Object Lock"), "{report}");
    for bucket in ["vault", "vault-by-default"] {
        assert_eq!(server.holds(bucket)["objects"], json!([]), "nothing is put where it would not be locked");
    }
    // Somebody else was there first.
    let key = format!("journal/{}/manifest.json", finished(&series).pop().expect("an export"));
    server.ask(&["vault-by-default", &key, "not ours"]);
    archiver.set_settings(&settings);
    archiver.start();
    alarm(&archiver, "another object is there");
    archiver.stop();
    let held = server.holds("vault-by-default");
    let there: Vec<&Value> = held["objects"].as_array().expect("objects").iter().filter(|object| object["key"] == key.as_str()).collect();
    assert_eq!(there.len(), 1, "it stays as it is: {held}");
    assert!(!held.to_string().contains("SHA256SUMS"), "an export that is not whole has no list: {held}");
    // In a place of its own it is whole, held as the bucket has it.
    archiver.set_settings(&settings.replace("part_size", "prefix = 'second/journal'\npart_size"));
    archiver.start();
    turn_is_over(&series);
    archiver.stop();
    let held = server.holds("vault-by-default");
    let of_place = |object: &&Value| object["key"].as_str().is_some_and(|key| key.starts_with("second/journal/"));
    let objects: Vec<&Value> = held["objects"].as_array().expect("objects").iter().filter(of_place).collect();
    assert_eq!(objects.len(), expected(&series).len());
    for object in objects {
        let hash = &expected(&series)[object["key"].as_str().expect("a key").trim_start_matches("second/")];
        assert_eq!((&object["sha256"], &object["mode"]), (&json!(hash), &json!("GOVERNANCE")), "{object}");
        assert_eq!(object["deleting"], "AccessDenied");
    }
    // moto does not lock objects of several parts by itself, so they are none that are delivered.
    nothing_is_due(&series);
    capture(&mut node, &mut archiver, 1, &vec!["large ".repeat(LARGE_BODY_BYTES / 6); 7]);
    next_day(&series);
    archiver.start();
    alarm(&archiver, "it is there, but not locked");
    archiver.stop();
    let logged = archiver.logged();
    assert!(!logged.contains(&secret) && !logged.contains("hunter2"));
    let report = checked(&archiver);
    assert!(report.contains("by default GOVERNANCE, 3 days"), "{report}");
}
