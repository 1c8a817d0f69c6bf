//! Reads `[alarm]`, `[alarm.email]` and `[http]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use jid::BareJid;

use super::mistake::Mistake;
use super::operation::{AlarmConfig, EmailConfig, EmailTls, HttpConfig};
use super::read::Remarks;
use super::section::{Section, entry_text};
use super::{SecretSource, defaults};

/// How a connection to a mail server can be protected.
const TLS: [(&str, EmailTls); 3] = [("starttls", EmailTls::Starttls), ("tls", EmailTls::Tls), ("none", EmailTls::None)];

pub(super) fn read_alarm(mut section: Section<'_>, remarks: &mut Remarks) -> AlarmConfig {
    let email = read_email(section.table("email"), remarks);
    let webhook = webhook(&mut section);
    let secret = optional_secret(&mut section, ["webhook_secret", "webhook_secret_file", "webhook_secret_env"], remarks);
    let webhook_tls_ca = section.text("webhook_tls_ca").map(PathBuf::from);
    let alarm = AlarmConfig {
        webhook,
        webhook_secret: secret,
        webhook_tls_ca,
        jids: jids(&mut section),
        clear_after: section.duration("clear_after", defaults::ALARM_CLEAR_AFTER),
        node_down_after: section.duration("node_down_after", defaults::ALARM_NODE_DOWN_AFTER),
        spool_high: section.number("spool_high", defaults::ALARM_SPOOL_HIGH),
        spool_nearly_full: section.number("spool_nearly_full", defaults::ALARM_SPOOL_NEARLY_FULL),
        disk_low: section.size("disk_low", defaults::ALARM_DISK_LOW),
        lag_limit: section.duration("lag_limit", defaults::ALARM_LAG_LIMIT),
        certificate_days: section.number("certificate_days", defaults::ALARM_CERTIFICATE_DAYS),
        clock_jump: section.duration("clock_jump", defaults::ALARM_CLOCK_JUMP),
        email,
    };
    if alarm.spool_high >= alarm.spool_nearly_full {
        let key = section.key("spool_high");
        section.push(Mistake::at(key, format!("is {}; must be below spool_nearly_full, {}", alarm.spool_high, alarm.spool_nearly_full)));
    }
    section.finish();
    alarm
}

/// A URL may hold a token in its path, so no mistake repeats it.
fn webhook(section: &mut Section<'_>) -> Option<String> {
    let (url, from_environment) = section.hidden_text("webhook")?;
    let right = match url.parse::<http::Uri>() {
        Ok(parsed) if !matches!(parsed.scheme_str(), Some("http" | "https")) => "must begin with http:// or https://",
        Ok(parsed) if parsed.host().is_none_or(str::is_empty) => "must name a host",
        Ok(parsed) if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            "must hold no password: use webhook_secret, which is sent as a bearer token"
        }
        Ok(_) => return Some(url),
        Err(_no_url) => "must be a URL such as https://alerts.example.com/xmpp-archiver",
    };
    let mut mistake = Mistake::at(section.key("webhook"), right);
    mistake.from_environment = from_environment;
    section.push(mistake);
    None
}

fn jids(section: &mut Section<'_>) -> Vec<String> {
    let mut jids = Vec::new();
    for found in section.list("jids", defaults::ALARM_RECIPIENTS).unwrap_or_default() {
        match entry_text(&found).map(BareJid::new) {
            Ok(Ok(jid)) if jid.node().is_some() => jids.push(jid.to_string()),
            _ => section.push(found.mistake("must be the JID of a person, such as admin@example.com, without a resource")),
        }
    }
    jids
}

/// None of the three ways, or exactly one.
pub(super) fn optional_secret(section: &mut Section<'_>, keys: [&'static str; 3], remarks: &mut Remarks) -> Option<SecretSource> {
    let [inline, file, variable] = keys;
    let given = keys.iter().filter(|key| section.has(key)).count();
    let text = section.hidden_text(inline);
    remarks.secret_in_file |= matches!(text, Some((_, false)));
    let path = section.hidden_text(file);
    let name = section.hidden_text(variable).and_then(|(name, _)| super::read_node::variable_name(section, variable, name));
    if given > 1 {
        let key = section.key(inline);
        section.push(Mistake::at(key, format!("given more than once; must be at most one of {inline}, {file} and {variable}")));
        return None;
    }
    let inline = text.map(|(text, _)| SecretSource::Inline(text.into()));
    inline.or(path.map(|(path, _)| SecretSource::File(path.into()))).or(name.map(SecretSource::Env))
}

