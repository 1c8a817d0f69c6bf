//! The configuration as an operator meets it: texts and variables in, settings or mistakes out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::*;

mod mistakes;

/// The least that attaches to a node.
const NODE: &str = "[[node]]\naddress = \"127.0.0.1:5347\"\ndomain = \"archive.example.com\"\nsecret = \"change me\"\n";

const EXAMPLE: &str = include_str!("../../../examples/archiver.toml");

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables: Vec<(OsString, OsString)> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Config::from_text(text, None, variables.into_iter())
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    load_with(text, &[])
}

/// A node with further lines.
fn node(lines: &str) -> String {
    format!("{NODE}{lines}\n")
}

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
    assert_eq!(example.effective_toml().unwrap(), least.effective_toml().unwrap());
    assert!(example.notices.is_empty() && example.warnings.is_empty());
    assert_eq!(least.notices, ["node.0.hosts: not given, so example.com is taken, the parent of archive.example.com"]);
}

#[test]
fn the_example_names_every_option() {
    let with_all = node(
        "tls = true\ntls_ca = \"a\"\ntls_name = \"b\"\nsame_as = \"c\"\n[node.canary]\njid = \"canary@example.com\"\npassword = \"d\"\nto = \"e@example.com\"\n\
         tls_ca = \"f\"\ntls_name = \"g\"\n[[store]]\nurl = \"postgres://db/a\"\ntls_ca = \"c\"\n[http]\nlisten = \"127.0.0.1:1\"",
    ) + WITH_WAYS
        + WITH_PROVIDER
        + WITH_EXPORT;
    let effective: toml::Table = load(&with_all).unwrap().effective_toml().unwrap().parse().unwrap();
    let more = ["secret_file", "secret_env", "webhook_secret_file", "webhook_secret_env", "password_file", "password_env"];
    let mut keys: Vec<String> = more.map(str::to_owned).to_vec();
    keys.extend(["client_secret_file", "client_secret_env"].map(str::to_owned));
    keys.extend(["secret_access_key_file", "secret_access_key_env", "session_token_file", "session_token_env"].map(str::to_owned));
    let inner = ["email", "oidc", "roles", "canary", "mail", "s3"];
    let tables = [
        &effective["alarm"]["email"],
        &effective["web"]["oidc"],
        &effective["web"]["oidc"]["roles"],
        &effective["node"][0]["canary"],
        &effective["export"][0]["mail"],
        &effective["export"][1]["s3"],
    ];
    for table in tables {
        keys.extend(table.as_table().unwrap().keys().filter(|key| !inner.contains(&key.as_str())).cloned());
    }
    for (_, section) in &effective {
        let table = section.as_table().or_else(|| section[0].as_table());
        keys.extend(table.unwrap().keys().filter(|key| !inner.contains(&key.as_str())).cloned());
    }
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        let there = EXAMPLE.lines().any(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.strip_prefix(&key).is_some_and(|rest| rest.starts_with(" = "))
        });
        assert!(there, "{key}");
    }
}

/// Alarms by every way.
const WITH_WAYS: &str = "[alarm]\nwebhook = \"https://hooks.example/hunter2\"\nwebhook_secret = \"hunter2\"\nwebhook_tls_ca = \"a\"\njids = [\"Admin@Example.com\"]\n\
    [alarm.email]\nserver = \"mail.example\"\ntls = \"tls\"\ntls_ca = \"b\"\nuser = \"me\"\npassword = \"hunter2\"\nfrom = \"Archive <a@b.example>\"\nto = [\"c@d.example\"]\n";

