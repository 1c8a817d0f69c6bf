//! Nodes that are none, or are somebody else's: whatever comes from the component port costs that node's session and a bounded piece of memory, and
//! the archiver goes on with the others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{assert_holds, lines, prosody};
use crate::support::archiver::{Archiver, Store};
use crate::support::process::{Directory, wait_for};

/// More than the limit of a stanza many times over.
const MUCH: usize = 40 * 1024 * 1024;
const BLOCK_BYTES: usize = 64 * 1024;
/// The good node's work and eleven hostile ones at once, each with at most one stanza of 1 MiB and a read buffer; far below what they send.
const MOST_KIB: u64 = 150 * 1024;
/// How often each must have come back for more.
const VISITS: usize = 2;

/// What a peer does with a connection.
#[derive(Clone, Copy)]
struct Peer {
    name: &'static str,
    /// Whether it lets the archiver in before it misbehaves.
    greets: bool,
    /// What it sends: once, then the second again and again, `MUCH` in all.
    sends: &'static [u8],
    repeats: &'static [u8],
    /// What the archiver says of it, in its log.
    said: &'static str,
}

const PEERS: [Peer; 14] = [
    Peer { name: "endless-element", greets: true, sends: b"<message><body>", repeats: b"aaaaaaaaaaaaaaaa", said: "did not end after" },
    Peer { name: "endless-tag", greets: true, sends: b"<message a='", repeats: b"aaaaaaaaaaaaaaaa", said: "out of step" },
    Peer { name: "endless-attributes", greets: true, sends: b"<message", repeats: b" a='b'", said: "out of step" },
    Peer { name: "endless-depth", greets: true, sends: b"<message>", repeats: b"<a>", said: "did not end after" },
    Peer { name: "endless-comment", greets: true, sends: b"<message><!--", repeats: b"- - - - ", said: "did not end after" },
    Peer { name: "entities", greets: true, sends: BILLION_LAUGHS, repeats: b"", said: "a document type declaration" },
    Peer { name: "garbage", greets: true, sends: b"", repeats: b"\x00\xff\xfe\x80garbage\r\n", said: "text between stanzas" },
    Peer {
        name: "not-utf8",
        greets: true,
        sends: b"<message from='bad' to='archive.bad'><body>\xff\xc0\x80\x00</body></message>",
        repeats: b"",
        said: "",
    },
    Peer { name: "end-tags", greets: true, sends: b"</message>", repeats: b"</a>", said: "an end tag that closes nothing" },
    Peer {
        name: "error",
        greets: true,
        sends: b"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
        repeats: b"",
        said: "another connection holds",
    },
    Peer { name: "closes", greets: false, sends: b"<?xml version='1.0'?><stream:str", repeats: b"", said: "" },
    Peer {
        name: "another-language",
        greets: false,
        sends: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        repeats: b"",
        said: "is not an XMPP component port",
    },
    Peer {
        name: "endless-header",
        greets: false,
        sends: b"<?xml version='1.0'?><stream:stream a='",
        repeats: b"aaaaaaaaaaaaaaaa",
        said: "",
    },
    Peer {
        name: "wrong-namespace",
        greets: false,
        sends: b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><body>",
        repeats: b"",
        said: "",
    },
];

const BILLION_LAUGHS: &[u8] = b"<!DOCTYPE lolz [<!ENTITY lol 'lol'><!ENTITY lol1 '&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;'>\
    <!ENTITY lol2 '&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;'><!ENTITY lol3 '&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;'>]>\
    <message from='bad' to='archive.bad'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='a@bad' to='b@bad'>\
    <body>&lol3;</body></message></forwarded></message></stream:stream>";

const GREETING: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
    xmlns:stream='http://etherx.jabber.org/streams' from='archive.bad' id='1'>";

/// A peer on a port of its own.
struct Hostile {
    peer: Peer,
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Hostile {
    fn listen(peer: Peer) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                peer.misbehave(connection);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Hostile { peer, port, visits }
    }

    fn section(&self) -> String {
        format!(
            "\n[[node]]\nname = '{}'\naddress = '127.0.0.1:{}'\ndomain = 'archive.bad'\nsecret = 'x'\nhosts = ['bad']\nstore = 'main'\n\
             max_stanza = '1MiB'\nconnect_timeout = '1s'\nping_interval = '1s'\nping_timeout = '1s'\n",
            self.peer.name, self.port
        )
    }
}

impl Peer {
    /// Ends when it has sent everything or the archiver has had enough.
    fn misbehave(self, mut connection: TcpStream) {
        let _best_effort = connection.set_read_timeout(Some(Duration::from_secs(10)));
        if self.greets {
            let _it_may_be_gone = connection.write_all(GREETING);
            let mut seen = Vec::new();
            let mut buffer = [0; 1024];
            while !seen.windows(12).any(|window| window == b"</handshake>") {
                match connection.read(&mut buffer) {
                    Ok(length) if length > 0 => seen.extend_from_slice(&buffer[..length]),
                    _ => return,
                }
            }
            let _it_may_be_gone = connection.write_all(b"<handshake/>");
        }
        if connection.write_all(self.sends).is_err() || self.repeats.is_empty() {
            return;
        }
        let block: Vec<u8> = self.repeats.iter().copied().cycle().take(BLOCK_BYTES / self.repeats.len() * self.repeats.len()).collect();
        let mut sent = 0;
        while sent < MUCH && connection.write_all(&block).is_ok() {
            sent += block.len();
        }
    }
}

/// A peer that says one byte every now and then, and never enough, is left after the time for connecting.
fn slow_peer() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            for byte in GREETING {
                if connection.write_all(&[*byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, visits)
}

#[test]
fn hostile_peers_cost_nothing_but_their_own_sessions() {
    let mut node = prosody();
    let directory = Directory::new(None);
    let store = Store::Sqlite(directory.path().join("archive.sqlite"));
    let mut archiver = Archiver::for_played_on(store, directory, "", &[&node]);
    let hostile = PEERS.map(Hostile::listen);
    let (slow_port, slow_visits) = slow_peer();
    let slow = hostile[0].section().replacen(PEERS[0].name, "slow", 1).replacen(&hostile[0].port.to_string(), &slow_port.to_string(), 1);
    let sections: String = hostile.iter().map(Hostile::section).collect();
    archiver.set_settings(&archiver.settings().replacen("\n[run]", &format!("{sections}{slow}\n[run]"), 1));
    archiver.start();
    node.accept();
    node.mirror(&lines("while they come"));
    for peer in &hostile {
        wait_for(peer.peer.name, || (peer.visits.load(Ordering::Relaxed) >= VISITS).then_some(()));
    }
    wait_for("the slow peer", || (slow_visits.load(Ordering::Relaxed) >= VISITS).then_some(()));
    node.mirror(&lines("while they are there"));
    archiver.wait_until_stored();
    let peak = archiver.peak_memory_kib();
    assert!(peak < MOST_KIB, "{peak} KiB");
    let logged = archiver.logged();
    for Peer { name, said, .. } in PEERS {
        let is_said = logged.lines().any(|line| line.contains(&format!("node {name}")) && line.contains(said));
        assert!(is_said, "{name}: nothing about {said:?} in\n{logged}");
    }
    assert!(logged.contains("node slow"), "{logged}");
    assert!(!logged.contains("panicked"), "{logged}");
    archiver.stop();
    let mut ledger = archiver.store.ledger();
    // What can't be read is set aside or kept as it is, never in between the good node's messages.
    ledger.quarantine.clear();
    ledger.rows.retain(|row| row.node == "node");
    assert_holds(&ledger, &["while they come", "while they are there"]);
}
