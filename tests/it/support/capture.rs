//! The captures in `tests/fixtures/captures`: what real servers mirrored, and what their clients did (see the README there).

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use xmpp_archiver::node::{Kind, Node};
use xmpp_archiver::time::Micros;

/// The scenarios, each with what mirrored it.
pub(crate) const FOLDERS: [(&str, &[&str]); 3] =
    [("ejabberd-servicelog", &SCENARIOS), ("prosody-fwforward", &SCENARIOS), ("s2s-ejabberd-servicelog", &["n1_s2s_chat"])];
const SCENARIOS: [&str; 14] = [
    "a_one_resource",
    "b1_fork3_nocarbons",
    "b2_fork3_carbons",
    "c_offline",
    "d_reply_full_thread",
    "e_muc_permanent",
    "f_muc_adhoc",
    "g_muc_pm",
    "i_no_body",
    "j_edit_retract_react",
    "k_errors",
    "l_unicode_big",
    "o_identical",
    "r_pep_iq_noise",
];

/// One scenario of one server.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) name: String,
    /// The component's domain.
    pub(crate) domain: String,
    /// The server's domain.
    pub(crate) host: String,
    /// The domain of its rooms.
    pub(crate) muc: String,
    /// Whether each receiving session has a copy of its own, as on ejabberd.
    pub(crate) is_forked: bool,
    pub(crate) lines: Vec<String>,
    /// When each line arrived.
    pub(crate) arrival: Vec<Micros>,
    /// What a person read, or what changed what a person read.
    pub(crate) said: Vec<Said>,
    pub(crate) errors: Vec<Failed>,
}

/// A message that somebody really sent.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) n: u64,
    pub(crate) sender: String,
    pub(crate) to: String,
    pub(crate) message_type: i16,
    pub(crate) id: Option<String>,
    pub(crate) origin_id: Option<String>,
    pub(crate) thread: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) xml: String,
    /// The lines that are copies of it.
    pub(crate) lines: Vec<usize>,
}

/// An error that was mirrored.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) to: String,
    pub(crate) id: Option<String>,
}

impl Capture {
    pub(crate) fn all() -> Vec<Capture> {
        let each = |(folder, scenarios): &(&str, &[&str])| scenarios.iter().map(|name| Capture::load(folder, name)).collect::<Vec<_>>();
        FOLDERS.iter().flat_map(each).collect()
    }

    pub(crate) fn load(folder: &str, scenario: &str) -> Capture {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures").join(folder).join(scenario);
        let xml = std::fs::read_to_string(file.with_extension("xml")).expect("a capture");
        let truth = std::fs::read_to_string(file.with_extension("json")).expect("its truth");
        let truth: Value = serde_json::from_str(&truth).expect("JSON");
        let lines: Vec<String> = xml.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let wrapper = lines.iter().find(|line| line.contains("<forwarded")).expect("a mirrored stanza");
        let host = attribute(wrapper, "from").expect("the server's domain");
        Capture {
            name: format!("{folder}/{scenario}"),
            domain: attribute(wrapper, "to").expect("the component's domain"),
            muc: format!("conference.{host}"),
            host,
            is_forked: folder != "prosody-fwforward",
            arrival: numbers(&truth["arrival"]).map(|seconds| (seconds * 1e6) as Micros).collect(),
            said: truth["messages"].as_array().expect("messages").iter().filter_map(|message| said(message, &truth["copies"])).collect(),
            errors: lines.iter().filter_map(|line| failed(line)).collect(),
            lines,
        }
    }

    /// What the archiver is told about the server.
    pub(crate) fn node(&self) -> Arc<Node> {
        Arc::new(Node {
            name: "node".to_owned(),
            domain: self.domain.clone(),
            hosts: [self.host.clone()].into(),
            muc: [self.muc.clone()].into(),
            kind: if self.is_forked { Kind::Ejabberd } else { Kind::Prosody },
            ..Node::default()
        })
    }
}

fn numbers(value: &Value) -> impl Iterator<Item = f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number"))
}

fn said(message: &Value, copies: &Value) -> Option<Said> {
    if message["human_content"] != true {
        return None;
    }
    let text = |name: &str| message[name].as_str().map(str::to_owned);
    let n = message["n"].as_u64()?;
    Some(Said {
        n,
        sender: text("sender")?,
        to: text("to")?,
        message_type: match message["type"].as_str() {
            Some("chat") => 1,
            Some("groupchat") => 2,
            Some("headline") => 3,
            _ => 0,
        },
        id: text("id"),
        origin_id: text("origin_id"),
        thread: text("thread"),
        subject: text("subject"),
        body: text("body"),
        xml: text("xml")?,
        lines: numbers(&copies[n.to_string()]).map(|line| line as usize).collect(),
    })
}

fn failed(line: &str) -> Option<Failed> {
    let stanza = line.split_once("<forwarded")?.1.split_once("<message ")?.1;
    let tag = stanza.split_once('>')?.0;
    let tag = format!(" {tag}");
    let is_error = attribute(&tag, "type").as_deref() == Some("error");
    is_error.then(|| Failed { to: attribute(&tag, "to").unwrap_or_default(), id: attribute(&tag, "id") })
}

/// The first attribute of this name, in either kind of quotes.
fn attribute(text: &str, name: &str) -> Option<String> {
    ["'", "\""].iter().find_map(|quote| {
        let value = text.split_once(&format!(" {name}={quote}"))?.1;
        Some(value.split_once(quote)?.0.to_owned())
    })
}
