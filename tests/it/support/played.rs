//! A node played by the program's own [`DemoNode`], for tests that say stanza by stanza what is mirrored.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::timeout;
use xmpp_archiver::demo::node::{DemoNode, Session};

use super::capture::Capture;
use super::process::PATIENCE;

const SECRET: &str = "s3cret";

/// A node that mirrors what a test tells it to.
#[derive(Debug)]
pub(crate) struct Played {
    runtime: Runtime,
    node: DemoNode,
    session: Option<Session>,
    section: String,
}

impl Played {
    /// A node as it was when a capture was made.
    pub(crate) fn of(capture: &Capture) -> Played {
        let kind = if capture.is_forked { "ejabberd" } else { "prosody" };
        Played::new("node", &capture.domain, &capture.host, &capture.muc, kind)
    }

    pub(crate) fn new(name: &str, domain: &str, host: &str, muc: &str, kind: &str) -> Played {
        let runtime = Runtime::new().expect("a runtime");
        let node = runtime.block_on(DemoNode::listen(domain, SECRET)).expect("a free port");
        let section = format!(
            "\n[[node]]\nname = '{name}'\naddress = '{}'\ndomain = '{domain}'\nsecret = '{SECRET}'\nhosts = ['{host}']\nmuc = ['{muc}']\n\
             store = 'main'\nkind = '{kind}'\n",
            node.address()
        );
        Played { runtime, node, session: None, section }
    }

    /// Its part of the archiver's configuration.
    pub(crate) fn section(&self) -> &str {
        &self.section
    }

    /// Takes the archiver's next connection; the one before is cut.
    pub(crate) fn accept(&mut self) {
        self.session = None;
        let node = &self.node;
        let attached = async {
            loop {
                if let Ok(session) = node.accept().await {
                    return session;
                }
            }
        };
        let session = self.runtime.block_on(async { timeout(PATIENCE, attached).await });
        self.session = Some(session.expect("the archiver attaches"));
    }

    /// Cuts the connection and takes no other.
    pub(crate) fn cut(&mut self) {
        self.session = None;
    }

    /// Mirrors these stanzas and waits until the archiver has read them.
    pub(crate) fn mirror<S: AsRef<str>>(&mut self, stanzas: &[S]) {
        let bytes: String = stanzas.iter().map(AsRef::as_ref).collect();
        let session = self.session.as_mut().expect("attached");
        let sent = async {
            session.send(bytes.as_bytes()).await.expect("the archiver reads");
            session.ping(PATIENCE).await.expect("the archiver answers");
        };
        self.runtime.block_on(sent);
    }

    /// Sends a stanza without waiting for anything.
    pub(crate) fn send(&self, stanza: &str) {
        let session = self.session.as_ref().expect("attached");
        self.runtime.block_on(session.send(stanza.as_bytes())).expect("the archiver reads");
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.node.address().port()
    }

    /// The archiver is to reach it by another port, such as a proxy's.
    pub(crate) fn behind(mut self, port: u16) -> Played {
        self.section = self.section.replacen(&self.node.address().to_string(), &format!("127.0.0.1:{port}"), 1);
        self
    }

    /// Further settings of its part of the configuration.
    pub(crate) fn with(mut self, settings: &str) -> Played {
        self.section.push_str(settings);
        self.section.push('\n');
        self
    }

    /// Its part of the configuration is a second entry for a node that is there already.
    pub(crate) fn be_further_feed_of(&mut self, name: &str) {
        self.section.push_str(&format!("same_as = '{name}'\n"));
    }

    /// Ends the connection, as a node does that crashes.
    pub(crate) fn hang_up(&mut self) {
        self.session = None;
    }

    /// The same as [`Played::send`]; false when the connection is gone.
    pub(crate) fn try_send(&self, stanzas: &str) -> bool {
        let Some(session) = &self.session else { return false };
        let sent = async { timeout(PATIENCE, session.send(stanzas.as_bytes())).await };
        self.runtime.block_on(sent).is_ok_and(|sent| sent.is_ok())
    }

    /// The next stanza from the archiver, `Some(None)` when the connection is over; none if nothing comes in this time.
    pub(crate) fn heard_or_closed(&mut self, patience: Duration) -> Option<Option<String>> {
        let Some(session) = &mut self.session else { return Some(None) };
        self.runtime.block_on(async { timeout(patience, session.recv()).await }).ok()
    }

    /// The next stanza from the archiver that is neither an answer to a ping nor a question; none if it does not come in this time.
    pub(crate) fn heard(&mut self, patience: Duration) -> Option<String> {
        let session = self.session.as_mut().expect("attached");
        let answer = async {
            loop {
                match session.recv().await {
                    Some(stanza) if stanza.starts_with("<iq type='get'") => {}
                    other => return other,
                }
            }
        };
        self.runtime.block_on(async { timeout(patience, answer).await }).ok().flatten()
    }
}
