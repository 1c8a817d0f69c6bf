//! The configuration as an operator meets it: texts and variables in, settings or mistakes out.

use std::ffi::OsString;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::*;

/// The least that attaches to a node.
const NODE: &str = "[[node]]\naddress = \"127.0.0.1:5347\"\ndomain = \"archive.example.com\"\nsecret = \"change me\"\n";

const EXAMPLE: &str = include_str!("../../examples/archiver.toml");

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables: Vec<(OsString, OsString)> = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    Config::from_text(text, None, variables.into_iter())
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    load_with(text, &[])
}

fn mistakes(result: Result<Config, ConfigErrors>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(errors) => errors.mistakes.iter().map(Mistake::to_string).collect(),
    }
}

/// A node with further lines.
fn node(lines: &str) -> String {
    format!("{NODE}{lines}\n")
}

/// Loads the text and compares all mistakes.
fn check(text: &str, expected: &[&str]) {
    assert_eq!(mistakes(load(text)), expected, "{text}");
}

const DURATION: &str = "must be a duration such as \"10 s\" (units us, ms, s, min, h, d), from";
const SIZE: &str =
    "must be a size such as \"10 GiB\" (units B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), from";

#[test]
fn nothing_at_all_is_the_default_store_and_no_node() {
    let config = load("").unwrap();
    assert_eq!(config.stores.len(), 1);
    assert_eq!(config.store(None).unwrap().name, "default");
    assert_eq!(config.stores[0].url.to_string(), "sqlite:archive.sqlite");
    assert!(config.nodes.is_empty());
    let errors = config.require_nodes().unwrap_err().to_string();
    assert!(errors.contains("at least one [[node]]"), "{errors}");
    assert!(errors.contains("archiver.toml"), "{errors}");
}

#[test]
fn the_example_holds_exactly_the_defaults() {
    let example = load(EXAMPLE).unwrap();
    let least = load(NODE).unwrap();
    assert_eq!(
        example.effective_toml().unwrap(),
        least.effective_toml().unwrap()
    );
    assert!(example.notices.is_empty() && example.warnings.is_empty());
    assert_eq!(
        least.notices,
        ["node.0.hosts: not given, so example.com is taken, the parent of archive.example.com"]
    );
}

#[test]
fn the_example_names_every_option() {
    let with_all = node(
        "tls = true\ntls_ca = \"a\"\ntls_name = \"b\"\n[[store]]\nurl = \"postgres://db/a\"\ntls_ca = \"c\"",
    );
    let effective: toml::Table = load(&with_all)
        .unwrap()
        .effective_toml()
        .unwrap()
        .parse()
        .unwrap();
    let mut keys = vec!["secret_file".to_owned(), "secret_env".to_owned()];
    for (_, section) in &effective {
        let table = section.as_table().or_else(|| section[0].as_table());
        keys.extend(table.unwrap().keys().cloned());
    }
    assert!(keys.len() > 35, "{keys:?}");
    for key in keys {
        let there = EXAMPLE.lines().any(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.strip_prefix(&key)
                .is_some_and(|rest| rest.starts_with(" = "))
        });
        assert!(there, "{key}");
    }
}

#[test]
fn what_is_shown_loads_again() {
    let shown = load(EXAMPLE).unwrap().effective_toml().unwrap();
    assert_eq!(load(&shown).unwrap().effective_toml().unwrap(), shown);
}

