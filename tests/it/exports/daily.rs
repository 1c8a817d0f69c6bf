//! Exports by the clock: a running archiver makes them, each message comes once, and a real mail server is sent the journal.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use xmpp_archiver::time::{SECOND, now, rfc3339};

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::played::Played;
use crate::support::process::{Directory, run, wait_for};

/// aiosmtpd (Debian: python3-aiosmtpd): keeps each mail with its envelope, and refuses the mails from number N on while the file "refuse" holds N.
const SERVER: &str = "
import asyncio, json, os, sys
from aiosmtpd.smtp import SMTP
home, count = sys.argv[1], 0
class Keep:
    async def handle_DATA(self, server, session, envelope):
        global count
        refuse = os.path.join(home, 'refuse')
        if os.path.exists(refuse) and count >= int(open(refuse).read()):
            return '451 not now'
        count += 1
        kept = {'from': envelope.mail_from, 'to': envelope.rcpt_tos, 'mail': envelope.content.decode('ascii')}
        with open(os.path.join(home, 'mails.jsonl'), 'a') as out:
            out.write(json.dumps(kept) + '\\n')
        return '250 kept'
async def main():
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Keep(), hostname='localhost'), '127.0.0.1', 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
";

/// Reads the mails with Python's `email`: the numbers of the messages in their attachments, and whether all Message-IDs differ.
const READ: &str = "
import email, email.policy, json, sys
ids, names = [], []
for line in open(sys.argv[1]):
    kept = json.loads(line)
    assert kept['to'] == ['journal@example.com'] and kept['from'] == 'archive@example.com', kept
    mail = email.message_from_string(kept['mail'], policy=email.policy.default)
    names.append(mail['Message-ID'])
    attachments = [part for part in mail.iter_attachments() if part.get_filename() == 'messages.jsonl']
    ids += [json.loads(row)['id'] for row in attachments[0].get_content().decode().splitlines()]
assert len(names) == len(set(names)), names
print(json.dumps(sorted(ids)))
";

struct MailServer {
    child: Child,
    port: u16,
}

impl MailServer {
    fn start(home: &Path) -> Self {
        let mut python = Command::new("/usr/bin/python3");
        let mut child = python.args(["-c", SERVER]).arg(home).stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a port");
        Self { child, port: line.trim().parse().expect("a port; is python3-aiosmtpd installed?") }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

fn mailed(home: &Path) -> Vec<i64> {
    let mut python = Command::new("python3");
    python.args(["-c", READ]).arg(home.join("mails.jsonl"));
    serde_json::from_str(&run(python)).expect("numbers")
}

fn says(id: usize) -> String {
    let to = id % 3;
    format!(
        "<message to='archive.example' from='example.com' id='f{id}'><forwarded xmlns='urn:xmpp:forward:0'>\
         <message xmlns='jabber:client' from='alice@example.com/a' to='bob{to}@example.com' type='chat' id='m{id}'><body>number {id}</body></message>\
         </forwarded></message>"
    )
}

/// An archiver with exports by the clock, and a node that plays to it.
pub(super) fn archiver(exports: &str) -> (Played, Archiver) {
    let node = Played::new("node", "archive.example", "example.com", "muc.example.com", "prosody");
    let archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    let key = archiver.spool().with_file_name("access.key");
    archiver.set_settings(&format!("{}\n[web]\nkey_file = '{}'\n{exports}", archiver.settings(), key.display()));
    archiver.must(&["migrate", "up"]);
    (node, archiver)
}

/// Has nothing be due for a series today, nor if midnight comes meanwhile.
pub(super) fn nothing_is_due(series: &Path) {
    let tomorrow = rfc3339(now() + 86_400 * SECOND);
    let (day, _) = tomorrow.split_once('T').expect("a day");
    std::fs::write(series.join(".last-turn"), day).expect("the day");
}

/// Has a day pass for a series.
pub(super) fn next_day(series: &Path) {
    std::fs::write(series.join(".last-turn"), "2026-01-01").expect("the day");
}

pub(super) fn turn_is_over(series: &Path) {
    let over = || std::fs::read_to_string(series.join(".last-turn")).ok().filter(|day| day != "2026-01-01");
    wait_for("the export to be made", over);
}

pub(super) fn finished(series: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(series).expect("a series").map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let mut names: Vec<String> = entries.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    names
}

#[test]
fn each_message_is_in_one_daily_export() {
    let directory = Directory::new(None);
    let series = directory.path().join("series");
    let (mut node, mut archiver) = archiver(&format!("[[export]]\nname = 'all'\npath = '{}'\nat = '00:00'\n", series.display()));
    let mut ids = Vec::new();
    for day in 0..3 {
        archiver.start();
        node.accept();
        let lines: Vec<String> = (0..5).map(|number| says(day * 5 + number)).collect();
        if day > 0 {
            turn_is_over(&series);
        }
        node.mirror(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        archiver.wait_until_stored();
        archiver.stop();
        std::fs::create_dir_all(&series).expect("a series");
        next_day(&series);
    }
    archiver.start();
    turn_is_over(&series);
    archiver.stop();
    let names = finished(&series);
    for name in &names {
        let text = std::fs::read_to_string(series.join(name).join("messages.jsonl")).expect("messages");
        ids.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_i64().expect("a number")));
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=15).collect::<Vec<_>>(), "{names:?}");
    let trail = archiver.must(&["audit", "list", "--action", "export-end", "--format", "jsonl"]);
    assert!(trail.contains("service:export") && trail.contains("\"schedule\":\"all\""), "{trail}");
    for name in &names {
        let path = series.join(name).display().to_string();
        let said = archiver.must(&["export", "--verify", &path]);
        assert!(said.contains("the audit trail has the same hash") && said.contains("5 messages"), "{said}");
    }
}

