//! Reads `[web]` and `[web.oidc]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::defaults;
use super::mistake::Mistake;
use super::read::Remarks;
use super::read_operation::{is_this_machine, optional_secret, require};
use super::section::{Section, entry_text};
use super::web::{OidcConfig, WebConfig};
use crate::access::Role;

pub(super) fn read_web(mut section: Section<'_>, stores: &[String], remarks: &mut Remarks) -> WebConfig {
    let oidc = read_oidc(section.table("oidc"), remarks);
    let listen = listen(&mut section);
    let tls_cert = section.text("tls_cert").map(PathBuf::from);
    let tls_key = section.text("tls_key").map(PathBuf::from);
    if tls_cert.is_some() != tls_key.is_some() {
        let key = section.key(if tls_cert.is_some() { "tls_key" } else { "tls_cert" });
        section.push(Mistake::at(key, "missing; tls_cert and tls_key must be given together"));
    }
    let scheme = if tls_cert.is_some() { "https" } else { "http" };
    let allow_remote = section.truth("allow_remote", false);
    if !listen.ip().is_loopback() && tls_cert.is_none() && !allow_remote {
        let key = section.key("listen");
        let right = "can be reached from other machines, where passwords must not go without TLS; set tls_cert and tls_key, or \
                     allow_remote = true if a proxy before it speaks TLS";
        section.push(Mistake::at(key, right).with_text(&listen.to_string()));
    }
    let web = WebConfig {
        listen,
        with_run: section.truth("with_run", false),
        allow_remote,
        tls_cert,
        tls_key,
        public_url: url(&mut section, "public_url").unwrap_or_else(|| format!("{scheme}://{listen}")),
        trusted_proxies: proxies(&mut section),
        store: store(&mut section, stores),
        key_file: section.text("key_file").map_or_else(|| PathBuf::from(defaults::WEB_KEY_FILE), PathBuf::from),
        exports: section.text("exports").map_or_else(|| PathBuf::from(defaults::WEB_EXPORTS), PathBuf::from),
        keep_exports_days: section.number("keep_exports_days", defaults::WEB_KEEP_EXPORTS_DAYS),
        require_reason: section.truth("require_reason", false),
        session_idle: section.duration("session_idle", defaults::WEB_SESSION_IDLE),
        session_lifetime: section.duration("session_lifetime", defaults::WEB_SESSION_LIFETIME),
        oidc,
    };
    if web.session_idle > web.session_lifetime {
        let key = section.key("session_idle");
        section.push(Mistake::at(key, "must not be longer than session_lifetime"));
    }
    section.finish();
    web
}

fn listen(section: &mut Section<'_>) -> SocketAddr {
    let default = SocketAddr::from(defaults::WEB_LISTEN);
    let Some(found) = section.take("listen") else { return default };
    match entry_text(&found).map(str::parse) {
        Ok(Ok(address)) => address,
        _ => {
            section.push(found.mistake("must be an IP address with a port, such as 127.0.0.1:9281"));
            default
        }
    }
}

/// A URL without a slash at the end. Plain HTTP is for this machine alone.
fn url(section: &mut Section<'_>, name: &'static str) -> Option<String> {
    let text = section.text(name)?;
    let right = match text.parse::<http::Uri>() {
        Ok(parsed) => {
            let host = parsed.host().unwrap_or_default();
            match parsed.scheme_str() {
                _ if host.is_empty() || parsed.query().is_some() || text.contains('@') => {
                    "must be a URL such as https://archive.example.com"
                }
                Some("https") => return Some(text.trim_end_matches('/').to_owned()),
                Some("http") if is_this_machine(host) => return Some(text.trim_end_matches('/').to_owned()),
                Some("http") => "must begin with https://, as it is not on this machine",
                _ => "must begin with https://",
            }
        }
        Err(_no_url) => "must be a URL such as https://archive.example.com",
    };
    let key = section.key(name);
    section.push(Mistake::at(key, right).with_text(&text));
    None
}

