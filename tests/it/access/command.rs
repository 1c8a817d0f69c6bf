//! The commands, as an operator runs them.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::node::Node;
use crate::support::process::Directory;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xmpp-archiver");

struct Console {
    directory: Directory,
    store: Store,
}

impl Console {
    fn new(kind: StoreKind) -> Console {
        let directory = Directory::new(None);
        let store = Store::new(kind, &directory);
        directory.write("archiver.toml", &format!("[[store]]\nname = 'main'\nurl = '{}'\n", store.url()));
        let console = Console { directory, store };
        console.must(&["migrate"], "");
        console
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut program = Command::new(PROGRAM);
        program.args(arguments).current_dir(self.directory.path());
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("the program");
        child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("write to it");
        child.wait_with_output().expect("its output")
    }

    fn must(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn refuses(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.must(arguments, "")).expect("JSON")
    }
}

#[test]
fn accounts_from_the_first_to_the_last_day() {
    for kind in super::stage::STORES {
        let console = Console::new(kind);
        assert!(console.must(&["user", "list"], "").contains("user add"));
        let told = console.refuses(&["user", "add", "ann", "--role", "officer"], "short\n");
        assert!(told.contains("at least 12") && !told.contains("short"), "{told}");
        console.refuses(&["user", "add", "ann", "--role", "officer", "--role", "administrator"], "horse staple cable\n");
        let made = console.must(&["user", "add", "Ann", "--role", "officer", "--must-change", "--reason", "first"], "horse staple cable\n");
        assert!(made.contains("ann") && made.contains("must change"), "{made}");
        console
            .must(&["user", "add", "rev", "--role", "reviewer", "--who", "*.shop.example", "--from", "2026-11-01"], "cable horse staple");
        console.must(&["group", "set", "sales", "Bob@Example.com", "shop.example"], "");
        assert_eq!(console.json(&["group", "list", "--format", "json"])["sales"][0], "bob@example.com");
        console.must(&["user", "set-scope", "rev", "--group", "sales", "--room", "tea@rooms.example"], "");
        let rev = console.json(&["user", "show", "rev", "--format", "json"]);
        assert_eq!((&rev["scope"]["groups"][0], &rev["roles"][0]), (&Value::from("sales"), &Value::from("reviewer")));
        let text = console.must(&["token", "add", "rev", "nightly", "--days", "1"], "");
        assert!(text.starts_with("xa_"), "{text}");
        assert!(!console.must(&["token", "list"], "").contains(text.trim()));
        console.must(&["token", "revoke", "1"], "");
        console.refuses(&["token", "revoke", "1"], "");
        let shown = console.must(&["user", "totp", "ann"], "");
        assert!(shown.contains("otpauth://totp/") && shown.lines().filter(|line| line.matches('-').count() == 3).count() == 10, "{shown}");
        console.must(&["user", "totp", "ann", "--remove", "--reason", "lost"], "");
        for action in ["disable", "enable", "unlock"] {
            console.must(&["user", action, "ann"], "");
        }
        console.must(&["user", "set-password", "ann"], "staple cable horse\n");
        console.must(&["user", "set-role", "ann", "auditor"], "");
        console.must(&["user", "rename", "ann", "Ann Smith"], "");
        console.must(&["user", "sign-out", "ann"], "");
        console.refuses(&["user", "disable", "nobody"], "");
        console.must(&["group", "remove", "sales"], "");
        the_trail_tells(&console);
    }
}

fn the_trail_tells(console: &Console) {
    let rows: Vec<Value> = console.must(&["audit", "export"], "").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let actions: Vec<&str> = rows.iter().filter_map(|row| row["action"].as_str()).collect();
    for action in [
        "begin",
        "account-add",
        "group-set",
        "account-scope",
        "token-add",
        "token-revoke",
        "account-totp",
        "account-disable",
        "sessions-end",
    ] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    let ids: Vec<i64> = rows.iter().filter_map(|row| row["id"].as_i64()).collect();
    assert_eq!(ids, (1..=ids.len() as i64).collect::<Vec<_>>());
    assert!(rows[1..].iter().all(|row| row["actor"].as_str().is_some_and(|actor| actor.starts_with("cli:"))), "{rows:?}");
    let whole = format!("{rows:?}");
    assert!(!whole.contains("staple") && !whole.contains("xa_"), "{whole}");
    let csv = console.must(&["audit", "list", "--action", "account-add", "--format", "csv", "--limit", "1"], "");
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(console.must(&["audit", "list", "--text", "LOST"], "").contains("account-totp"));
}

#[test]
fn what_is_read_at_the_machine_is_in_the_trail_where_it_can_be() {
    let console = Console::new(StoreKind::Sqlite);
    console.must(&["search", "secret", "plan", "--from", "2026-11-01", "--sender", "*@example.com"], "");
    console.must(&["export", "--kind", "file"], "");
    let rows = console.must(&["audit", "list", "--format", "jsonl", "--action", "search", "--action", "export"], "");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.iter().map(|row| &row["action"]).collect::<Vec<_>>(), ["export", "search"]);
    assert_eq!(rows[1]["target"]["people"], serde_json::json!([{ "side": "sender", "any": ["*@example.com"] }]));
    assert_eq!(
        (&rows[1]["target"]["text"][1], &rows[1]["target"]["from"]),
        (&Value::from("plan"), &Value::from("2026-11-01T00:00:00.000000Z"))
    );
    // A copy that was put where nothing can be written is read all the same, and that is said.
    let Store::Sqlite(path) = &console.store else { panic!("SQLite") };
    console.store.query("DELETE FROM settings WHERE name = 'audit'");
    console.store.query("ALTER TABLE audit RENAME TO moved");
    let output = console.run(&["search", "secret"], "");
    assert!(output.status.success() && path.exists());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not in the audit trail"));
}

#[test]
fn the_check_tells_whether_the_trail_is_guarded() {
    let archiver = Archiver::new(StoreKind::Sqlite, &[] as &[&Node]);
    let finding = |archiver: &Archiver| {
        let output = archiver.command(&["check", "--offline", "--format", "json"]);
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(finding(&archiver).contains("refuses to change it"));
    archiver.store.query("DROP TRIGGER audit_no_update");
    assert!(finding(&archiver).contains("lets this user change rows"));
}