/// An empty table sends no e-mail; one in which anything stands must be complete.
pub(super) fn read_email(mut section: Section<'_>, remarks: &mut Remarks) -> Option<EmailConfig> {
    let is_wanted = !section.is_empty();
    let server = section.text("server");
    let tls = section.choice("tls", &TLS, EmailTls::Starttls);
    let port = section.number("port", defaults::Bounds { default: u64::from(tls.port()), least: 1, most: 65_535 });
    let tls_ca = section.text("tls_ca").map(PathBuf::from);
    let user = section.text("user");
    let password = optional_secret(&mut section, ["password", "password_file", "password_env"], remarks);
    let from = section.text("from");
    let to = addresses(&mut section);
    if is_wanted {
        require(&mut section, "server", server.is_some(), "must be the mail server's host");
        require(&mut section, "from", from.is_some(), "must be the sender's address");
        require(&mut section, "to", !to.is_empty(), "must be a list of addresses");
        if user.is_some() != password.is_some() {
            let key = section.key("user");
            section.push(Mistake::at(key, "and a password must be given together, or neither"));
        }
        check_address(&mut section, "from", from.as_deref());
    }
    if let Some(server) = server.as_deref().filter(|server| tls == EmailTls::None && !is_this_machine(server)) {
        let key = section.key("tls");
        section.push(Mistake::at(key, format!("is none, which only a server on this machine may have, and {server} is not localhost")));
    }
    section.finish();
    Some(EmailConfig { server: server?, port: u16::try_from(port).ok()?, tls, tls_ca, user, password, from: from?, to })
}

/// Says what is missing, unless a mistake was told of it.
pub(super) fn require(section: &mut Section<'_>, name: &str, is_there: bool, right: &str) {
    // A value that was there and wrong has been told already.
    let key = section.key(name);
    if !is_there && !section.was_told(&key) {
        section.push(Mistake::at(key, format!("missing; {right}")));
    }
}

fn addresses(section: &mut Section<'_>) -> Vec<String> {
    let mut addresses = Vec::new();
    for found in section.list("to", defaults::ALARM_RECIPIENTS).unwrap_or_default() {
        match entry_text(&found) {
            Ok(text) if is_mailbox(text) => addresses.push(text.to_owned()),
            _ => section.push(found.mistake(MAILBOX)),
        }
    }
    addresses
}

/// What an address must be.
const MAILBOX: &str = "must be an address such as admin@example.com or \"Name <admin@example.com>\"";

fn check_address(section: &mut Section<'_>, name: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !is_mailbox(text)) {
        let key = section.key(name);
        section.push(Mistake::at(key, MAILBOX).with_text(text));
    }
}

fn is_mailbox(text: &str) -> bool {
    text.parse::<lettre::message::Mailbox>().is_ok()
}

/// Whether a name means this machine.
pub(super) fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn read_http(mut section: Section<'_>) -> HttpConfig {
    let listen = listen(&mut section);
    let allow_remote = section.truth("allow_remote", false);
    if let Some(address) = listen.filter(|address| !address.ip().is_loopback() && !allow_remote) {
        let key = section.key("listen");
        let right =
            "can be reached from other machines, and whoever reaches it needs no password; set allow_remote = true if that is meant";
        section.push(Mistake::at(key, right).with_text(&address.to_string()));
    }
    section.finish();
    HttpConfig { listen, allow_remote }
}

fn listen(section: &mut Section<'_>) -> Option<SocketAddr> {
    let found = section.take("listen")?;
    match entry_text(&found).map(str::parse) {
        Ok(Ok(address)) => Some(address),
        _ => {
            section.push(found.mistake("must be an IP address with a port, such as 127.0.0.1:9280"));
            None
        }
    }
}
