//! What a browser does where no page has to be drawn: follows addresses over HTTP and HTTPS, and keeps cookies apart by host and port.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use openidconnect::url::Url;
use serde_json::Value;

use super::process::PATIENCE;

/// A browser without a window.
#[derive(Clone)]
pub(crate) struct Walker {
    tls: Arc<rustls::ClientConfig>,
    /// By host and port, then by name.
    pub(crate) cookies: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) url: Url,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Where it sends the browser.
    pub(crate) fn target(&self) -> Url {
        let location = self.header("location").unwrap_or_else(|| panic!("it sends nobody anywhere: {self:?}"));
        self.url.join(location).expect("an address")
    }

    /// The value of a hidden field of a form.
    pub(crate) fn field(&self, name: &str) -> String {
        let begin = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&begin).unwrap_or_else(|| panic!("no field {name} in {}", self.body));
        rest.split('"').next().expect("a value").to_owned()
    }
}

impl Walker {
    /// A browser that trusts one authority.
    pub(crate) fn new(authority: &Path) -> Walker {
        let tls = Arc::new(xmpp_archiver::tls::client("test", Some(authority)).expect("an authority"));
        Walker { tls, cookies: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, url: &Url) -> Page {
        self.ask("GET", url, "", "")
    }

    pub(crate) fn send_json(&mut self, method: &str, url: &Url, body: &Value) -> Page {
        self.ask(method, url, "Content-Type: application/json\r\n", &body.to_string())
    }

    /// Sends a form of a page, as a browser does that is on it.
    pub(crate) fn submit(&mut self, url: &Url, fields: &[(&str, &str)]) -> Page {
        let body = openidconnect::url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let origin = url.origin().ascii_serialization();
        self.ask("POST", url, &format!("Content-Type: application/x-www-form-urlencoded\r\nOrigin: {origin}\r\n"), &body)
    }

    fn ask(&mut self, method: &str, url: &Url, headers: &str, body: &str) -> Page {
        let (host, port) = (url.host_str().expect("a host"), url.port_or_known_default().expect("a port"));
        let place = format!("{host}:{port}");
        let known = self.cookies.get(&place).into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        let cookies = if known.is_empty() { String::new() } else { format!("Cookie: {}\r\n", known.join("; ")) };
        let path = &url[openidconnect::url::Position::BeforePath..openidconnect::url::Position::AfterQuery];
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\nContent-Length: {length}\r\n{cookies}{headers}\r\n{body}"
        );
        let socket = TcpStream::connect((host, port)).unwrap_or_else(|error| panic!("{place}: {error}"));
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let answer = if url.scheme() == "https" {
            let name = host.to_owned().try_into().expect("a name");
            let connection = rustls::ClientConnection::new(Arc::clone(&self.tls), name).expect("a connection");
            exchange(rustls::StreamOwned::new(connection, socket), &request)
        } else {
            exchange(socket, &request)
        };
        let page = parse(url, &answer);
        self.keep(&place, &page);
        page
    }

    fn keep(&mut self, place: &str, page: &Page) {
        for (_, cookie) in page.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            let here = self.cookies.entry(place.to_owned()).or_default();
            if cookie.contains("Max-Age=0") {
                here.remove(name)
            } else {
                here.insert(name.to_owned(), value.to_owned())
            };
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("it takes requests");
    let mut answer = Vec::new();
    let _no_close_notify = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

fn parse(url: &Url, text: &str) -> Page {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer of {url}: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).expect("a status");
    let headers =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Page { status, url: url.clone(), headers, body: body.to_owned() }
}
