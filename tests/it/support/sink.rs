//! Servers that only take: the webhook and the mail server of an operator, and the service manager's socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::process::wait_for;

type Heard<T> = Arc<Mutex<Vec<T>>>;

/// A request that the webhook got.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) authorization: Option<String>,
    pub(crate) alarm: Value,
}

/// An HTTP server that takes whatever is posted, once it is willing.
#[derive(Debug)]
pub(crate) struct Webhook {
    port: u16,
    heard: Heard<Posted>,
    /// How many requests are answered with an error before one is taken.
    refusals: Arc<Mutex<usize>>,
}

impl Webhook {
    pub(crate) fn start() -> Webhook {
        let (heard, refusals) = (Heard::default(), Arc::new(Mutex::new(0)));
        let (taken, left) = (Arc::clone(&heard), Arc::clone(&refusals));
        let port = each_connection(move |socket| {
            if let Some(posted) = read_request(&socket) {
                let mut left = left.lock().expect("the refusals");
                let status = if *left > 0 { "503 Not now" } else { "204 No Content" };
                if *left > 0 {
                    *left -= 1;
                } else {
                    taken.lock().expect("what was heard").push(posted);
                }
                let _ = (&socket).write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
            }
        });
        Webhook { port, heard, refusals }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/alarms?team=a", self.port)
    }

    /// The next requests are refused.
    pub(crate) fn refuse(&self, count: usize) {
        *self.refusals.lock().expect("the refusals") = count;
    }

    /// Everything that was posted until now.
    pub(crate) fn heard(&self) -> Vec<Posted> {
        self.heard.lock().expect("what was heard").clone()
    }

    /// What became of the alarms of this name, in order.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let of_name =
            |posted: &Posted| (posted.alarm["name"] == name).then(|| posted.alarm["event"].as_str().unwrap_or_default().to_owned());
        self.heard().iter().filter_map(of_name).collect()
    }

    pub(crate) fn wait_for_event(&self, name: &str, event: &str) {
        wait_for(&format!("{name} to be {event}"), || self.events(name).iter().any(|one| one == event).then_some(()));
    }
}

fn read_request(socket: &TcpStream) -> Option<Posted> {
    let mut reader = BufReader::new(socket);
    let (mut length, mut authorization, mut line) = (0, None, String::new());
    reader.read_line(&mut line).ok()?;
    assert!(line.starts_with("POST /alarms?team=a HTTP/1.1"), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => authorization = Some(value.to_owned()),
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Posted { authorization, alarm: serde_json::from_slice(&body).expect("JSON") })
}

/// A mail server that takes every letter from an account that it knows.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) port: u16,
    heard: Heard<String>,
}

impl Mail {
    /// `account` is what the client must authenticate with (RFC 4616, base64).
    pub(crate) fn start(account: &'static str) -> Mail {
        let heard = Heard::default();
        let taken: Heard<String> = Arc::clone(&heard);
        let port = each_connection(move |socket| {
            if let Some(letter) = converse(&socket, account) {
                taken.lock().expect("what was heard").push(letter);
            }
        });
        Mail { port, heard }
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("what was heard").clone()
    }
}

/// The server's part of one session (RFC 5321); what was sent is a letter once it is complete.
fn converse(socket: &TcpStream, account: &str) -> Option<String> {
    let mut reader = BufReader::new(socket);
    let say = |text: &str| (&mut &*socket).write_all(format!("{text}\r\n").as_bytes()).ok();
    say("220 mail.test ESMTP")?;
    let (mut line, mut letter) = (String::new(), None);
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return letter;
        }
        let command = line.trim_end();
        match command.split(' ').next().unwrap_or_default() {
            "EHLO" => say("250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN")?,
            "AUTH" if command == format!("AUTH PLAIN {account}") => say("235 welcome")?,
            "AUTH" => say("535 who?")?,
            "MAIL" | "RCPT" | "RSET" | "NOOP" => say("250 fine")?,
            "DATA" => {
                say("354 go on")?;
                letter = Some(read_letter(&mut reader)?);
                say("250 taken")?;
            }
            "QUIT" => {
                say("221 bye")?;
                return letter;
            }
            _ => say("502 what?")?,
        };
    }
}

fn read_letter(reader: &mut impl BufRead) -> Option<String> {
    let mut letter = String::new();
    while !letter.ends_with("\r\n.\r\n") {
        if reader.read_line(&mut letter).ok()? == 0 {
            return None;
        }
    }
    Some(letter)
}

/// Listens on a free port and serves each connection in a thread of its own, as long as the test process lives.
fn each_connection(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(socket));
        }
    });
    port
}

/// The socket on which a service manager listens (sd_notify(3)).
#[derive(Debug)]
pub(crate) struct Manager {
    heard: Heard<String>,
}

impl Manager {
    pub(crate) fn listen(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).expect("a socket");
        let heard = Heard::default();
        let taken: Heard<String> = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok(length) = socket.recv(&mut datagram) {
                let said = String::from_utf8_lossy(&datagram[..length]).into_owned();
                taken.lock().expect("what was heard").extend(said.lines().map(str::to_owned));
            }
        });
        Manager { heard }
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("what was heard").clone()
    }

    /// Waits until it has been told this so often.
    pub(crate) fn wait_for(&self, line: &str, times: usize) {
        wait_for(line, || (self.heard().iter().filter(|said| *said == line).count() >= times).then_some(()));
    }
}

/// What an HTTP server answers to a GET: the status and the body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}