#[test]
fn a_turn_that_was_made_while_the_clock_was_ahead_does_not_count() {
    let directory = Directory::new(None);
    let series = directory.path().join("series");
    let (_node, mut archiver) = archiver(&format!("[[export]]\nname = 'all'\npath = '{}'\nat = '00:00'\n", series.display()));
    std::fs::create_dir_all(&series).expect("a series");
    std::fs::write(series.join(".last-turn"), "2999-01-01").expect("the day");
    archiver.start();
    let made = || std::fs::read_to_string(series.join(".last-turn")).ok().filter(|day| day != "2999-01-01");
    wait_for("the turn of today", made);
    archiver.stop();
    let logged = archiver.logged();
    assert_eq!(logged.matches("made while the clock was ahead, for 2999-01-01").count(), 1, "{logged}");
}

/// What was changed shows, and shows by the audit trail where the lists were made to fit.
#[test]
fn an_export_that_was_changed_does_not_pass() {
    let directory = Directory::new(None);
    let (mut node, mut archiver) = archiver("");
    archiver.start();
    node.accept();
    let lines: Vec<String> = (0..5).map(says).collect();
    node.mirror(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    archiver.wait_until_stored();
    archiver.stop();
    let out = directory.path().join("out");
    let path = out.display().to_string();
    let made = archiver.command(&["export", "--output-dir", &path, "--reason", "case 7"]);
    let told = String::from_utf8_lossy(&made.stderr).into_owned();
    let hash = told.split("SHA-256 of SHA256SUMS: ").nth(1).unwrap_or_else(|| panic!("{told}")).trim().to_owned();
    let verify = || {
        let output = archiver.command(&["export", "--verify", &path]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = verify();
    assert!(code == Some(0) && said.contains(&hash) && said.contains("the audit trail has the same hash"), "{said}");
    let trail = archiver.must(&["audit", "list", "--action", "export-end", "--format", "jsonl"]);
    assert!(trail.contains(&hash) && trail.contains("\"count\":5"), "{trail}");
    let begun = archiver.command(&["export", "--output-dir", &path]);
    assert_eq!(begun.status.code(), Some(2), "it is there already");
    let failed = archiver.must(&["audit", "list", "--action", "export-end", "--outcome", "failed", "--format", "jsonl"]);
    assert!(failed.contains(&path), "{failed}");
    std::fs::write(out.join("more"), "").expect("a file");
    assert_eq!(verify().0, Some(3));
    std::fs::remove_file(out.join("more")).expect("a file");
    // Somebody who knows how it is made takes a message out and makes all lists anew.
    let forge = "import hashlib, json, os, sys\n\
        os.chdir(sys.argv[1])\n\
        digest = lambda name: hashlib.sha256(open(name, 'rb').read()).hexdigest()\n\
        old = digest('messages.jsonl')\n\
        lines = open('messages.jsonl').readlines()\n\
        size = os.path.getsize('messages.jsonl')\n\
        open('messages.jsonl', 'w').writelines(lines[1:])\n\
        text = open('manifest.json').read().replace(old, digest('messages.jsonl'))\n\
        text = text.replace('\"bytes\":%d' % size, '\"bytes\":%d' % os.path.getsize('messages.jsonl'))\n\
        for key in ('query_finds', 'written', 'messages'): text = text.replace('\"%s\": 5' % key, '\"%s\": 4' % key)\n\
        open('manifest.json', 'w').write(text)\n\
        names = [line.rstrip('\\n').split('  ')[1] for line in open('SHA256SUMS')]\n\
        sums = ''.join('%s  %s\\n' % (digest(name), name) for name in names)\n\
        open('SHA256SUMS', 'w').write(sums)\n";
    let mut python = Command::new("python3");
    python.args(["-c", forge, &path]);
    run(python);
    let (code, said) = verify();
    assert_eq!((code, said.lines().count()), (Some(3), 3), "{said}");
    assert!(said.contains("the audit trail tells of no export with this hash") && said.contains("4 messages"), "{said}");
}

#[test]
fn a_journal_is_sent_by_mail_and_nothing_of_it_twice() {
    let directory = Directory::new(None);
    let (series, home) = (directory.path().join("series"), directory.path().join("mail"));
    std::fs::create_dir(&home).expect("a directory");
    std::fs::create_dir(&series).expect("a directory");
    let server = MailServer::start(&home);
    let (mut node, mut archiver) = archiver(&format!(
        "[[export]]\nname = 'journal'\npath = '{}'\nat = '00:00'\n[export.mail]\nserver = '127.0.0.1'\nport = {}\ntls = 'none'\n\
         from = 'archive@example.com'\nto = ['journal@example.com']\n",
        series.display(),
        server.port
    ));
    // Nothing is due before the messages are there.
    nothing_is_due(&series);
    archiver.start();
    node.accept();
    let lines: Vec<String> = (0..9).map(says).collect();
    node.mirror(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    archiver.wait_until_stored();
    archiver.stop();
    // The mail server takes the first of three mails, and no other.
    std::fs::write(home.join("refuse"), "1").expect("a file");
    next_day(&series);
    archiver.start();
    wait_for("the alarm", || archiver.status().filter(|status| status.to_string().contains("export-failed")));
    archiver.stop();
    assert_eq!(mailed(&home).len(), 3);
    std::fs::remove_file(home.join("refuse")).expect("a file");
    archiver.start();
    turn_is_over(&series);
    archiver.stop();
    assert_eq!(mailed(&home), (1..=9).collect::<Vec<_>>());
    let names = finished(&series);
    assert_eq!(names.len(), 1, "{names:?}");
    let left = finished(&series.join(&names[0]));
    assert_eq!(left, ["SHA256SUMS", "manifest.json"], "the account stays here");
    let said = archiver.must(&["export", "--verify", &series.join(&names[0]).display().to_string()]);
    assert!(said.contains("3 more were delivered elsewhere") && said.contains("the audit trail has the same hash"), "{said}");
    next_day(&series);
    archiver.start();
    turn_is_over(&series);
    archiver.stop();
    assert_eq!(mailed(&home).len(), 9);
}

#[test]
fn a_node_that_nobody_knows_is_told_at_the_start() {
    let directory = Directory::new(None);
    let series = directory.path().join("series");
    let (_node, mut archiver) = archiver(&format!("[[export]]\nname = 'all'\nquery = 'node=node,nod'\npath = '{}'\n", series.display()));
    archiver.start();
    wait_for("a warning", || archiver.logged().contains("its conditions name the node \"nod\"").then_some(()));
    archiver.stop();
    let logged = archiver.logged();
    assert_eq!(logged.matches("its conditions name the node").count(), 1, "{logged}");
}
