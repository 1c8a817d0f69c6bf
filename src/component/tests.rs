//! Whole sessions, against a scripted node.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::fake_node::{Archiver, DEADLINE, FakeNode, STREAM_ID, Talk, settings, until};
use super::status::{Mirror, State};
use super::*;

const PING: &str = "<iq type='get' id='p1' from='example' to='archive.example'><ping xmlns='urn:xmpp:ping'/></iq>";

async fn online(change: impl FnOnce(&mut Settings)) -> (FakeNode, Talk<tokio::net::TcpStream>, Archiver) {
    let node = FakeNode::start().await;
    let mut settings = settings(&node);
    change(&mut settings);
    let archiver = Archiver::start(settings);
    let talk = node.welcome().await;
    (node, talk, archiver)
}

/// What a probe says when the node does what the script says.
async fn probed<F: Future<Output = ()>>(script: impl FnOnce(Talk<tokio::net::TcpStream>) -> F) -> SessionError {
    let node = FakeNode::start().await;
    let settings = settings(&node);
    let (result, ()) = tokio::join!(probe(&settings), async { script(node.accept().await).await });
    result.unwrap_err()
}

#[tokio::test]
async fn a_session_takes_stanzas_verbatim() {
    let (_node, mut talk, archiver) = online(|_| {}).await;
    let stanzas = [
        "<message to='archive.example' from='example' id='1'><body>a &lt; b</body></message>",
        "<presence from=\"u@example\"/>",
        "<message><un:bound xmlns='jabber:client' x:y=''>not namespace-well-formed</un:bound></message>",
        "<message><body>\u{1f600}<!-- c --><![CDATA[<]]></body></wrong-end>",
        "<iq type='nonsense' id='1'/>",
    ];
    talk.say(&stanzas.concat()).await;
    assert_eq!(archiver.intake.taken(stanzas.len()).await, stanzas);
    assert!(matches!(archiver.status.state(), State::Online { .. }));
    assert_eq!(archiver.status.counters().stanzas.get(), 5);
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn a_stanza_in_many_pieces_is_one_stanza() {
    let (_node, mut talk, archiver) = online(|_| {}).await;
    let stanza = "<message from='example'><body>\u{e9}\u{1f600} &amp; 'quoted'</body></message>";
    let (mut piece, mut rest) = ("", stanza);
    while !rest.is_empty() {
        (piece, rest) = rest.split_at(rest.chars().next().unwrap().len_utf8());
        talk.say(piece).await;
        tokio::task::yield_now().await;
    }
    assert!(!piece.is_empty());
    assert_eq!(archiver.intake.taken(1).await, [stanza]);
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_said_clearly_and_not_asked_again_soon() {
    let node = FakeNode::start().await;
    let mut settings = settings(&node);
    settings.secret = "wrong".into();
    let archiver = Archiver::start(settings);
    let mut talk = node.accept().await;
    assert!(!talk.open().await, "the digest of a wrong secret is right");
    talk.say("<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>").await;
    let (error, advice) = archiver.down().await;
    assert!(matches!(error, SessionError::SecretRefused(_)), "{error:?}");
    assert!(advice.contains("compare `secret` of [[node]] one"), "{advice}");
    assert!(!advice.contains("wrong"), "the secret is in {advice}");
    let State::Down { since, next_attempt, .. } = archiver.status.state() else { panic!() };
    assert!(next_attempt - since >= 5_000_000);
    assert_eq!(archiver.intake.connected.load(Ordering::Relaxed), 0);
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn what_keeps_a_session_from_opening_is_told_apart() {
    let error = |inner: &str| format!("<stream:error><{inner} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    let after_proof = |answer: String| {
        probed(async move |mut talk| {
            talk.open().await;
            talk.say(&answer).await;
        })
    };
    assert_eq!(after_proof(error("conflict")).await, SessionError::Conflict);
    assert_eq!(after_proof(error("host-unknown")).await, SessionError::HostUnknown);
    assert!(matches!(after_proof(error("not-authorized")).await, SessionError::SecretRefused(_)));
    assert!(matches!(after_proof(String::new()).await, SessionError::SecretRefused(_)));
    assert_eq!(after_proof(error("system-shutdown")).await.word(), "stream-error");
    let http = probed(async |mut talk| talk.say("HTTP/1.1 400 Bad Request\r\n\r\n").await).await;
    assert_eq!(http.word(), "not-a-component-port");
    let mute = probed(async |talk| drop(talk)).await;
    assert_eq!(mute.word(), "not-a-component-port");
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() {
    let node = FakeNode::start().await;
    let settings = settings(&node);
    drop(node);
    assert_eq!(probe(&settings).await.unwrap_err().word(), "unreachable");
    let settings = Settings { address: "no-port".to_owned(), ..settings };
    assert_eq!(probe(&settings).await.unwrap_err().word(), "unreachable");
}

#[tokio::test]
async fn a_node_that_accepts_and_says_nothing_is_given_up() {
    let node = FakeNode::start().await;
    let settings = Settings { connect_timeout: Duration::from_millis(50), ..settings(&node) };
    let (result, _talk) = tokio::join!(probe(&settings), node.accept());
    assert_eq!(result.unwrap_err().word(), "not-a-component-port");
}

#[tokio::test]
async fn a_probe_of_a_good_node_succeeds_and_closes_the_stream() {
    let node = FakeNode::start().await;
    let settings = settings(&node);
    let script = async {
        let mut talk = node.welcome().await;
        talk.hear("<status xmlns='urn:xmpp-archiver:mirror:0'/></iq>").await;
        talk.say("<iq type='error' id='module-1' from='example' to='archive.example'><error/></iq>").await;
        talk.hear_out().await
    };
    let (result, last_words) = tokio::join!(probe(&settings), script);
    assert_eq!(result, Ok(module::Presence::Absent));
    assert_eq!(last_words, "</stream:stream>");
}

#[tokio::test]
async fn the_node_is_asked_for_its_module() {
    let (_node, mut talk, archiver) = online(|settings| settings.module_interval = Some(Duration::from_millis(100))).await;
    for depth in [7, 8] {
        let question = talk.hear("<status xmlns='urn:xmpp-archiver:mirror:0'/></iq>").await;
        let id = question.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap().to_owned();
        talk.say(&format!(
            "<iq type='result' id='{id}' from='example' to='archive.example'>\
             <status xmlns='urn:xmpp-archiver:mirror:0' module='prosody' mode='observe' depth='{depth}'/></iq>"
        ))
        .await;
        until(|| matches!(archiver.status.module(), module::Presence::Present(module) if module.depth == depth)).await;
    }
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn a_lost_session_is_opened_again() {
    let (node, talk, archiver) = online(|_| {}).await;
    until(|| archiver.intake.connected.load(Ordering::Relaxed) == 1).await;
    drop(talk);
    let mut talk = node.welcome().await;
    talk.say("<message/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>").await;
    assert_eq!(archiver.intake.taken(1).await, ["<message/>"]);
    let (error, _) = archiver.down().await;
    assert_eq!(error, SessionError::Conflict);
    assert_eq!(archiver.status.counters().reconnects(), 1);
    assert_eq!(archiver.intake.connected.load(Ordering::Relaxed), 2);
    assert_eq!(archiver.intake.disconnected.load(Ordering::Relaxed), 2);
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn the_node_is_pinged_when_it_is_quiet_and_stays_when_it_answers() {
    let (_node, mut talk, archiver) = online(|settings| settings.ping_interval = Duration::from_millis(30)).await;
    for ping in 1..=3 {
        let heard = talk.hear("</iq>").await;
        let expected = format!("<iq type='get' id='ping-{ping}' from='archive.example' to='example'><ping xmlns=");
        assert!(heard.starts_with(&expected), "{heard}");
        talk.say(&format!("<iq type='error' id='ping-{ping}' from='example' to='archive.example'/>")).await;
    }
    talk.hear("id='ping-4'").await;
    assert!(matches!(archiver.status.state(), State::Online { .. }));
    assert_eq!(archiver.status.counters().pings_sent.get(), 4);
    assert!(archiver.intake.taken(0).await.is_empty());
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_given_up() {
    let short = Duration::from_millis(40);
    let (_node, _talk, archiver) = online(|settings| {
        settings.ping_interval = short;
        settings.ping_timeout = short;
    })
    .await;
    assert_eq!(archiver.down().await.0, SessionError::Silent);
    archiver.stop().await;
}

#[tokio::test]
async fn white_space_is_a_sign_of_life() {
    let (_node, mut talk, archiver) = online(|settings| {
        settings.ping_interval = Duration::from_millis(100);
        settings.ping_timeout = Duration::from_secs(10);
    })
    .await;
    talk.hear("id='ping-1'").await;
    talk.say(" ").await;
    talk.hear("id='ping-2'").await;
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn requests_are_answered_and_mirrored_errors_are_not() {
    let (_node, mut talk, archiver) = online(|_| {}).await;
    talk.say("<message type='error' from='example'><forwarded xmlns='urn:xmpp:forward:0'/></message><presence/>").await;
    talk.say(PING).await;
    assert_eq!(talk.hear("</iq>").await, "<iq type='result' id='p1' from='archive.example' to='example'></iq>");
    talk.say("<iq type='get' id='2' from='example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>").await;
    assert!(talk.hear("</iq>").await.contains("archive"));
    talk.say("<iq type='get' id='3' from='example'><query xmlns='jabber:iq:version'/></iq>").await;
    assert!(talk.hear("</iq>").await.contains("xmpp-archiver"));
    talk.say("<iq type='set' id='4' from='u@example'><query xmlns='jabber:iq:register'/></iq>").await;
    assert!(talk.hear("</iq>").await.contains("service-unavailable"));
    assert_eq!(archiver.intake.taken(2).await.len(), 2);
    assert_eq!(archiver.status.counters().requests_answered.get(), 4);
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn a_stanza_is_acknowledged_only_when_it_is_durable() {
    let (_node, mut talk, archiver) = online(|_| {}).await;
    let (durable, reply) = oneshot::channel();
    let (never_durable, no_reply) = oneshot::channel();
    *archiver.intake.replies.lock().unwrap() = vec![no_reply, reply];
    let mirrored = format!("<iq type='set' id='m1' from='example'><event xmlns='{MIRROR_NAMESPACE}'/></iq>");
    talk.say(&mirrored.repeat(2)).await;
    talk.say(PING).await;
    assert_eq!(archiver.intake.taken(2).await, [mirrored.clone(), mirrored]);
    assert!(talk.hear("</iq>").await.contains("id='p1'"), "an acknowledgement came before the stanza was durable");
    durable.send(Some(b"<iq type='result' id='m1'/>".to_vec())).unwrap();
    assert_eq!(talk.hear("/>").await, "<iq type='result' id='m1'/>");
    never_durable.send(None).unwrap();
    until(|| archiver.status.counters().unacknowledged.get() == 1).await;
    assert_eq!(archiver.status.counters().acknowledged.get(), 1);
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn an_oversize_stanza_is_told_and_the_next_one_arrives() {
    let (_node, mut talk, archiver) = online(|settings| settings.max_stanza_bytes = 100_000).await;
    let long = format!("<message from='eve@example'><body>{}</body></message>", "x".repeat(1_000_000));
    let fitting = format!("<message><body>{}</body></message>", "x".repeat(99_000));
    talk.say(&long).await;
    talk.say(&fitting).await;
    assert_eq!(archiver.intake.taken(1).await, [fitting]);
    let told = archiver.intake.oversize.lock().unwrap().clone();
    assert_eq!(told, [("<message from='eve@example'>".to_owned(), long.len() as u64)]);
    assert_eq!(archiver.status.counters().oversize.get(), 1);
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn a_stanza_that_never_ends_ends_the_session() {
    let (_node, mut talk, archiver) = online(|settings| settings.max_stanza_bytes = 10_000).await;
    until(|| matches!(archiver.status.state(), State::Online { .. })).await;
    talk.say("<message>").await;
    let filling = "x".repeat(10_000);
    while talk.try_say(&filling).await && matches!(archiver.status.state(), State::Online { .. }) {}
    assert_eq!(archiver.down().await.0.word(), "out-of-step");
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn what_a_stream_may_not_contain_is_counted_and_skipped() {
    let (_node, mut talk, archiver) = online(|_| {}).await;
    talk.say("junk<!DOCTYPE a><?b c?><message/>").await;
    archiver.intake.taken(1).await;
    assert_eq!(archiver.status.counters().violations.get(), 3);
    talk.say("</message>").await;
    assert_eq!(archiver.down().await.0.word(), "out-of-step");
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn a_node_that_does_not_read_never_stops_the_reader() {
    let (_node, mut talk, archiver) = online(|_| {}).await;
    let ping = PING.replace("p1", &"p".repeat(8000));
    // The archiver answers 8 KB to each; nobody reads that, so that its queue is full before these are through.
    for _ in 0..20_000 {
        if !talk.try_say(&ping).await {
            break;
        }
    }
    assert_eq!(archiver.down().await.0, SessionError::NotReading);
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn stopping_closes_the_stream_and_takes_what_is_on_its_way() {
    let (_node, mut talk, archiver) = online(|_| {}).await;
    talk.say("<message id='1'/>").await;
    archiver.intake.taken(1).await;
    archiver.stop.send(true).unwrap();
    talk.hear("</stream:stream>").await;
    talk.say("<message id='2'/></stream:stream>").await;
    assert_eq!(talk.hear_out().await, "");
    timeout(DEADLINE, archiver.running).await.unwrap().unwrap();
    assert_eq!(archiver.intake.taken(0).await, ["<message id='1'/>", "<message id='2'/>"]);
    assert_eq!(archiver.intake.disconnected.load(Ordering::Relaxed), 1);
    assert_eq!(archiver.status.state(), State::Stopped);
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever_for_a_full_spool() {
    let (_node, mut talk, archiver) = online(|_| {}).await;
    archiver.intake.blocked.store(true, Ordering::Relaxed);
    talk.say(&"<message/>".repeat(100)).await;
    archiver.intake.taken(1).await;
    let asked_at = Instant::now();
    archiver.stop().await;
    assert!(asked_at.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn stopping_ends_the_waiting_between_attempts() {
    let node = FakeNode::start().await;
    let settings = settings(&node);
    drop(node);
    let archiver = Archiver::start(settings);
    let (error, advice) = archiver.down().await;
    assert_eq!(error.word(), "unreachable");
    assert!(advice.contains("check `address`"), "{advice}");
    archiver.stop().await;
}

#[tokio::test]
async fn an_openfire_node_is_asked_to_mirror_on_each_connect() {
    let (node, mut talk, archiver) = online(|settings| settings.kind_openfire = true).await;
    for _ in 0..2 {
        let asked = talk.hear("</iq>").await;
        assert!(asked.contains("to='example'") && asked.contains("packets_notification"), "{asked}");
        let id = asked.split("id='").nth(1).unwrap().split('\'').next().unwrap();
        talk.say(&format!(
            "<iq type='result' id='{id}' from='example'><command xmlns='http://jabber.org/protocol/commands' \
             sessionid='s1' status='executing'><x xmlns='jabber:x:data' type='form'/></command></iq>"
        ))
        .await;
        let submitted = talk.hear("</iq>").await;
        assert!(submitted.contains("sessionid='s1'") && submitted.contains("incoming"), "{submitted}");
        let id = submitted.split("id='").nth(1).unwrap().split('\'').next().unwrap();
        talk.say(&format!(
            "<iq type='result' id='{id}' from='example'><command xmlns='http://jabber.org/protocol/commands' \
             status='completed'/></iq>"
        ))
        .await;
        until(|| archiver.status.mirror() == Mirror::Subscribed).await;
        drop(talk);
        talk = node.welcome().await;
    }
    let asked = talk.hear("</iq>").await;
    let id = asked.split("id='").nth(1).unwrap().split('\'').next().unwrap();
    talk.say(&format!(
        "<iq type='error' id='{id}' from='example'><error type='auth'><forbidden \
         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    ))
    .await;
    until(|| archiver.status.mirror() == Mirror::Refused("forbidden".to_owned())).await;
    drop(talk);
    archiver.stop().await;
}

fn fixture(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(file)
}

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(fixture("node.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(fixture("node.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

fn trusting(ca_file: Option<&str>, server_name: Option<&str>) -> Option<TlsSettings> {
    Some(TlsSettings { ca_file: ca_file.map(fixture), server_name: server_name.map(str::to_owned) })
}

#[tokio::test]
async fn a_session_over_tls_with_an_authority_of_ones_own() {
    let node = FakeNode::start().await;
    let tls = trusting(Some("ca.pem"), Some("node.example"));
    let archiver = Archiver::start(Settings { tls, ..settings(&node) });
    let socket = node.accept().await.into_socket();
    let mut talk = Talk::over(acceptor().accept(socket).await.unwrap());
    talk.welcome().await;
    talk.say("<message>secret</message>").await;
    assert_eq!(archiver.intake.taken(1).await, ["<message>secret</message>"]);
    talk.say(PING).await;
    talk.hear("id='p1'").await;
    drop(talk);
    archiver.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_name_or_authority_is_refused() {
    let own_name = trusting(Some("ca.pem"), None);
    let wrong_name = trusting(Some("ca.pem"), Some("other.example"));
    let not_an_authority = trusting(Some("node.pem"), Some("node.example"));
    let no_file = trusting(Some("missing.pem"), Some("node.example"));
    for tls in [own_name, wrong_name, no_file, not_an_authority] {
        let node = FakeNode::start().await;
        let settings = Settings { tls, ..settings(&node) };
        let accepting = async { acceptor().accept(node.accept().await.into_socket()).await.map(drop) };
        let (result, _) = tokio::join!(probe(&settings), accepting);
        // A certificate that is pinned itself is trusted: then it fails later, since nobody speaks XMPP there.
        let word = result.unwrap_err().word();
        assert!(word == "tls" || settings.tls.unwrap().ca_file == Some(fixture("node.pem")), "{word}");
    }
}

#[test]
fn settings_do_not_show_the_secret_and_know_the_nodes_domain() {
    let settings = Settings::new("one", "localhost:5347", "archive.example.com", "s3cr3t".into());
    assert!(!format!("{settings:?}").contains("s3cr3t"));
    assert_eq!(settings.node_domain(), "example.com");
    assert_eq!(STREAM_ID.len(), 1);
}
