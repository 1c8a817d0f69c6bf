//! An archive with a week of conversation and hostile messages in it, a console before it, and an account of each role.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use xmpp_archiver::access::{Access, NewAccount, NewToken, Role, Roles, Settings, Viewer};
use xmpp_archiver::alarm::Alarms;
use xmpp_archiver::config::Config;
use xmpp_archiver::demo::corpus::draft::Draft;
use xmpp_archiver::demo::corpus::stage::Stage;
use xmpp_archiver::demo::corpus::{COMPONENT, Corpus, HOST, Kind, ROOMS};
use xmpp_archiver::time::{SECOND, now};

use super::scopes;
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::played::Played;
use crate::support::process::PATIENCE;

pub(super) const PASSWORD: &str = "horse staple cable";
/// Whom the reviewer may read.
pub(super) const WITHIN: &str = "anna@lindqvist.example";
/// What must never stand in a page as it is.
pub(super) const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}</textarea></details>";
/// A gap that is open, and a record that the database refused.
const REFUSED: &str = "PRAGMA busy_timeout = 30000; \
     INSERT INTO gaps (id, node_id, from_at, to_at, reason, state, found, known, changed_at) VALUES (1, 1, 1795332535000000, NULL, 1, 1, 0, 0, 1795332535000000); \
     INSERT INTO quarantine (id, spool_id, seq, node_id, received_at, reason, record) VALUES \
     (1, zeroblob(16), 1, 1, 1795332535000000, 'too odd <script>alert(4)</script>', CAST('<message><body><script>alert(5)</script></body></message>' AS BLOB))";
/// A nick that would like to be more, as it stands in an attribute of a stanza: it turns the direction of writing as well.
const NICK: &str = "&lt;b onclick=alert(3)&gt;\u{202e}eve";
/// Right to left, with the marks that it needs.
pub(super) const HEBREW: &str = "שלום, מה שלומך? \u{200f}(טוב)\u{200f} https://evil.example/\u{202e}gpj.exe";

/// A console that runs, and what it shows.
pub(super) struct Site {
    pub(super) archiver: Archiver,
    pub(super) address: SocketAddr,
    pub(super) access: Access,
    pub(super) runtime: Runtime,
    /// Every message.
    pub(super) messages: Vec<Value>,
    stop: watch::Sender<bool>,
    served: Option<JoinHandle<()>>,
    _node: Played,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.as_str())
    }

    /// A cookie that it sets.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers.iter().filter(|(other, _)| other == "set-cookie").map(|(_, value)| value.as_str());
        cookies.filter_map(|cookie| cookie.split(';').next()?.split_once('=')).find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The token of the page's forms.
    pub(super) fn csrf(&self) -> String {
        self.field("csrf")
    }

    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> String {
        let begin = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&begin).unwrap_or_else(|| panic!("no field {name} in {}", self.body));
        rest.split('"').next().expect("a value").to_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Somebody at a browser.
#[derive(Clone, Debug, Default)]
pub(super) struct Visitor {
    pub(super) cookies: BTreeMap<String, String>,
}

impl Site {
    pub(super) fn new() -> Site {
        Self::with("")
    }

    /// With more in the settings of the console.
    pub(super) fn with(more: &str) -> Site {
        let mut node = Played::new("node", COMPONENT, HOST, ROOMS, "ejabberd");
        let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
        let key = archiver.spool().with_file_name("access.key");
        let exports = archiver.spool().with_file_name("exports");
        let web = format!("\n[web]\nlisten = '127.0.0.1:0'\nkey_file = '{}'\nexports = '{}'\n{more}", key.display(), exports.display());
        archiver.set_settings(&format!("{}{web}", archiver.settings()));
        archiver.must(&["migrate", "up"]);
        archiver.start();
        node.accept();
        let corpus = Corpus::new(now() - 3_600 * SECOND, SECOND / 10);
        node.mirror(&corpus.lines().iter().map(|line| line.xml.as_str()).collect::<Vec<_>>());
        node.mirror(&hostile());
        archiver.wait_until_stored();
        archiver.store.query(REFUSED);
        let messages = archiver.search();
        let runtime = Runtime::new().expect("a runtime");
        let config = Config::load(Some(&archiver.spool().with_file_name("archiver.toml"))).expect("a configuration");
        let access = Access::open(Settings::from_config(&config, Alarms::default()).expect("settings")).expect("access");
        runtime.block_on(people(&access, &messages));
        let (stop, stopped) = watch::channel(false);
        let (ready, open) = oneshot::channel();
        let served = runtime.spawn(async move {
            let told = |address| {
                let _nobody_waits = ready.send(address);
            };
            xmpp_archiver::web::serve(&config, stopped, told).await.expect("it serves until it is told to stop");
        });
        let address = runtime.block_on(async { tokio::time::timeout(PATIENCE, open).await }).expect("in time").expect("an address");
        Site { archiver, address, access, runtime, messages, stop, served: Some(served), _node: node }
    }

