//! The server's side of the component port (XEP-0114), on loopback.
//!
//! A [`DemoNode`] listens on a free port of 127.0.0.1 and knows one component domain and its secret. [`DemoNode::accept`]
//! takes the next connection through the handshake and refuses what a real node refuses, with the stream error that RFC 6120
//! section 4.9.3 names: an unknown domain, a wrong digest, a second connection for a domain that is attached.
//! A [`Session`] then sends whatever bytes it is told to, so that a test can play a node that misbehaves, and hands out the
//! stanzas that the component sends. It answers pings (XEP-0199) by itself, even while a long send is under way.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quick_xml::events::{BytesStart, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use xmpp_parsers::component::Handshake;

use super::frame::{self, Frame};

/// How long a connection may take from its first byte to its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest stanza that the node takes from a component.
const STANZA_BYTES_MAX: usize = 1024 * 1024;

/// Stanzas of the component that wait for [`Session::recv`]; when they are more, the node stops reading until some are taken.
const INBOX_STANZAS_MAX: usize = 1024;

/// The default namespace of the stream (XEP-0114 section 4).
const NS_ACCEPT: &str = "jabber:component:accept";

/// The namespace of RFC 6120's stream element.
const NS_STREAM: &str = "http://etherx.jabber.org/streams";

/// Why a connection did not become, or did not remain, a session.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The component closed the connection.
    #[error("the component closed the connection")]
    Closed,
    /// The component was refused with this stream error condition.
    #[error("the component was refused: {0}")]
    Refused(&'static str),
    /// No answer came in time.
    #[error("the component did not answer in {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// A listener that plays one node's component port.
#[derive(Debug)]
pub struct DemoNode {
    listener: TcpListener,
    address: SocketAddr,
    domain: String,
    secret: String,
    attached: Arc<AtomicBool>,
}

impl DemoNode {
    /// Listens on a free port of 127.0.0.1 for the component of that domain.
    pub async fn listen(domain: &str, secret: &str) -> io::Result<Self> {
        Self::listen_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), domain, secret).await
    }

    /// Listens on this address, which a test needs when a node goes away and comes back on its port.
    pub async fn listen_on(address: SocketAddr, domain: &str, secret: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let attached = Arc::new(AtomicBool::new(false));
        Ok(Self { listener, address, domain: domain.to_owned(), secret: secret.to_owned(), attached })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The component's domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Takes the next connection through the handshake.
    ///
    /// # Errors
    /// When that connection failed or was refused. The node goes on listening: call it again.
    pub async fn accept(&self) -> Result<Session, NodeError> {
        let (socket, _) = self.listener.accept().await?;
        socket.set_nodelay(true)?;
        let mut wire = Wire::new(socket);
        let greeted = match timeout(HANDSHAKE_TIMEOUT, self.greet(&mut wire)).await {
            Ok(greeted) => greeted,
            Err(_elapsed) => Err(Refusal::Condition("connection-timeout")),
        };
        match greeted {
            Ok(claim) => Ok(Session::open(wire, claim, &self.domain)),
            Err(Refusal::Condition(condition)) => Err(wire.refuse(condition).await),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    /// The opening of the stream and the handshake (XEP-0114 section 3, examples 1 to 3).
    async fn greet(&self, wire: &mut Wire) -> Result<Claim, Refusal> {
        let header = wire.header().await?;
        let stream_id = random_id();
        wire.open(&self.domain, &stream_id).await?;
        self.check_header(&header)?;
        let handshake = wire.stanza().await?;
        let digest = handshake_digest(&handshake).ok_or(Refusal::Condition("not-authorized"))?;
        if Some(digest) != expected_digest(stream_id, &self.secret) {
            return Err(Refusal::Condition("not-authorized"));
        }
        let claim = Claim::take(&self.attached).ok_or(Refusal::Condition("conflict"))?;
        wire.write.lock().await.write_all(b"<handshake/>").await?;
        Ok(claim)
    }

    /// RFC 6120 sections 4.8 and 4.9.3.6: the namespaces of the stream, and the domain it is for.
    fn check_header(&self, header: &str) -> Result<(), Refusal> {
        let tag = first_tag(header).ok_or(Refusal::Condition("bad-format"))?;
        let right = tag.local_name().as_ref() == "stream"
            && attribute(&tag, "xmlns").as_deref() == Some(NS_ACCEPT)
            && attribute(&tag, "xmlns:stream").as_deref() == Some(NS_STREAM);
        if !right {
            return Err(Refusal::Condition("invalid-namespace"));
        }
        match attribute(&tag, "to") {
            Some(to) if to == self.domain => Ok(()),
            _ => Err(Refusal::Condition("host-unknown")),
        }
    }
}

/// How a handshake can fail: with a stream error that is still to be sent, or for good.
enum Refusal {
    Condition(&'static str),
    Error(NodeError),
}

impl From<NodeError> for Refusal {
    fn from(error: NodeError) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Error(error.into())
    }
}

/// The right to be the only session of the domain, given back when the session ends.
#[derive(Debug)]
struct Claim(Arc<AtomicBool>);

impl Claim {
    fn take(attached: &Arc<AtomicBool>) -> Option<Self> {
        let was_attached = attached.swap(true, Ordering::AcqRel);
        (!was_attached).then(|| Self(Arc::clone(attached)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// An attached component.
///
/// Dropping it cuts the connection as a crashed node would; [`Session::close`] ends it in order.
#[derive(Debug)]
pub struct Session {
    write: Arc<Mutex<OwnedWriteHalf>>,
    inbox: mpsc::Receiver<String>,
    set_aside: VecDeque<String>,
    reader: JoinHandle<()>,
    domain: String,
    next_iq: AtomicU64,
}

impl Session {
    fn open(wire: Wire, claim: Claim, domain: &str) -> Self {
        let write = Arc::clone(&wire.write);
        let (letters, inbox) = mpsc::channel(INBOX_STANZAS_MAX);
        let reader = tokio::spawn(read_stanzas(wire, claim, letters, domain.to_owned()));
        Self { write, inbox, set_aside: VecDeque::new(), reader, domain: domain.to_owned(), next_iq: AtomicU64::new(1) }
    }

    /// Sends bytes as they are: any number of complete stanzas. Waits as long as the component does not read.
    pub async fn send(&self, stanzas: &[u8]) -> io::Result<()> {
        self.write.lock().await.write_all(stanzas).await
    }

    /// The next stanza that the component sends, or `None` when the stream is over. Pings are answered and not seen here.
    pub async fn recv(&mut self) -> Option<String> {
        match self.set_aside.pop_front() {
            Some(stanza) => Some(stanza),
            None => self.inbox.recv().await,
        }
    }

    /// Asks the component: sends an iq of type `get` with this payload and waits for its result or error.
    /// What else arrives meanwhile stays for [`Session::recv`].
    ///
    /// # Errors
    /// When the stream ends, or the answer takes longer than `patience`.
    pub async fn ask(&mut self, payload: &str, patience: Duration) -> Result<String, NodeError> {
        let id = format!("ask-{}", self.next_iq.fetch_add(1, Ordering::Relaxed));
        let (domain, server) = (&self.domain, server_of(&self.domain));
        let iq = format!("<iq to='{domain}' from='{server}' type='get' id='{id}'>{payload}</iq>");
        self.send(iq.as_bytes()).await?;
        timeout(patience, self.answer(&id)).await.unwrap_or(Err(NodeError::TimedOut(patience)))
    }

    /// Asks what the component is (XEP-0030).
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn disco_info(&mut self, patience: Duration) -> Result<String, NodeError> {
        self.ask("<query xmlns='http://jabber.org/protocol/disco#info'/>", patience).await
    }

    /// Pings the component (XEP-0199). As a stream is read in order, the answer says that all sent before it has been read.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn ping(&mut self, patience: Duration) -> Result<(), NodeError> {
        self.ask("<ping xmlns='urn:xmpp:ping'/>", patience).await.map(|_answer| ())
    }

    /// Ends the stream in order (RFC 6120 section 4.4).
    pub async fn close(self) -> io::Result<()> {
        let mut write = self.write.lock().await;
        write.write_all(b"</stream:stream>").await?;
        write.shutdown().await
    }

    /// Ends the stream with a stream error, as a node does that shuts down (`system-shutdown`) or objects.
    pub async fn fail(self, condition: &str) -> io::Result<()> {
        let mut write = self.write.lock().await;
        write.write_all(stream_error(condition).as_bytes()).await?;
        write.shutdown().await
    }

    async fn answer(&mut self, id: &str) -> Result<String, NodeError> {
        loop {
            let stanza = self.inbox.recv().await.ok_or(NodeError::Closed)?;
            if is_answer(&stanza, id) {
                return Ok(stanza);
            }
            // Whoever only asks and never listens must not pile up stanzas without end: the oldest go first.
            if self.set_aside.len() >= INBOX_STANZAS_MAX {
                self.set_aside.pop_front();
            }
            self.set_aside.push_back(stanza);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Reads until the stream ends; answers pings, enforces the sender's domain, hands on the rest.
async fn read_stanzas(mut wire: Wire, claim: Claim, letters: mpsc::Sender<String>, domain: String) {
    while let Ok(stanza) = wire.stanza().await {
        let Some(tag) = first_tag(&stanza) else { break };
        // A node closes the stream on a sender that is not the component's own (`invalid-from`, RFC 6120 section 4.9.3.9).
        if !attribute(&tag, "from").is_none_or(|from| is_of_domain(&from, &domain)) {
            wire.refuse("invalid-from").await;
            break;
        }
        if let Some(pong) = pong(&tag, &stanza) {
            if wire.write.lock().await.write_all(pong.as_bytes()).await.is_err() {
                break;
            }
        } else if letters.send(stanza).await.is_err() {
            break;
        }
    }
    // Whoever ends the stream waits for the other side to end it too (RFC 6120 section 4.4); that the socket may be gone changes nothing.
    let mut write = wire.write.lock().await;
    if write.write_all(b"</stream:stream>").await.is_ok() {
        let _ = write.shutdown().await;
    }
    drop(write);
    drop(claim);
}

/// One connection, the bytes read ahead of it included.
struct Wire {
    read: OwnedReadHalf,
    write: Arc<Mutex<OwnedWriteHalf>>,
    buffer: Vec<u8>,
}

impl Wire {
    fn new(socket: TcpStream) -> Self {
        let (read, write) = socket.into_split();
        Self { read, write: Arc::new(Mutex::new(write)), buffer: Vec::new() }
    }

    async fn header(&mut self) -> Result<String, NodeError> {
        self.piece(frame::header).await
    }

    async fn stanza(&mut self) -> Result<String, NodeError> {
        self.piece(frame::stanza).await
    }

    /// Reads until `cut` finds a whole piece.
    async fn piece(&mut self, cut: fn(&[u8]) -> Frame) -> Result<String, NodeError> {
        loop {
            match cut(&self.buffer) {
                Frame::Complete(bytes) => {
                    let piece: Vec<u8> = self.buffer.drain(..bytes).collect();
                    return String::from_utf8(piece).or(Err(NodeError::Refused("bad-format")));
                }
                Frame::End(_) => return Err(NodeError::Closed),
                Frame::Malformed => return Err(self.refuse("not-well-formed").await),
                Frame::More if self.buffer.len() >= STANZA_BYTES_MAX => {
                    return Err(self.refuse("policy-violation").await);
                }
                Frame::More => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<(), NodeError> {
        match self.read.read_buf(&mut self.buffer).await? {
            0 => Err(NodeError::Closed),
            _ => Ok(()),
        }
    }

    /// Answers the stream's header (XEP-0114 example 2).
    async fn open(&mut self, domain: &str, stream_id: &str) -> io::Result<()> {
        let header =
            format!("<?xml version='1.0'?><stream:stream xmlns:stream='{NS_STREAM}' xmlns='{NS_ACCEPT}' from='{domain}' id='{stream_id}'>");
        self.write.lock().await.write_all(header.as_bytes()).await
    }

    /// Sends a stream error and closes. That the peer may be gone already changes nothing.
    async fn refuse(&mut self, condition: &'static str) -> NodeError {
        let mut write = self.write.lock().await;
        if write.write_all(stream_error(condition).as_bytes()).await.is_ok() {
            let _ = write.shutdown().await;
        }
        NodeError::Refused(condition)
    }
}

fn stream_error(condition: &str) -> String {
    format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
}

/// The answer to a ping, if this is one (XEP-0199).
fn pong(tag: &BytesStart<'_>, stanza: &str) -> Option<String> {
    let is_get = tag.local_name().as_ref() == "iq" && attribute(tag, "type").as_deref() == Some("get");
    if !is_get || !stanza.contains("urn:xmpp:ping") {
        return None;
    }
    let swapped = [("to", "from"), ("from", "to"), ("id", "id")];
    let attributes: String = swapped
        .iter()
        .filter_map(|(name, source)| Some(format!(" {name}='{}'", quick_xml::escape::escape(attribute(tag, source)?))))
        .collect();
    Some(format!("<iq type='result'{attributes}/>"))
}

fn is_answer(stanza: &str, id: &str) -> bool {
    first_tag(stanza).is_some_and(|tag| {
        let kind = attribute(&tag, "type");
        tag.local_name().as_ref() == "iq"
            && attribute(&tag, "id").as_deref() == Some(id)
            && matches!(kind.as_deref(), Some("result" | "error"))
    })
}

/// The digest that a handshake element carries.
fn handshake_digest(stanza: &str) -> Option<[u8; 20]> {
    // A piece of the stream has no namespace of its own: it is the stream's.
    let inner = stanza.trim().strip_prefix("<handshake")?;
    let element = format!("<handshake xmlns='{NS_ACCEPT}'{}", inner.replacen(&format!(" xmlns='{NS_ACCEPT}'"), "", 1));
    let element: minidom::Element = element.parse().ok()?;
    Handshake::try_from(element).ok()?.data
}

fn expected_digest(stream_id: String, secret: &str) -> Option<[u8; 20]> {
    Handshake::from_stream_id_and_password(stream_id, secret).data
}

/// The first opening tag of a piece of the stream.
fn first_tag(text: &str) -> Option<BytesStart<'static>> {
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) | Event::Empty(tag) => return Some(tag.into_owned()),
            Event::Eof => return None,
            _ => {}
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    Some(quick_xml::escape::unescape(&attribute.value).ok()?.into_owned())
}

/// The server that a component domain belongs to: what stands after its first dot.
fn server_of(domain: &str) -> &str {
    domain.split_once('.').map_or(domain, |(_, server)| server)
}

fn is_of_domain(jid: &str, domain: &str) -> bool {
    let bare = jid.split('/').next().unwrap_or(jid);
    bare.rsplit('@').next() == Some(domain)
}

/// A stream id that nobody can foretell: the keys of the standard library's hasher come from the system's randomness.
fn random_id() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "archive.test.example";
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A component of a few lines.
    struct Component {
        wire: Wire,
        stream_id: String,
    }

    impl Component {
        async fn connect(node: &DemoNode, to: &str) -> Self {
            let mut wire = Wire::new(TcpStream::connect(node.address()).await.unwrap());
            let header = format!("<?xml version='1.0'?><stream:stream xmlns:stream='{NS_STREAM}' xmlns='{NS_ACCEPT}' to='{to}'>");
            wire.write.lock().await.write_all(header.as_bytes()).await.unwrap();
            let answer = wire.header().await.unwrap();
            let stream_id = attribute(&first_tag(&answer).unwrap(), "id").unwrap();
            Self { wire, stream_id }
        }

        async fn shake(&mut self, secret: &str) -> String {
            let digest = expected_digest(self.stream_id.clone(), secret).unwrap();
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            self.say(&format!("<handshake>{hex}</handshake>")).await;
            self.wire.stanza().await.unwrap()
        }

        async fn say(&self, text: &str) {
            self.wire.write.lock().await.write_all(text.as_bytes()).await.unwrap();
        }
    }

    async fn attach(node: &DemoNode) -> (Session, Component) {
        let component = async {
            let mut component = Component::connect(node, DOMAIN).await;
            assert_eq!(component.shake("s3cret").await, "<handshake/>");
            component
        };
        let (session, component) = tokio::join!(node.accept(), component);
        (session.unwrap(), component)
    }

    async fn node() -> DemoNode {
        DemoNode::listen(DOMAIN, "s3cret").await.unwrap()
    }

    #[tokio::test]
    async fn the_right_secret_opens_a_session_that_carries_stanzas_both_ways() {
        let node = node().await;
        let (mut session, mut component) = attach(&node).await;
        session.send(b"<message id='1'/><message id='2'/>").await.unwrap();
        assert_eq!(component.wire.stanza().await.unwrap(), "<message id='1'/>");
        assert_eq!(component.wire.stanza().await.unwrap(), "<message id='2'/>");
        component.say(&format!("<iq from='{DOMAIN}' id='x' type='result'/>")).await;
        assert_eq!(session.recv().await.unwrap(), format!("<iq from='{DOMAIN}' id='x' type='result'/>"));
        session.close().await.unwrap();
        assert!(matches!(component.wire.stanza().await, Err(NodeError::Closed)));
    }

    #[tokio::test]
    async fn a_wrong_secret_is_not_authorized() {
        let node = node().await;
        let component = async {
            let mut component = Component::connect(&node, DOMAIN).await;
            component.shake("guess").await
        };
        let (session, answer) = tokio::join!(node.accept(), component);
        assert!(matches!(session, Err(NodeError::Refused("not-authorized"))));
        assert!(answer.contains("<not-authorized "), "{answer}");
    }

    #[tokio::test]
    async fn an_unknown_domain_is_refused() {
        let node = node().await;
        let component = async {
            let mut component = Component::connect(&node, "other.example").await;
            component.wire.stanza().await.unwrap()
        };
        let (session, answer) = tokio::join!(node.accept(), component);
        assert!(matches!(session, Err(NodeError::Refused("host-unknown"))));
        assert!(answer.contains("<host-unknown "), "{answer}");
    }

    #[tokio::test]
    async fn a_second_connection_is_a_conflict_until_the_first_is_gone() {
        let node = node().await;
        let (session, _first) = attach(&node).await;
        let second = async {
            let mut component = Component::connect(&node, DOMAIN).await;
            component.shake("s3cret").await
        };
        let (refused, answer) = tokio::join!(node.accept(), second);
        assert!(matches!(refused, Err(NodeError::Refused("conflict"))));
        assert!(answer.contains("<conflict "), "{answer}");
        drop(session);
        // The claim goes with the reader's task, which the runtime ends in its own time.
        let free = async {
            while node.attached.load(Ordering::Acquire) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, free).await.unwrap();
        attach(&node).await;
    }

    #[tokio::test]
    async fn pings_are_answered_without_anybody_listening() {
        let node = node().await;
        let (_session, mut component) = attach(&node).await;
        component.say(&format!("<iq type='get' id='p&amp;1' to='test.example' from='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>")).await;
        let pong = component.wire.stanza().await.unwrap();
        assert_eq!(pong, format!("<iq type='result' to='{DOMAIN}' from='test.example' id='p&amp;1'/>"));
    }

    #[tokio::test]
    async fn asking_returns_the_answer_and_keeps_the_rest() {
        let node = node().await;
        let (mut session, mut component) = attach(&node).await;
        let answering = async {
            let asked = component.wire.stanza().await.unwrap();
            assert!(asked.contains("disco#info"), "{asked}");
            component.say("<message id='between'/><iq type='result' id='ask-1'/>").await;
        };
        let (answer, ()) = tokio::join!(session.disco_info(PATIENCE), answering);
        assert_eq!(answer.unwrap(), "<iq type='result' id='ask-1'/>");
        assert_eq!(session.recv().await.unwrap(), "<message id='between'/>");
    }

    #[tokio::test]
    async fn a_foreign_sender_ends_the_stream() {
        let node = node().await;
        let (mut session, mut component) = attach(&node).await;
        component.say("<message from='mallory@elsewhere.example'/>").await;
        assert!(component.wire.stanza().await.unwrap().contains("<invalid-from "));
        assert_eq!(session.recv().await, None);
    }
}