/// Exports by the clock, one of them by mail, one for a bucket.
const WITH_EXPORT: &str = "[[export]]\nname = \"journal\"\npath = \"a\"\nquery = \"room=tea%40rooms.example&has=file\"\nat = \"23:30\"\nzone = \"Europe/Berlin\"\n\
    [export.mail]\nserver = \"mail.example\"\nuser = \"me\"\npassword = \"hunter2\"\nfrom = \"a@b.example\"\nto = [\"journal@d.example\"]\n\
    [[export]]\npath = \"b\"\n\
    [export.s3]\nendpoint = \"https://s3.example\"\nbucket = \"vault\"\naccess_key_id = \"me\"\nsecret_access_key = \"hunter2\"\nsession_token = \"hunter2\"\n\
    lock = \"compliance\"\nretain_days = 30\ntls_ca = \"a\"\n";

#[test]
fn exports_by_the_clock_are_read() {
    let config = load(WITH_EXPORT).unwrap();
    let [journal, plain] = config.exports.as_slice() else { panic!("{:?}", config.exports) };
    assert_eq!((journal.format, journal.at.to_string()), (crate::export::Format::Eml, "23:30:00".to_owned()));
    assert_eq!((plain.name.as_str(), plain.query.as_str(), plain.zone.as_str()), ("export", "", "UTC"));
    assert_eq!((plain.format, plain.at.to_string()), (crate::export::Format::Jsonl, "02:00:00".to_owned()));
    let effective = config.effective_toml().unwrap();
    assert!(!effective.contains("hunter2"));
    assert_eq!(load(&effective).unwrap().effective_toml().unwrap(), effective);
    for (wrong, key) in [
        ("[[export]]", "export.0.path"),
        ("[[export]]\npath = \"a\"\nquery = \"from=yesterday\"", "export.0.query"),
        ("[[export]]\npath = \"a\"\nquery = \"who=a@@b\"", "export.0.query"),
        ("[[export]]\npath = \"a\"\nat = \"25:00\"", "export.0.at"),
        ("[[export]]\npath = \"a\"\nzone = \"Moon\"", "export.0.zone"),
        ("[[export]]\npath = \"a\"\nstore = \"none\"", "export.0.store"),
        ("[[export]]\npath = \"a\"\n[[export]]\npath = \"b\"", "export.1.name"),
        ("[[export]]\npath = \"a\"\n[[export]]\nname = \"b\"\npath = \"a\"", "export.1.path"),
        (
            "[[export]]\npath = \"a\"\nformat = \"pdf\"\n[export.mail]\nserver = \"localhost\"\nfrom = \"a@b.example\"\nto = [\"c@d.example\"]",
            "export.0.format",
        ),
    ] {
        let said = load(wrong).unwrap_err().to_string();
        assert!(said.contains(key), "{wrong}: {said}");
    }
}

#[test]
fn a_bucket_is_read() {
    let bucket = load(WITH_EXPORT).unwrap().exports.remove(1).s3.unwrap();
    assert_eq!((bucket.place().as_str(), bucket.region.as_str(), bucket.retain_days), ("s3://vault/export", "us-east-1", Some(30)));
    assert!(bucket.path_style && !bucket.legal_hold && bucket.lock == S3Lock::Compliance);
    let with = |lines: &str| {
        format!(
            "[[export]]\npath = \"a\"\n[export.s3]\nendpoint = \"https://s3.example:9000/\"\nbucket = \"vault\"\naccess_key_id = \"me\"\n\
             secret_access_key_env = \"S3_SECRET\"\n{lines}"
        )
    };
    let least = load(&with("prefix = \"/a/b/\"")).unwrap().exports.remove(0).s3.unwrap();
    assert_eq!(
        (least.place().as_str(), least.endpoint.as_str(), least.lock),
        ("s3://vault/a/b", "https://s3.example:9000", S3Lock::Bucket)
    );
    for (wrong, key) in [
        ("[[export]]\npath = \"a\"\n[export.s3]\nregion = \"x\"".to_owned(), "export.0.s3.secret_access_key: missing"),
        (with("secret_access_key = \"b\""), "export.0.s3.secret_access_key: given more than once"),
        (with("retain_days = 3"), "export.0.s3.retain_days: is decided by the bucket"),
        (with("lock = \"governance\""), "export.0.s3.retain_days: missing"),
        (with("lock = \"none\""), "export.0.s3.lock"),
        (with("part_size = \"1 MiB\""), "export.0.s3.part_size"),
        (with("prefix = \"a/../b\""), "export.0.s3.prefix"),
        (with("").replace("https", "http"), "export.0.s3.endpoint: is without TLS"),
        (with("").replace("example:9000/", "example/path"), "export.0.s3.endpoint: must be the server's URL"),
        (with("").replace("vault", "a/b"), "export.0.s3.bucket"),
        (with("[export.mail]\nserver = \"localhost\"\nfrom = \"a@b.example\"\nto = [\"c@d.example\"]"), "export.0.s3: stands beside mail"),
        (with("prefix = \"p\"\n") + &with("prefix = \"p\"").replace("path = \"a\"", "name = \"b\"\npath = \"b\""), "export.1.s3.prefix"),
    ] {
        let said = load(&wrong).unwrap_err().to_string();
        assert!(said.contains(key), "{wrong}: {said}");
    }
    for right in
        [with("").replace("https://s3.example:9000", "http://127.0.0.1:9000"), with("allow_plain_http = true").replace("https", "http")]
    {
        load(&right).unwrap();
    }
}

