//! Each mistake and the words in which it is told.

use super::*;

const DURATION: &str = "must be a duration such as \"10 s\" (units us, ms, s, min, h, d), from";
const SIZE: &str = "must be a size such as \"10 GiB\" (units B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), from";

fn mistakes(result: Result<Config, ConfigErrors>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(errors) => errors.mistakes.iter().map(Mistake::to_string).collect(),
    }
}

/// Loads the text and compares all mistakes.
fn check(text: &str, expected: &[&str]) {
    assert_eq!(mistakes(load(text)), expected, "{text}");
}

#[test]
fn values_of_the_wrong_kind_are_told() {
    for (text, expected) in [
        ("spool = 1", "spool = 1: must be a table: [spool]"),
        ("store = \"x\"", "store = \"x\": must be tables, each headed [[store]]"),
        ("store = [1]", "store.0 = 1: must be tables, each headed [[store]]"),
        ("[node]\naddress = 1", "node: must be tables, each headed [[node]]"),
        ("[spool]\npath = 1", "spool.path = 1: must be a text in quotes, not empty"),
        ("[spool]\npath = \" \"", "spool.path = \" \": must be a text in quotes, not empty"),
        ("[archive]\nreceipts = \"true\"", "archive.receipts = \"true\": must be true or false, without quotes"),
        ("[archive]\nmarkers = 1", "archive.markers = 1: must be true or false, without quotes"),
        (
            "[log]\nlevel = \"inform\"",
            "log.level = \"inform\": must be one of off, error, warn, info, debug, trace; did you mean \"info\"?",
        ),
        ("[log]\nlevel = 3", "log.level = 3: must be one of off, error, warn, info, debug, trace"),
        ("[spool]\nwhen_full = \"stop\"", "spool.when_full = \"stop\": must be one of pause, drop"),
        ("[[store]]\nurl = \"sqlite:a\"\npool = 0", "store.0.pool = 0: must be a whole number from 1 to 64"),
        ("[[store]]\nurl = \"sqlite:a\"\npool = \"4\"", "store.0.pool = \"4\": must be a whole number from 1 to 64"),
        ("[[store]]\nurl = \"sqlite:a\"\nbatch_messages = -1", "store.0.batch_messages = -1: must be a whole number from 1 to 100000"),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn durations_and_sizes_have_bounds() {
    for (text, key, kind, bounds) in [
        ("[run]\nstatus_interval = \"5 ms\"", "run.status_interval = \"5 ms\"", DURATION, "100 ms to 3600 s"),
        ("[run]\nshutdown_timeout = 0", "run.shutdown_timeout = 0", DURATION, "1 s to 3600 s"),
        ("[archive]\njoin_window = \"long\"", "archive.join_window = \"long\"", DURATION, "1 s to 3600 s"),
        ("[spool]\ncommit_delay = \"2 s\"", "spool.commit_delay = \"2 s\"", DURATION, "0 s to 1 s"),
        ("[spool]\nlimit = \"10 GiBs\"", "spool.limit = \"10 GiBs\"", SIZE, "2 MiB to 1024 TiB"),
        ("[spool]\nsegment = 1.5", "spool.segment = 1.5", SIZE, "1 MiB to 1 GiB"),
    ] {
        check(text, &[&format!("{key}: {kind} {bounds}")]);
    }
    let small = node("max_stanza = \"1 KiB\"");
    check(&small, &[&format!("node.0.max_stanza = \"1 KiB\": {SIZE} 1 MiB to 15 MiB")]);
}

#[test]
fn unknown_keys_are_mistakes_and_their_values_stay_hidden() {
    for (text, expected) in [
        ("[spol]\npath = \"a\"", "spol: unknown; did you mean \"spool\"?"),
        ("[spool]\nlimits = \"hunter2\"", "spool.limits: unknown; did you mean \"limit\"?"),
        ("[run]\nx = 1", "run.x: unknown; known here are status_interval, shutdown_timeout"),
        (&node("secret_fil = \"hunter2\""), "node.0.secret_fil: unknown; did you mean \"secret_file\"?"),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn mistakes_in_a_node_are_told() {
    let address = "must be the node's component port as host:port, such as 127.0.0.1:5347";
    for (lines, expected) in [
        (
            "kind = \"ejaberd\"",
            "node.0.kind = \"ejaberd\": must be one of auto, ejabberd, prosody, openfire; did you mean \"ejabberd\"?".to_owned(),
        ),
        ("direction = \"outgoing\"", "node.0.direction = \"outgoing\": must be one of both, incoming".to_owned()),
        ("hosts = []", "node.0.hosts: must name at least one domain of users, such as [\"example.com\"]".to_owned()),
        ("hosts = \"example.com\"", "node.0.hosts = \"example.com\": must be a list of texts, such as [\"example.com\"]".to_owned()),
        ("hosts = [\"a\", 2]", "node.0.hosts.1 = 2: must be a text in quotes".to_owned()),
        ("hosts = [\"a..b\"]", "node.0.hosts.0 = \"a..b\": has an empty label; must be one such as example.com".to_owned()),
        (
            "hosts = [\"archive.example.com\"]",
            "node.0.hosts = \"archive.example.com\": is this component's own domain: leave it out".to_owned(),
        ),
        ("muc = [\"EXAMPLE.com.\"]", "node.0.muc = \"example.com\": stands in hosts too; must be the domain of rooms alone".to_owned()),
        (
            "trusted = [\"bob@example.com\"]",
            "node.0.trusted.0 = \"bob@example.com\": is not a domain (RFC 7622 section 3.2); must be one such as example.com".to_owned(),
        ),
        ("store = \"main\"", "node.0.store = \"main\": names no store; must be one of default".to_owned()),
        ("name = \"\"", "node.0.name = \"\": must be a text of 1 to 255 bytes on one line".to_owned()),
        ("tls_ca = \"a.pem\"", "node.0.tls_ca: has no meaning without tls = true".to_owned()),
        ("tls_name = \"a\"", "node.0.tls_name: has no meaning without tls = true".to_owned()),
        (
            "secret_file = \"hunter2\"",
            "node.0.secret: given more than once; must be exactly one of secret, secret_file and secret_env".to_owned(),
        ),
    ] {
        check(&node(lines), &[&expected]);
    }
    for wrong in ["5347", "localhost", "localhost:0", "localhost:99999", ":5347", "::1:5347"] {
        let text = NODE.replace("127.0.0.1:5347", wrong);
        check(&text, &[&format!("node.0.address = {wrong:?}: {address}")]);
    }
}

#[test]
fn an_empty_node_is_told_all_that_it_lacks() {
    check(
        "[[node]]",
        &[
            "node.0.domain: missing; must be this component's domain on the node, such as archive.example.com",
            "node.0.address: missing; must be the node's component port as host:port, such as 127.0.0.1:5347",
            "node.0.secret: missing; must be exactly one of secret, secret_file and secret_env",
        ],
    );
    check(
        &NODE.replace("archive.example.com", "archive"),
        &["node.0.hosts: missing; must name at least one domain of users, such as [\"example.com\"]"],
    );
}

#[test]
fn mistakes_in_a_store_are_told() {
    for (text, expected) in [
        ("[[store]]", "store.0.url: missing; must be a URL such as sqlite:archive.sqlite"),
        (
            "[[store]]\nurl = \"postgress://me:hunter2@db/a\"",
            "store.0.url = \"postgress:(hidden)\": must begin with one of sqlite:, postgres://, postgresql://, mysql://, mariadb://",
        ),
        (
            "[[store]]\nurl = \"hunter2\"",
            "store.0.url = \"(hidden)\": must begin with one of sqlite:, postgres://, postgresql://, mysql://, mariadb://",
        ),
        ("[[store]]\nurl = 5", "store.0.url: must be a text in quotes, not empty"),
        ("[[store]]\nurl = \"sqlite:a\"\ntls_ca = \"a\"", "store.0.tls_ca: has no meaning for sqlite: leave it out"),
        (
            "[[store]]\nurl = \"sqlite:a\"\nname = \"../a\"",
            "store.0.name = \"../a\": must be a name of a-z, 0-9, \"-\", \"_\" and \".\", beginning with a letter or digit",
        ),
        ("[[store]]\nurl = \"sqlite:a\"\n[[store]]\nurl = \"sqlite:b\"", "store.1.name = \"default\": is taken: must be unique"),
        (
            "[[store]]\nurl = \"sqlite:a\"\n[[store]]\nname = \"b\"\nurl = \"sqlite://a\"",
            "store.1.url: is the database of another store too: must be unique",
        ),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn mistakes_between_settings_are_told() {
    let two = format!("{NODE}{NODE}");
    check(&two, &["node.1.domain = \"archive.example.com\": is attached to at this address already: must be unique for each address"]);
    let further = |same: &str| format!("name = \"b\"\nsame_as = \"{same}\"\n");
    let next = NODE.replace("5347", "5348");
    let of_itself = format!("{NODE}{}", further("b"));
    let right = "must be the name of another entry for the same node, here or in another archiver's configuration";
    check(&of_itself, &[&format!("node.0.same_as = \"b\": {right}")]);
    let in_a_row = format!("{NODE}{}{next}name = \"c\"\nsame_as = \"b\"\n", further("a"));
    check(&in_a_row, &["node.1.same_as = \"b\": names an entry that has same_as itself; must be the first entry of the node"]);
    let elsewhere = format!("{NODE}{}", NODE.replace("5347", "5348"));
    check(&elsewhere, &["node.1.name = \"archive.example.com\": is taken: must be unique (without a name, the domain is the name)"]);
    let stores = "[[store]]\nname = \"a\"\nurl = \"sqlite:a\"\n[[store]]\nname = \"b\"\nurl = \"sqlite:b\"\n";
    check(&format!("{NODE}{stores}"), &["node.0.store: missing; there are several stores, so must be one of a, b"]);
    check(&node("[spool]\nsegment = \"1 MiB\""), &["spool.segment: is 1 MiB; must be at least the largest max_stanza, 10 MiB"]);
    check("[spool]\nlimit = \"100 MiB\"", &["spool.limit: is 100 MiB; must be at least two segments of 64 MiB"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let errors = load("[spool]\npth = 1\nlimit = \"x\"\n[log]\nlevel = \"loud\"\n[[node]]").unwrap_err();
    assert_eq!(errors.mistakes.len(), 6, "{errors}");
    let text = errors.to_string();
    assert!(text.starts_with("6 mistakes in the configuration"), "{text}");
    assert_eq!(text.lines().count(), 7);
}

#[test]
fn broken_toml_is_told_by_line_without_its_text() {
    let errors = load("[[node]]\nsecret = \"hunter2\naddress = 1").unwrap_err();
    let text = errors.to_string();
    assert!(text.contains("is not TOML: line 2: "), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_missing_file_is_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.toml");
    let errors = Config::load(Some(&path)).unwrap_err();
    assert!(errors.to_string().contains("can't be read"), "{errors}");
    let latin = directory.path().join("latin1.toml");
    std::fs::write(&latin, b"# \xe9").unwrap();
    let errors = Config::load(Some(&latin)).unwrap_err();
    assert!(errors.to_string().contains("must be UTF-8"), "{errors}");
}

#[test]
fn mistakes_in_the_environment_name_it() {
    for (name, value, expected) in [
        ("SPOL__PATH", "a", "spol (from the environment): unknown; did you mean \"spool\"?"),
        ("STORE__0__POOL", "many", "store.0.pool = \"many\" (from the environment): must be a whole number from 1 to 64"),
        ("NODE__2__DOMAIN", "a.b", "node.2.domain (from the environment): there are only 1 of [[node]]"),
        ("NODE__OTHER__SECRET", "hunter2", "node.other.secret (from the environment): names no entry; there are archive_example_com"),
        ("NODE__0", "x", "node.0 (from the environment): must name an entry and its key: XMPP_ARCHIVER__NODE__0__NAME"),
        ("NODE__0__SECRET__X", "hunter2", "node.0.secret.x (from the environment): unknown; \"secret\" is no table"),
        ("NODE__0__SECRET_ENV", "hunter 2", "node.0.secret_env: must be the name of an environment variable, such as ARCHIVE_SECRET"),
    ] {
        let name = format!("XMPP_ARCHIVER__{name}");
        assert_eq!(mistakes(load_with(NODE, &[(&name, value)])), [expected]);
    }
}

#[test]
fn mistakes_in_the_ways_for_alarms_are_told() {
    const MAILBOX: &str = "must be an address such as admin@example.com or \"Name <admin@example.com>\"";
    for (text, expected) in [
        ("webhook = \"alerts.example\"", vec!["alarm.webhook: must begin with http:// or https://".to_owned()]),
        ("webhook = \"ftp://a.example\"", vec!["alarm.webhook: must begin with http:// or https://".to_owned()]),
        (
            "webhook = \"https://me:hunter2@a.example\"",
            vec!["alarm.webhook: must hold no password: use webhook_secret, which is sent as a bearer token".to_owned()],
        ),
        (
            "webhook_secret = \"hunter2\"\nwebhook_secret_env = \"A\"",
            vec![
                "alarm.webhook_secret: given more than once; must be at most one of webhook_secret, webhook_secret_file and webhook_secret_env"
                    .to_owned(),
            ],
        ),
        (
            "jids = [\"a@b\", \"example.com\", \"a@b/c\"]",
            ["example.com", "a@b/c"]
                .iter()
                .zip(1..)
                .map(|(jid, index)| {
                    format!("alarm.jids.{index} = {jid:?}: must be the JID of a person, such as admin@example.com, without a resource")
                })
                .collect(),
        ),
        ("spool_high = 90", vec!["alarm.spool_high: is 90; must be below spool_nearly_full, 90".to_owned()]),
        (
            "[alarm.email]\nuser = \"me\"",
            vec![
                "alarm.email.server: missing; must be the mail server's host".to_owned(),
                "alarm.email.from: missing; must be the sender's address".to_owned(),
                "alarm.email.to: missing; must be a list of addresses".to_owned(),
                "alarm.email.user: and a password must be given together, or neither".to_owned(),
            ],
        ),
        (
            "[alarm.email]\nserver = \"mail.example\"\ntls = \"none\"\nfrom = \"nobody\"\nto = [\"two@@b\"]",
            vec![
                format!("alarm.email.to.0 = \"two@@b\": {MAILBOX}"),
                format!("alarm.email.from = \"nobody\": {MAILBOX}"),
                "alarm.email.tls: is none, which only a server on this machine may have, and mail.example is not localhost".to_owned(),
            ],
        ),
    ] {
        let told = mistakes(load(&format!("[alarm]\n{text}")));
        assert_eq!(told, expected, "{text}");
        assert!(!told.iter().any(|line| line.contains("hunter2")));
    }
}

#[test]
fn mistakes_in_a_canary_are_told_at_once() {
    const ACCOUNT: &str = "must be the JID of an account, such as canary@example.com, without a resource";
    let (missing, password) = (format!("missing; {ACCOUNT}"), "missing; must be exactly one of password, password_file and password_env");
    for (text, expected) in [
        ("every = \"60 s\"", vec![format!("jid: {missing}"), format!("password: {password}")]),
        (
            "jid = \"example.com\"\npassword = \"hunter2\"\npassword_env = \"A\"\nto = \"a@b/c\"",
            vec![
                format!("jid = \"example.com\": {ACCOUNT}"),
                format!("to = \"a@b/c\": {ACCOUNT}"),
                "password: given more than once; must be at most one of password, password_file and password_env".to_owned(),
            ],
        ),
        (
            "jid = \"a@elsewhere.example\"\npassword_file = \"hunter2\"\naddress = \"10.0.0.1:5222\"\ntls = \"none\"\ntls_ca = \"a\"\nevery = \"5 s\"",
            vec![
                "jid = \"a@elsewhere.example\": is no user of this node: its domain must stand in hosts".to_owned(),
                "tls: is none, with which tls_ca and tls_name have no meaning".to_owned(),
                "tls: is none, which only a server on this machine may have, and 10.0.0.1 is not localhost".to_owned(),
                "timeout: is 30 s; must not be longer than every, 5 s".to_owned(),
            ],
        ),
        (
            "jid = \"a@example.com\"\npasword = \"hunter2\"\naddress = \"here\"",
            vec![
                "address = \"here\": must be the node's port for clients as host:port, such as 127.0.0.1:5222".to_owned(),
                format!("password: {password}"),
                "pasword: unknown; did you mean \"password\"?".to_owned(),
            ],
        ),
    ] {
        let told = mistakes(load(&node(&format!("[node.canary]\n{text}"))));
        let expected: Vec<String> = expected.iter().map(|mistake| format!("node.0.canary.{mistake}")).collect();
        assert_eq!(told, expected, "{text}");
        assert!(!told.iter().any(|line| line.contains("hunter2")));
    }
}

#[test]
fn the_http_port_stays_on_this_machine() {
    let told = mistakes(load("[http]\nlisten = \"0.0.0.0:9280\""));
    assert!(told[0].starts_with("http.listen = \"0.0.0.0:9280\": can be reached from other machines"), "{told:?}");
    check("[http]\nlisten = \"localhost\"", &["http.listen = \"localhost\": must be an IP address with a port, such as 127.0.0.1:9280"]);
    for fine in ["listen = \"127.0.0.1:9280\"", "listen = \"[::1]:0\"", "listen = \"0.0.0.0:1\"\nallow_remote = true"] {
        check(&format!("[http]\n{fine}"), &[]);
    }
}

#[test]
fn mistakes_in_the_console_are_told() {
    for (text, expected) in [
        ("[web]\nlisten = \"here\"", "web.listen = \"here\": must be an IP address with a port, such as 127.0.0.1:9281"),
        (
            "[web]\nlisten = \"0.0.0.0:1\"",
            "web.listen = \"0.0.0.0:1\": can be reached from other machines, where passwords must not go without TLS; set tls_cert and \
             tls_key, or allow_remote = true if a proxy before it speaks TLS",
        ),
        ("[web]\ntls_cert = \"a\"", "web.tls_key: missing; tls_cert and tls_key must be given together"),
        (
            "[web]\npublic_url = \"http://a.example\"",
            "web.public_url = \"http://a.example\": must begin with https://, as it is not on this machine",
        ),
        ("[web]\npublic_url = \"a.example\"", "web.public_url = \"a.example\": must begin with https://"),
        (
            "[web]\npublic_url = \"https://a@b.example\"",
            "web.public_url = \"https://a@b.example\": must be a URL such as https://archive.example.com",
        ),
        ("[web]\nstore = \"b\"", "web.store = \"b\": names no store; there are default"),
        ("[web]\nsession_idle = \"12 h\"", "web.session_idle: must not be longer than session_lifetime"),
        ("[web]\nsession_idle = \"1 s\"", &format!("web.session_idle = \"1 s\": {DURATION} 60 s to 86400 s")),
        ("[web]\ntrusted_proxies = [\"a\"]", "web.trusted_proxies.0 = \"a\": must be an IP address"),
        ("[web.oidc]\nissuer = \"https://a.example\"", "web.oidc.client_id: missing; must be what the provider calls this client"),
        (
            "[web.oidc.roles]\nroot = [\"a\"]",
            "web.oidc.roles.root: unknown; known here are operator, reviewer, officer, auditor, administrator",
        ),
    ] {
        let told = mistakes(load(text));
        assert!(told.contains(&expected.to_owned()), "{text}: {told:?}");
    }
    let provider = "[web.oidc]\nissuer = \"https://a.example\"\nclient_id = \"b\"\n";
    for (lines, expected) in [
        ("create = true", "web.oidc.create: is true, so roles_claim must say which roles a new account gets"),
        ("roles_claim = \"groups\"", "web.oidc.roles: missing; must say which values of roles_claim give which role"),
        ("[web.oidc.roles]\nofficer = [\"a\"]", "web.oidc.roles_claim: missing; must name the claim that [web.oidc.roles] speaks of"),
        (
            "client_secret = \"hunter2\"\nclient_secret_file = \"a\"",
            "web.oidc.client_secret: given more than once; must be at most one of client_secret, client_secret_file and client_secret_env",
        ),
    ] {
        check(&format!("{provider}{lines}"), &[expected]);
    }
}
