//! Reads one `[[node]]`.

use std::collections::HashSet;
use std::path::PathBuf;

use super::canary::{CanaryPlace, read_canary};
use super::mistake::Mistake;
use super::read::{Remarks, StoreNames};
use super::section::{Found, Section, entry_text};
use super::{Directions, NodeConfig, NodeKind, SecretSource, checks, defaults, domain};

/// The kinds of node.
const KINDS: [(&str, NodeKind); 4] =
    [("auto", NodeKind::Auto), ("ejabberd", NodeKind::Ejabberd), ("prosody", NodeKind::Prosody), ("openfire", NodeKind::Openfire)];

/// The directions that can be kept.
const DIRECTIONS: [(&str, Directions); 2] = [("both", Directions::Both), ("incoming", Directions::Incoming)];

/// Reads the table; `None` if a key that must be there is missing or wrong.
pub(super) fn read_node(mut section: Section<'_>, stores: &StoreNames, remarks: &mut Remarks) -> Option<NodeConfig> {
    let domain = required_domain(&mut section);
    let name = node_name(&mut section, domain.as_deref());
    let address = node_address(&mut section);
    let secret = node_secret(&mut section, remarks);
    let hosts = node_hosts(&mut section, domain.as_deref(), remarks);
    let muc = domains(&mut section, "muc", remarks).unwrap_or_default();
    let extra = domains(&mut section, "trusted", remarks).unwrap_or_default();
    let store = node_store(&mut section, stores);
    let same_as = node_same_as(&mut section, name.as_deref());
    let kind = section.choice("kind", &KINDS, NodeKind::Auto);
    let direction = section.choice("direction", &DIRECTIONS, Directions::Both);
    let max_stanza = section.size("max_stanza", defaults::NODE_MAX_STANZA);
    let connect_timeout = section.duration("connect_timeout", defaults::NODE_CONNECT_TIMEOUT);
    let ping_interval = section.duration("ping_interval", defaults::NODE_PING_INTERVAL);
    let ping_timeout = section.duration("ping_timeout", defaults::NODE_PING_TIMEOUT);
    let tls = section.truth("tls", false);
    let tls_ca = only_with_tls(&mut section, "tls_ca", tls).map(PathBuf::from);
    let tls_name = only_with_tls(&mut section, "tls_name", tls);
    if let (Some(domain), Some(hosts)) = (&domain, &hosts) {
        checks::check_domains(&mut section, domain, hosts, &muc, &extra);
    }
    let place = CanaryPlace { hosts: hosts.as_deref(), node_address: address.as_deref() };
    let canary = read_canary(section.table("canary"), place, remarks);
    section.finish();
    let hosts = hosts?;
    Some(NodeConfig {
        name: name?,
        address: address?,
        domain: domain?,
        secret: secret?,
        trusted: union(&hosts, extra),
        hosts,
        muc,
        store: store?,
        same_as,
        kind,
        direction,
        max_stanza,
        connect_timeout,
        ping_interval,
        ping_timeout,
        tls,
        tls_ca,
        tls_name,
        canary,
    })
}

fn required_domain(section: &mut Section<'_>) -> Option<String> {
    let Some(found) = section.take("domain") else {
        let key = section.key("domain");
        section.push(Mistake::at(key, "missing; must be this component's domain on the node, such as archive.example.com"));
        return None;
    };
    one_domain(section, &found)
}

/// A domain in the one spelling, or a mistake.
fn one_domain(section: &mut Section<'_>, found: &Found) -> Option<String> {
    let text = match entry_text(found) {
        Ok(text) => text,
        Err(mistake) => {
            section.push(mistake);
            return None;
        }
    };
    match domain::normalise(text) {
        Ok(domain) => Some(domain),
        Err(error) => {
            let right = format!("{error}; must be one such as example.com");
            section.push(found.mistake(right));
            None
        }
    }
}

/// A list of domains, each once; `None` if it isn't there.
fn domains(section: &mut Section<'_>, name: &'static str, remarks: &mut Remarks) -> Option<Vec<String>> {
    let entries = section.list(name, defaults::DOMAINS)?;
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    for found in &entries {
        let Some(domain) = one_domain(section, found) else {
            continue;
        };
        if seen.insert(domain.clone()) {
            list.push(domain);
        } else {
            let warning = format!("{}: {domain} stands there twice", section.key(name));
            remarks.warnings.push(warning);
        }
    }
    Some(list)
}

fn node_name(section: &mut Section<'_>, domain: Option<&str>) -> Option<String> {
    let Some(found) = section.take("name") else {
        return domain.map(str::to_owned);
    };
    match entry_text(&found) {
        Ok(name) if is_name(name) => Some(name.to_owned()),
        _ => {
            section.push(found.mistake("must be a text of 1 to 255 bytes on one line"));
            None
        }
    }
}