/// The console with a provider.
const WITH_PROVIDER: &str = "[web]\ntls_cert = \"a\"\ntls_key = \"b\"\n[web.oidc]\nissuer = \"https://login.example/\"\nclient_id = \"x\"\nclient_secret = \"hunter2\"\n\
    tls_ca = \"c\"\ncreate = true\nroles_claim = \"groups\"\n[web.oidc.roles]\noperator = [\"a\"]\nreviewer = [\"b\"]\nofficer = [\"c\", \"d\"]\nauditor = [\"e\"]\nadministrator = [\"f\"]\n";

#[test]
fn a_provider_is_read() {
    let config = load(WITH_PROVIDER).unwrap();
    assert!(config.web.has_tls() && config.web.is_secure());
    assert_eq!(config.web.public_url, "https://127.0.0.1:9281");
    let effective = config.effective_toml().unwrap();
    assert!(effective.contains("client_secret = \"(hidden)\"") && !effective.contains("hunter2"), "{effective}");
    assert_eq!(load(&effective).unwrap().effective_toml().unwrap(), effective);
    let oidc = config.web.oidc.unwrap();
    assert_eq!(oidc.issuer, "https://login.example/");
    let roles = |values: &[&str]| {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        oidc.roles_of(&values).unwrap().to_string()
    };
    assert_eq!((roles(&["d", "e", "z"]).as_str(), roles(&["z"]).as_str()), ("officer, auditor", ""));
    assert!(load("").unwrap().web.oidc.is_none());
    assert!(!load("").unwrap().web.is_secure());
    assert_eq!(load("[[store]]\nname = \"b\"\nurl = \"sqlite:b\"").unwrap().web.store, "b");
}

#[test]
fn ways_for_alarms_are_read() {
    let config = load(WITH_WAYS).unwrap();
    let email = config.alarm.email.as_ref().unwrap();
    assert_eq!((email.port, email.tls, email.to.as_slice()), (465, EmailTls::Tls, ["c@d.example".to_owned()].as_slice()));
    assert_eq!(config.alarm.jids, ["admin@example.com"]);
    let effective = config.effective_toml().unwrap();
    assert!(effective.contains("webhook_secret = \"(hidden)\"") && effective.contains("password = \"(hidden)\""), "{effective}");
    let secret = config.alarm.webhook_secret.unwrap();
    assert_eq!(secret.read().unwrap().expose_secret(), "hunter2");
    assert!(!format!("{:?}", load(WITH_WAYS)).replace("hooks.example/hunter2", "").contains("hunter2"));
    assert!(load("").unwrap().alarm.email.is_none());
}