    /// The first message that somebody took part in, or did not, and which is in a room or not.
    pub(super) fn message(&self, with: bool, in_room: bool) -> &Value {
        let fits = |message: &&Value| is_within(message) == with && message["room"].is_string() == in_room && message["kind"] == "message";
        self.messages.iter().find(fits).expect("such a message")
    }

    pub(super) fn get(&self, path: &str, visitor: &Visitor) -> Answer {
        self.ask("GET", path, &visitor.headers(), "")
    }

    pub(super) fn post(&self, path: &str, visitor: &Visitor, fields: &[(&str, &str)]) -> Answer {
        let headers = visitor.headers() + &format!("Origin: http://{}\r\n", self.address);
        self.ask("POST", path, &headers, &form(fields))
    }

    pub(super) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut socket = TcpStream::connect(self.address).expect("the console");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}",
            self.address
        );
        // A server that refuses a large body closes before all of it is written.
        let _cut_off = socket.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let _cut_off = socket.read_to_end(&mut bytes);
        parse(&bytes)
    }

    /// Signs in by the form.
    pub(super) fn sign_in(&self, name: &str) -> Visitor {
        let page = self.get("/sign-in", &Visitor::default());
        let mut visitor = Visitor::default();
        visitor.keep(&page, "form");
        let token = page.csrf();
        let answer = self.post("/sign-in", &visitor, &[("csrf", &token), ("name", name), ("password", PASSWORD), ("next", "")]);
        assert_eq!(answer.status, 303, "{name}: {}", answer.body);
        visitor.keep(&answer, "session");
        visitor.cookies.remove("form");
        visitor
    }

    /// A token of an account.
    pub(super) fn token(&self, account: &str, token: NewToken) -> String {
        let token = NewToken { name: "test".to_owned(), ..token };
        let made = self.runtime.block_on(self.access.add_token(&Viewer::console("tester"), account, token));
        made.expect("a token").1.expose_secret().to_owned()
    }

    pub(super) fn call(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", &format!("/api/v1{path}"), &format!("Authorization: Bearer {token}\r\n"), "")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _gone_already = self.stop.send(true);
        if let Some(served) = self.served.take() {
            let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, served).await });
            assert!(std::thread::panicking() || matches!(ended, Ok(Ok(()))), "the console did not end: {ended:?}");
        }
    }
}

impl Visitor {
    pub(super) fn keep(&mut self, answer: &Answer, name: &str) {
        let value = answer.cookie(name).unwrap_or_else(|| panic!("no cookie {name} in {:?}", answer.headers));
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    fn headers(&self) -> String {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { String::new() } else { format!("Cookie: {}\r\n", cookies.join("; ")) }
    }
}

/// Whether the reviewer may see a message, by what the command line says of it.
pub(super) fn is_within(message: &Value) -> bool {
    scopes::holds(&scopes::scope("reviewer", &[]), message)
}

pub(super) fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect::<Vec<_>>().join("&")
}

/// A text as it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let headers: Vec<(String, String)> = headers;
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked { whole(bytes.get(head.len() + 4..).unwrap_or_default()) } else { body.to_owned() };
    Answer { status, headers, body }
}

/// A body that came in chunks (RFC 9112 section 7.1).
fn whole(mut rest: &[u8]) -> String {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the size of a chunk");
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok()).expect("a size");
        if size == 0 {
            return String::from_utf8_lossy(&body).into_owned();
        }
        body.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