/// The entry that brings the same copies by another component domain.
fn node_same_as(section: &mut Section<'_>, name: Option<&str>) -> Option<String> {
    const RIGHT: &str = "must be the name of another entry for the same node, here or in another archiver's configuration";
    let found = section.take("same_as")?;
    match entry_text(&found) {
        Ok(other) if is_name(other) && Some(other) != name => Some(other.to_owned()),
        _ => {
            section.push(found.mistake(RIGHT));
            None
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= defaults::NAME_BYTES && !text.contains(char::is_control)
}

fn node_address(section: &mut Section<'_>) -> Option<String> {
    const RIGHT: &str = "must be the node's component port as host:port, such as 127.0.0.1:5347";
    let Some(found) = section.take("address") else {
        let key = section.key("address");
        section.push(Mistake::at(key, format!("missing; {RIGHT}")));
        return None;
    };
    let address = entry_text(&found).ok().and_then(host_and_port);
    if address.is_none() {
        section.push(found.mistake(RIGHT));
    }
    address
}

/// `host:port` in lower case; an IPv6 address stands in brackets.
pub(super) fn host_and_port(text: &str) -> Option<String> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    if bare_v6 {
        return None;
    }
    let host = domain::normalise(host).ok()?;
    Some(format!("{host}:{port}"))
}

/// Exactly one of the three ways.
fn node_secret(section: &mut Section<'_>, remarks: &mut Remarks) -> Option<SecretSource> {
    let given = ["secret", "secret_file", "secret_env"].iter().filter(|key| section.has(key)).count();
    let inline = section.hidden_text("secret");
    remarks.secret_in_file |= matches!(inline, Some((_, false)));
    let file = section.hidden_text("secret_file");
    let variable = section.hidden_text("secret_env");
    if given != 1 {
        let key = section.key("secret");
        let found = if given == 0 { "missing" } else { "given more than once" };
        section.push(Mistake::at(key, format!("{found}; must be exactly one of secret, secret_file and secret_env")));
        return None;
    }
    let variable = variable.and_then(|(name, _)| variable_name(section, "secret_env", name));
    let inline = inline.map(|(text, _)| SecretSource::Inline(text.into()));
    inline.or(file.map(|(path, _)| SecretSource::File(path.into()))).or(variable.map(SecretSource::Env))
}

/// A text that can't be a variable's name may be the secret itself, so it is not repeated.
pub(super) fn variable_name(section: &mut Section<'_>, key: &str, name: String) -> Option<String> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(letters) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(name);
    }
    let key = section.key(key);
    section.push(Mistake::at(key, "must be the name of an environment variable, such as ARCHIVE_SECRET"));
    None
}

/// The hosts; where none is said, the domain's parent, since components mostly stand one label below the host.
fn node_hosts(section: &mut Section<'_>, domain: Option<&str>, remarks: &mut Remarks) -> Option<Vec<String>> {
    const RIGHT: &str = "must name at least one domain of users, such as [\"example.com\"]";
    let key = section.key("hosts");
    if section.has("hosts") {
        let mistakes_before = section.mistake_count();
        let hosts = domains(section, "hosts", remarks)?;
        // A list whose entries are all mistakes was not meant to be empty.
        if hosts.is_empty() && section.mistake_count() == mistakes_before {
            section.push(Mistake::at(key, RIGHT));
        }
        return Some(hosts);
    }
    section.take("hosts");
    let domain = domain?;
    let Some(parent) = domain::parent(domain) else {
        section.push(Mistake::at(key, format!("missing; {RIGHT}")));
        return None;
    };
    remarks.notices.push(format!("{key}: not given, so {parent} is taken, the parent of {domain}"));
    Some(vec![parent.to_owned()])
}

fn node_store(section: &mut Section<'_>, stores: &StoreNames) -> Option<String> {
    let names = stores.0.join(", ");
    let Some(found) = section.take("store") else {
        if let [only] = stores.0.as_slice() {
            return Some(only.clone());
        }
        let key = section.key("store");
        section.push(Mistake::at(key, format!("missing; there are several stores, so must be one of {names}")));
        return None;
    };
    match entry_text(&found) {
        Ok(name) if stores.0.iter().any(|store| store == name) => Some(name.to_owned()),
        _ => {
            section.push(found.mistake(format!("names no store; must be one of {names}")));
            None
        }
    }
}

fn only_with_tls(section: &mut Section<'_>, name: &'static str, tls: bool) -> Option<String> {
    let text = section.text(name)?;
    if !tls {
        let key = section.key(name);
        section.push(Mistake::at(key, "has no meaning without tls = true"));
    }
    Some(text)
}

/// The hosts, then the others that aren't among them.
fn union(hosts: &[String], extra: Vec<String>) -> Vec<String> {
    let known: HashSet<&String> = hosts.iter().collect();
    let others = extra.into_iter().filter(|domain| !known.contains(domain));
    let others: Vec<String> = others.collect();
    hosts.iter().cloned().chain(others).collect()
}