const CANARY: &str = "[node.canary]\njid = \"Canary@Example.com\"\npassword = \"hunter2\"\n";

#[test]
fn a_canary_logs_in_where_the_node_is() {
    let config = load(&node(CANARY)).unwrap();
    let canary = config.nodes[0].canary.as_ref().unwrap();
    assert_eq!((canary.jid.as_str(), canary.to(), canary.domain()), ("canary@example.com", "canary@example.com", "example.com"));
    assert_eq!((canary.address.as_str(), canary.tls), ("127.0.0.1:5222", CanaryTls::Starttls));
    assert_eq!((canary.every, canary.timeout), (Duration::from_secs(60), Duration::from_secs(30)));
    let effective = config.effective_toml().unwrap();
    assert!(effective.contains("password = \"(hidden)\"") && !format!("{effective}{config:?}").contains("hunter2"), "{effective}");
    let direct = load(&node(&format!("{CANARY}tls = \"tls\"\nto = \"b@other.example\"\nevery = 5\ntimeout = \"5 s\""))).unwrap();
    let canary = direct.nodes[0].canary.as_ref().unwrap();
    assert_eq!((canary.address.as_str(), canary.to()), ("127.0.0.1:5223", "b@other.example"));
    assert!(load(NODE).unwrap().nodes[0].canary.is_none() && load(&node("[node.canary]")).unwrap().nodes[0].canary.is_none());
}

#[test]
fn a_canary_from_the_environment() {
    let variables =
        [("XMPP_ARCHIVER__NODE__0__CANARY__JID", "c@example.com"), ("XMPP_ARCHIVER__NODE__0__CANARY__PASSWORD_ENV", "NOT_SET_ANYWHERE")];
    let config = load_with(&node(CANARY), &variables).unwrap();
    assert_eq!(config.nodes[0].canary.as_ref().unwrap().jid, "c@example.com");
    let errors = config.require_nodes().unwrap_err().to_string();
    assert!(errors.contains("node.0.canary.password_env: names the variable NOT_SET_ANYWHERE, which is not set"), "{errors}");
}

#[test]
fn a_password_from_the_environment_replaces_the_files() {
    let config = load_with(WITH_WAYS, &[("XMPP_ARCHIVER__ALARM__EMAIL__PASSWORD_ENV", "MAIL_PASSWORD")]).unwrap();
    assert!(matches!(config.alarm.email.unwrap().password, Some(SecretSource::Env(name)) if name == "MAIL_PASSWORD"));
}

#[test]
fn exports_from_the_environment() {
    let variables = [
        ("XMPP_ARCHIVER__EXPORT__JOURNAL__AT", "03:00"),
        ("XMPP_ARCHIVER__EXPORT__1__FORMAT", "csv"),
        ("XMPP_ARCHIVER__EXPORT__1__S3__SECRET_ACCESS_KEY_ENV", "S3_KEY"),
        ("XMPP_ARCHIVER__EXPORT__1__S3__SESSION_TOKEN_FILE", "/run/token"),
        ("XMPP_ARCHIVER__EXPORT__2__PATH", "c"),
        ("XMPP_ARCHIVER__EXPORT__2__NAME", "third"),
    ];
    let config = load_with(WITH_EXPORT, &variables).unwrap();
    let [journal, plain, third] = config.exports.as_slice() else { panic!("{:?}", config.exports) };
    assert_eq!((journal.at.hour(), plain.format, third.path.as_path()), (3, crate::export::Format::Csv, Path::new("c")));
    let bucket = plain.s3.as_ref().unwrap();
    assert!(matches!(&bucket.secret_access_key, SecretSource::Env(name) if name == "S3_KEY"));
    assert!(matches!(&bucket.session_token, Some(SecretSource::File(path)) if path == Path::new("/run/token")));
}