/// An account of each role, and a reviewer with a scope of each sort.
async fn people(access: &Access, messages: &[Value]) {
    let console = Viewer::console("tester");
    let member = [scopes::MEMBER.to_owned()].into();
    access.set_group(&console, scopes::GROUP, member, None).await.expect("a group");
    let of_role = Role::ALL.into_iter().map(|role| (role.word(), role));
    for (name, role) in of_role.chain(scopes::REVIEWERS.into_iter().skip(1).map(|name| (name, Role::Reviewer))) {
        let account = NewAccount {
            name: name.to_owned(),
            display_name: if role == Role::Officer { SCRIPT.to_owned() } else { String::new() },
            roles: Roles::of([role]),
            scope: (role == Role::Reviewer).then(|| scopes::scope(name, messages)),
            password: Some(SecretString::from(PASSWORD.to_owned())),
            ..NewAccount::default()
        };
        access.add_account(&console, account, None).await.expect("an account");
    }
}

/// What somebody writes who would like to do more than to be read.
fn hostile() -> Vec<String> {
    let mut stage = Stage::new(now() - 900 * SECOND, SECOND / 10);
    // The ids of a play come from a counter: these are used up, so that none is one of the week's.
    for _ in 0..400 {
        stage.says("zoe/x", "yan", "nothing");
    }
    stage.arrives("anna/desk", true);
    stage.arrives("eve/x", true);
    stage.sends("eve/x", "anna", &Draft::text(SCRIPT).subject(SCRIPT));
    stage.sends("eve/x", "anna", &Draft::text(HEBREW));
    stage.sends("eve/x", "anna", &Draft::text(&"needle 200 KB ".repeat(14_000)));
    stage.sends("eve/x", "anna", &Draft::text("\u{1f600} 你好世界 \u{202e}txet \u{2066}isolate\u{2069} a\tb\nc"));
    stage.joins("anna/desk", "salon", "Anna");
    stage.joins("eve/x", "salon", NICK);
    stage.says_in("eve/x", "salon", SCRIPT);
    elsewhere_than_in_words(&mut stage);
    // A room of which Anna knows nothing.
    stage.arrives("ben/bench", true);
    stage.joins("eve/x", "attic", "Eve");
    stage.joins("ben/bench", "attic", "Ben");
    stage.says_in("ben/bench", "attic", "The ladder is behind the chimney");
    let (lines, _) = stage.finish();
    lines.into_iter().map(|line| line.xml).filter(|xml| !xml.contains("zoe@")).collect()
}

/// The same in names and addresses of files, reactions, what is taken back, invitations, and the name of a room.
fn elsewhere_than_in_words(stage: &mut Stage) {
    let plain = SCRIPT.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;").replace('"', "&quot;");
    let said = stage.says("eve/x", "anna", "What comes now has a name alert(1)");
    let oob = format!("<x xmlns='jabber:x:oob'><url>https://evil.example/{plain}</url><desc>{plain}</desc></x>");
    stage.sends("eve/x", "anna", &Draft::text("https://evil.example/").with(&oob).kind(Kind::File));
    let shared = format!(
        "<file-sharing xmlns='urn:xmpp:sfs:0'><file xmlns='urn:xmpp:file:metadata:0'><name>{plain}</name><size>5</size></file><sources>\
         <url-data xmlns='http://jabber.org/protocol/url-data' target='https://evil.example/{plain}'/></sources></file-sharing>"
    );
    stage.sends("eve/x", "anna", &Draft::text("a file").with(&shared).kind(Kind::File));
    let reactions = format!("<reactions xmlns='urn:xmpp:reactions:0' id='{}'><reaction>{plain}</reaction></reactions>", said.id);
    stage.sends("eve/x", "anna", &Draft::element(Kind::Reaction, reactions));
    let retract = format!("<retract xmlns='urn:xmpp:message-retract:1' id='{}'><reason>{plain}</reason></retract>", said.id);
    stage.sends("eve/x", "anna", &Draft::text(SCRIPT).with(&retract).kind(Kind::Retraction));
    stage.invites("eve/x", "salon", "anna", &plain, &plain);
    // XEP-0106 writes characters so that no JID may have; pages write them as people mean them.
    let room = r"\3cscript\3ealert(1)\3c\2fscript\3e";
    stage.joins("eve/x", room, "Eve");
    stage.says_in("eve/x", room, "In a room with a name alert(1)");
}