fn proxies(section: &mut Section<'_>) -> Vec<std::net::IpAddr> {
    let mut proxies = Vec::new();
    for found in section.list("trusted_proxies", defaults::WEB_PROXIES).unwrap_or_default() {
        match entry_text(&found).map(str::parse) {
            Ok(Ok(address)) => proxies.push(address),
            _ => section.push(found.mistake("must be an IP address")),
        }
    }
    proxies
}

fn store(section: &mut Section<'_>, stores: &[String]) -> String {
    let first = || stores.first().cloned().unwrap_or_else(|| defaults::STORE_NAME.to_owned());
    let Some(name) = section.text("store") else { return first() };
    if stores.contains(&name) {
        return name;
    }
    let key = section.key("store");
    section.push(Mistake::at(key, format!("names no store; there are {}", stores.join(", "))).with_text(&name));
    first()
}

/// An empty table asks no provider; one in which anything stands must be complete.
fn read_oidc(mut section: Section<'_>, remarks: &mut Remarks) -> Option<OidcConfig> {
    let roles = read_roles(section.table("roles"));
    let is_wanted = !section.is_empty() || !roles.is_empty();
    let issuer = issuer(&mut section);
    let client_id = section.text("client_id");
    let client_secret = optional_secret(&mut section, ["client_secret", "client_secret_file", "client_secret_env"], remarks);
    let tls_ca = section.text("tls_ca").map(PathBuf::from);
    let scopes = scopes(&mut section);
    let name_claim = section.text("name_claim").unwrap_or_else(|| defaults::OIDC_NAME_CLAIM.to_owned());
    let create = section.truth("create", false);
    let roles_claim = section.text("roles_claim");
    let clock_skew = section.duration("clock_skew", defaults::OIDC_CLOCK_SKEW);
    if is_wanted {
        require(&mut section, "issuer", issuer.is_some(), "must be the provider's issuer URL");
        require(&mut section, "client_id", client_id.is_some(), "must be what the provider calls this client");
        if roles_claim.is_none() && !roles.is_empty() {
            let key = section.key("roles_claim");
            section.push(Mistake::at(key, "missing; must name the claim that [web.oidc.roles] speaks of"));
        }
        if roles_claim.is_some() && roles.is_empty() {
            let key = section.key("roles");
            section.push(Mistake::at(key, "missing; must say which values of roles_claim give which role"));
        }
        if create && roles_claim.is_none() {
            let key = section.key("create");
            section.push(Mistake::at(key, "is true, so roles_claim must say which roles a new account gets"));
        }
    }
    section.finish();
    Some(OidcConfig {
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        tls_ca,
        scopes,
        name_claim,
        create,
        roles_claim,
        clock_skew,
        roles,
    })
}

/// Providers compare it to the letter, a slash at the end included.
fn issuer(section: &mut Section<'_>) -> Option<String> {
    let with_slash = |text: &str| text.ends_with('/');
    let found = section.peek_text("issuer").is_some_and(|text| with_slash(&text));
    let issuer = url(section, "issuer")?;
    Some(if found { format!("{issuer}/") } else { issuer })
}

fn scopes(section: &mut Section<'_>) -> Vec<String> {
    let Some(list) = section.list("scopes", defaults::OIDC_SCOPES_MOST) else {
        return defaults::OIDC_SCOPES.map(str::to_owned).to_vec();
    };
    let mut scopes = Vec::new();
    for found in list {
        match entry_text(&found) {
            Ok(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) => scopes.push(text.to_owned()),
            _ => section.push(found.mistake("must be the name of a scope, such as \"profile\"")),
        }
    }
    scopes
}

fn read_roles(mut section: Section<'_>) -> BTreeMap<&'static str, Vec<String>> {
    let mut roles = BTreeMap::new();
    for role in Role::ALL {
        let mut values = Vec::new();
        for found in section.list(role.word(), defaults::OIDC_ROLE_VALUES).unwrap_or_default() {
            match entry_text(&found) {
                Ok(text) if !text.is_empty() => values.push(text.to_owned()),
                _ => section.push(found.mistake("must be a value of roles_claim")),
            }
        }
        if !values.is_empty() {
            roles.insert(role.word(), values);
        }
    }
    section.finish();
    roles
}