#[test]
fn what_is_shown_loads_again() {
    let shown = load(EXAMPLE).unwrap().effective_toml().unwrap();
    assert_eq!(load(&shown).unwrap().effective_toml().unwrap(), shown);
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
            ("XMPP_ARCHIVER__NODE__ARCHIVE_EXAMPLE_COM__SECRET_ENV", "THE_SECRET"),
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
        variables.push((format!("XMPP_ARCHIVER__NODE__{index}__DOMAIN"), format!("a.n{index}.example")));
        variables.push((format!("XMPP_ARCHIVER__NODE__{index}__ADDRESS"), "localhost:5347".to_owned()));
        variables.push((format!("XMPP_ARCHIVER__NODE__{index}__SECRET"), "hunter2".to_owned()));
    }
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = load_with("", &variables).unwrap();
    assert_eq!(config.nodes.len(), 12);
    assert_eq!(config.nodes[11].hosts, ["n11.example"]);
}

#[test]
fn no_secret_is_ever_shown() {
    let text = format!("{}[[store]]\nurl = \"postgres://me:hunter2@db/a?password=hunter2\"\n", NODE.replace("change me", "hunter2"));
    let config = load(&text).unwrap();
    let effective = config.effective_toml().unwrap();
    assert!(effective.contains("secret = \"(hidden)\""), "{effective}");
    assert!(effective.contains("postgres://me:(hidden)@db/a"), "{effective}");
    for shown in [effective, format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert_eq!(config.nodes[0].secret.read().unwrap().expose_secret(), "hunter2");
    let wrong = text.replace("secret = \"hunter2\"", "secret = [\"hunter2\"]\nsecrets = \"hunter2\"");
    let errors = load(&wrong).unwrap_err();
    assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
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
    let text = NODE.replace("secret = \"change me\"", "secret_file = \"/nonexistent/secret\"");
    let config = load(&text).unwrap();
    let errors = config.require_nodes().unwrap_err().to_string();
    assert!(errors.contains("node.0.secret_file: can't be read (/nonexistent/secret)"), "{errors}");
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
    let hosts: Vec<String> = (0..500).map(|index| format!("\"H{index}.Example.\"")).collect();
    let config =
        load(&node(&format!("hosts = [{}, \"h7.example\"]\ntrusted = [\"h1.example\", \"mirror.example\"]", hosts.join(", ")))).unwrap();
    let node = &config.nodes[0];
    assert_eq!(node.hosts.len(), 500);
    assert_eq!(node.trusted.len(), 501);
    assert_eq!(node.trusted[500], "mirror.example");
    assert_eq!(config.warnings, ["node.0.hosts: h7.example stands there twice"]);
}

#[test]
fn the_certificate_name_is_the_host_unless_said() {
    let name = |address: &str, lines: &str| {
        let text = node(lines).replace("127.0.0.1:5347", address);
        load(&text).unwrap().nodes[0].tls_server_name().to_owned()
    };
    assert_eq!(name("XMPP.example.com:5347", ""), "xmpp.example.com");
    assert_eq!(name("[::1]:5347", ""), "::1");
    assert_eq!(name("10.0.0.1:5347", "tls = true\ntls_name = \"n.example\""), "n.example");
}

#[test]
fn a_store_is_chosen_by_name() {
    let config = load("[[store]]\nname = \"a\"\nurl = \"sqlite:a\"\n[[store]]\nname = \"b\"\nurl = \"sqlite:b\"").unwrap();
    assert_eq!(config.store(Some("b")).unwrap().name, "b");
    assert_eq!(config.store(None).unwrap_err().to_string(), "there are several stores: say --store with one of a, b");
    assert_eq!(config.store(Some("c")).unwrap_err().to_string(), "there is no store \"c\"; configured are a, b");
    assert_eq!(config.spool.directory(&config.stores[1]), PathBuf::from("spool/b"));
}