#[test]
fn values_of_the_wrong_kind_are_told() {
    for (text, expected) in [
        ("spool = 1", "spool = 1: must be a table: [spool]"),
        (
            "store = \"x\"",
            "store = \"x\": must be tables, each headed [[store]]",
        ),
        (
            "store = [1]",
            "store.0 = 1: must be tables, each headed [[store]]",
        ),
        (
            "[node]\naddress = 1",
            "node: must be tables, each headed [[node]]",
        ),
        (
            "[spool]\npath = 1",
            "spool.path = 1: must be a text in quotes, not empty",
        ),
        (
            "[spool]\npath = \" \"",
            "spool.path = \" \": must be a text in quotes, not empty",
        ),
        (
            "[archive]\nreceipts = \"true\"",
            "archive.receipts = \"true\": must be true or false, without quotes",
        ),
        (
            "[archive]\nmarkers = 1",
            "archive.markers = 1: must be true or false, without quotes",
        ),
        (
            "[log]\nlevel = \"inform\"",
            "log.level = \"inform\": must be one of off, error, warn, info, debug, trace; did you mean \"info\"?",
        ),
        (
            "[log]\nlevel = 3",
            "log.level = 3: must be one of off, error, warn, info, debug, trace",
        ),
        (
            "[spool]\nwhen_full = \"stop\"",
            "spool.when_full = \"stop\": must be one of pause, drop",
        ),
        (
            "[[store]]\nurl = \"sqlite:a\"\npool = 0",
            "store.0.pool = 0: must be a whole number from 1 to 64",
        ),
        (
            "[[store]]\nurl = \"sqlite:a\"\npool = \"4\"",
            "store.0.pool = \"4\": must be a whole number from 1 to 64",
        ),
        (
            "[[store]]\nurl = \"sqlite:a\"\nbatch_messages = -1",
            "store.0.batch_messages = -1: must be a whole number from 1 to 100000",
        ),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn durations_and_sizes_have_bounds() {
    for (text, key, kind, bounds) in [
        (
            "[run]\nstatus_interval = \"5 ms\"",
            "run.status_interval = \"5 ms\"",
            DURATION,
            "100 ms to 3600 s",
        ),
        (
            "[run]\nshutdown_timeout = 0",
            "run.shutdown_timeout = 0",
            DURATION,
            "1 s to 3600 s",
        ),
        (
            "[archive]\njoin_window = \"long\"",
            "archive.join_window = \"long\"",
            DURATION,
            "1 s to 3600 s",
        ),
        (
            "[spool]\ncommit_delay = \"2 s\"",
            "spool.commit_delay = \"2 s\"",
            DURATION,
            "0 s to 1 s",
        ),
        (
            "[spool]\nlimit = \"10 GiBs\"",
            "spool.limit = \"10 GiBs\"",
            SIZE,
            "2 MiB to 1024 TiB",
        ),
        (
            "[spool]\nsegment = 1.5",
            "spool.segment = 1.5",
            SIZE,
            "1 MiB to 1 GiB",
        ),
    ] {
        check(text, &[&format!("{key}: {kind} {bounds}")]);
    }
    let small = node("max_stanza = \"1 KiB\"");
    check(
        &small,
        &[&format!(
            "node.0.max_stanza = \"1 KiB\": {SIZE} 1 MiB to 256 MiB"
        )],
    );
}

#[test]
fn unknown_keys_are_mistakes_and_their_values_stay_hidden() {
    for (text, expected) in [
        (
            "[spol]\npath = \"a\"",
            "spol: unknown; did you mean \"spool\"?",
        ),
        (
            "[spool]\nlimits = \"hunter2\"",
            "spool.limits: unknown; did you mean \"limit\"?",
        ),
        (
            "[run]\nx = 1",
            "run.x: unknown; known here are status_interval, shutdown_timeout",
        ),
        (
            &node("secret_fil = \"hunter2\""),
            "node.0.secret_fil: unknown; did you mean \"secret_file\"?",
        ),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn mistakes_in_a_node_are_told() {
    let address = "must be the node's component port as host:port, such as 127.0.0.1:5347";
    for (lines, expected) in [
        ("kind = \"ejaberd\"", "node.0.kind = \"ejaberd\": must be one of auto, ejabberd, prosody, openfire; did you mean \"ejabberd\"?".to_owned()),
        ("direction = \"outgoing\"", "node.0.direction = \"outgoing\": must be one of both, incoming".to_owned()),
        ("hosts = []", "node.0.hosts: must name at least one domain of users, such as [\"example.com\"]".to_owned()),
        ("hosts = \"example.com\"", "node.0.hosts = \"example.com\": must be a list of texts, such as [\"example.com\"]".to_owned()),
        ("hosts = [\"a\", 2]", "node.0.hosts.1 = 2: must be a text in quotes".to_owned()),
        ("hosts = [\"a..b\"]", "node.0.hosts.0 = \"a..b\": has an empty label; must be one such as example.com".to_owned()),
        ("hosts = [\"archive.example.com\"]", "node.0.hosts = \"archive.example.com\": is this component's own domain: leave it out".to_owned()),
        ("muc = [\"EXAMPLE.com.\"]", "node.0.muc = \"example.com\": stands in hosts too; must be the domain of rooms alone".to_owned()),
        ("trusted = [\"bob@example.com\"]", "node.0.trusted.0 = \"bob@example.com\": is not a domain (RFC 7622 section 3.2); must be one such as example.com".to_owned()),
        ("store = \"main\"", "node.0.store = \"main\": names no store; must be one of default".to_owned()),
        ("name = \"\"", "node.0.name = \"\": must be a text of 1 to 255 bytes on one line".to_owned()),
        ("tls_ca = \"a.pem\"", "node.0.tls_ca: has no meaning without tls = true".to_owned()),
        ("tls_name = \"a\"", "node.0.tls_name: has no meaning without tls = true".to_owned()),
        ("secret_file = \"hunter2\"", "node.0.secret: given twice; must be exactly one of secret, secret_file and secret_env".to_owned()),
    ] {
        check(&node(lines), &[&expected]);
    }
    for wrong in [
        "5347",
        "localhost",
        "localhost:0",
        "localhost:99999",
        ":5347",
        "::1:5347",
    ] {
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
        &[
            "node.0.hosts: missing; must name at least one domain of users, such as [\"example.com\"]",
        ],
    );
}

#[test]
fn mistakes_in_a_store_are_told() {
    for (text, expected) in [
        (
            "[[store]]",
            "store.0.url: missing; must be a URL such as sqlite:archive.sqlite",
        ),
        (
            "[[store]]\nurl = \"postgress://me:hunter2@db/a\"",
            "store.0.url = \"postgress:(hidden)\": must begin with one of sqlite:, postgres://, postgresql://, mysql://, mariadb://",
        ),
        (
            "[[store]]\nurl = \"hunter2\"",
            "store.0.url = \"(hidden)\": must begin with one of sqlite:, postgres://, postgresql://, mysql://, mariadb://",
        ),
        (
            "[[store]]\nurl = 5",
            "store.0.url: must be a text in quotes, not empty",
        ),
        (
            "[[store]]\nurl = \"sqlite:a\"\ntls_ca = \"a\"",
            "store.0.tls_ca: has no meaning for sqlite: leave it out",
        ),
        (
            "[[store]]\nurl = \"sqlite:a\"\nname = \"../a\"",
            "store.0.name = \"../a\": must be a name of a-z, 0-9, \"-\", \"_\" and \".\", beginning with a letter or digit",
        ),
        (
            "[[store]]\nurl = \"sqlite:a\"\n[[store]]\nurl = \"sqlite:b\"",
            "store.1.name = \"default\": is taken: must be unique",
        ),
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
    check(
        &two,
        &[
            "node.1.domain = \"archive.example.com\": is attached to at this address already: must be unique for each address",
        ],
    );
    let elsewhere = format!("{NODE}{}", NODE.replace("5347", "5348"));
    check(
        &elsewhere,
        &[
            "node.1.name = \"archive.example.com\": is taken: must be unique (without a name, the domain is the name)",
        ],
    );
    let stores = "[[store]]\nname = \"a\"\nurl = \"sqlite:a\"\n[[store]]\nname = \"b\"\nurl = \"sqlite:b\"\n";
    check(
        &format!("{NODE}{stores}"),
        &["node.0.store: missing; there are several stores, so must be one of a, b"],
    );
    check(
        &node("[spool]\nsegment = \"1 MiB\""),
        &["spool.segment: is 1 MiB; must be at least the largest max_stanza, 10 MiB"],
    );
    check(
        "[spool]\nlimit = \"100 MiB\"",
        &["spool.limit: is 100 MiB; must be at least two segments of 64 MiB"],
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let errors =
        load("[spool]\npth = 1\nlimit = \"x\"\n[log]\nlevel = \"loud\"\n[[node]]").unwrap_err();
    assert_eq!(errors.mistakes.len(), 6, "{errors}");
    let text = errors.to_string();
    assert!(
        text.starts_with("6 mistakes in the configuration"),
        "{text}"
    );
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
fn the_environment_goes_before_the_file() {
    let config = load_with(
        &node("hosts = [\"a.example\"]"),
        &[
            ("XMPP_ARCHIVER__SPOOL__PATH", "/var/spool/x"),
            ("XMPP_ARCHIVER__SPOOL__COMMIT_DELAY", "0"),
            ("XMPP_ARCHIVER__SPOOL__LIMIT", ""),
            ("XMPP_ARCHIVER__ARCHIVE__RECEIPTS", "true"),
            ("XMPP_ARCHIVER__STORE__DEFAULT__URL", "postgres://db/a"),
            ("XMPP_ARCHIVER__STORE__0__POOL", "8"),
            ("XMPP_ARCHIVER__NODE__0__HOSTS", "b.example, C.example"),
            (
                "XMPP_ARCHIVER__NODE__ARCHIVE_EXAMPLE_COM__SECRET_ENV",
                "THE_SECRET",
            ),
            ("OTHER__SPOOL__PATH", "no"),
        ],
    )
    .unwrap();
    assert_eq!(config.spool.path, PathBuf::from("/var/spool/x"));
    assert_eq!(config.spool.commit_delay, Duration::ZERO);
    assert_eq!(config.spool.limit, defaults::SPOOL_LIMIT.default);
    assert!(config.archive.receipts);
    assert_eq!(config.stores[0].url.to_string(), "postgres://db/a");
    assert_eq!(config.stores[0].pool, 8);
    assert_eq!(config.nodes[0].hosts, ["b.example", "c.example"]);
    assert!(matches!(&config.nodes[0].secret, SecretSource::Env(name) if name == "THE_SECRET"));
}

#[test]
fn the_environment_alone_is_enough() {
    let mut variables = Vec::new();
    for index in 0..12 {
        variables.push((
            format!("XMPP_ARCHIVER__NODE__{index}__DOMAIN"),
            format!("a.n{index}.example"),
        ));
        variables.push((
            format!("XMPP_ARCHIVER__NODE__{index}__ADDRESS"),
            "localhost:5347".to_owned(),
        ));
        variables.push((
            format!("XMPP_ARCHIVER__NODE__{index}__SECRET"),
            "hunter2".to_owned(),
        ));
    }
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let config = load_with("", &variables).unwrap();
    assert_eq!(config.nodes.len(), 12);
    assert_eq!(config.nodes[11].hosts, ["n11.example"]);
}

#[test]
fn mistakes_in_the_environment_name_it() {
    for (name, value, expected) in [
        (
            "SPOL__PATH",
            "a",
            "spol (from the environment): unknown; did you mean \"spool\"?",
        ),
        (
            "STORE__0__POOL",
            "many",
            "store.0.pool = \"many\" (from the environment): must be a whole number from 1 to 64",
        ),
        (
            "NODE__2__DOMAIN",
            "a.b",
            "node.2.domain (from the environment): there are only 1 of [[node]]",
        ),
        (
            "NODE__OTHER__SECRET",
            "hunter2",
            "node.other.secret (from the environment): names no entry; there are archive_example_com",
        ),
        (
            "NODE__0",
            "x",
            "node.0 (from the environment): must name an entry and its key: XMPP_ARCHIVER__NODE__0__NAME",
        ),
        (
            "NODE__0__SECRET__X",
            "hunter2",
            "node.0.secret.x (from the environment): unknown; \"secret\" is no table",
        ),
        (
            "NODE__0__SECRET_ENV",
            "hunter 2",
            "node.0.secret_env: must be the name of an environment variable, such as ARCHIVE_SECRET",
        ),
    ] {
        let name = format!("XMPP_ARCHIVER__{name}");
        assert_eq!(mistakes(load_with(NODE, &[(&name, value)])), [expected]);
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let text = format!(
        "{}[[store]]\nurl = \"postgres://me:hunter2@db/a?password=hunter2\"\n",
        NODE.replace("change me", "hunter2")
    );
    let config = load(&text).unwrap();
    let effective = config.effective_toml().unwrap();
    assert!(effective.contains("secret = \"(hidden)\""), "{effective}");
    assert!(
        effective.contains("postgres://me:(hidden)@db/a"),
        "{effective}"
    );
    for shown in [effective, format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert_eq!(
        config.nodes[0].secret.read().unwrap().expose_secret(),
        "hunter2"
    );
    let wrong = text.replace(
        "secret = \"hunter2\"",
        "secret = [\"hunter2\"]\nsecrets = \"hunter2\"",
    );
    let errors = load(&wrong).unwrap_err();
    assert!(
        !format!("{errors} {errors:?}").contains("hunter2"),
        "{errors}"
    );
}

#[test]
fn a_secret_is_read_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let source = SecretSource::File(path.clone());
    assert!(matches!(source.read(), Err(SecretError::File { .. })));
    std::fs::write(&path, "hunter2 \r\n").unwrap();
    assert_eq!(source.read().unwrap().expose_secret(), "hunter2 ");
    std::fs::write(&path, "\n").unwrap();
    assert!(matches!(source.read(), Err(SecretError::Empty)));
    std::fs::write(&path, "x".repeat(5000)).unwrap();
    assert!(matches!(source.read(), Err(SecretError::TooLarge(_))));
    let unset = SecretSource::Env("XMPP_ARCHIVER_TEST_NOT_SET".to_owned());
    assert!(matches!(unset.read(), Err(SecretError::NotSet(_))));
}

#[test]
fn secrets_that_cannot_be_read_stop_only_what_attaches() {
    let text = NODE.replace(
        "secret = \"change me\"",
        "secret_file = \"/nonexistent/secret\"",
    );
    let config = load(&text).unwrap();
    let errors = config.require_nodes().unwrap_err().to_string();
    assert!(
        errors.contains("node.0.secret_file: can't be read (/nonexistent/secret)"),
        "{errors}"
    );
}

#[cfg(unix)]
#[test]
fn a_readable_file_with_secrets_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archiver.toml");
    let without = NODE.replace("secret = \"change me\"", "secret_env = \"S\"");
    for (text, mode, warned) in [
        (NODE, 0o644, true),
        (NODE, 0o640, false),
        (without.as_str(), 0o644, false),
        ("[[store]]\nurl = \"mysql://me:x@db/a\"", 0o644, true),
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::load(Some(&path)).unwrap();
        assert_eq!(!config.warnings.is_empty(), warned, "{text} {mode:o}");
    }
}

#[test]
fn hundreds_of_hosts_are_folded_and_trusted() {
    let hosts: Vec<String> = (0..500)
        .map(|index| format!("\"H{index}.Example.\""))
        .collect();
    let config = load(&node(&format!(
        "hosts = [{}, \"h7.example\"]\ntrusted = [\"h1.example\", \"mirror.example\"]",
        hosts.join(", ")
    )))
    .unwrap();
    let node = &config.nodes[0];
    assert_eq!(node.hosts.len(), 500);
    assert_eq!(node.trusted.len(), 501);
    assert_eq!(node.trusted[500], "mirror.example");
    assert_eq!(
        config.warnings,
        ["node.0.hosts: h7.example stands there twice"]
    );
}

#[test]
fn the_certificate_name_is_the_host_unless_said() {
    let name = |address: &str, lines: &str| {
        let text = node(lines).replace("127.0.0.1:5347", address);
        load(&text).unwrap().nodes[0].tls_server_name().to_owned()
    };
    assert_eq!(name("XMPP.example.com:5347", ""), "xmpp.example.com");
    assert_eq!(name("[::1]:5347", ""), "::1");
    assert_eq!(
        name("10.0.0.1:5347", "tls = true\ntls_name = \"n.example\""),
        "n.example"
    );
}

#[test]
fn a_store_is_chosen_by_name() {
    let config = load(
        "[[store]]\nname = \"a\"\nurl = \"sqlite:a\"\n[[store]]\nname = \"b\"\nurl = \"sqlite:b\"",
    )
    .unwrap();
    assert_eq!(config.store(Some("b")).unwrap().name, "b");
    assert_eq!(
        config.store(None).unwrap_err().to_string(),
        "there are several stores: say --store with one of a, b"
    );
    assert_eq!(
        config.store(Some("c")).unwrap_err().to_string(),
        "there is no store \"c\"; configured are a, b"
    );
    assert_eq!(
        config.spool.directory(&config.stores[1]),
        PathBuf::from("spool/b")
    );
}
