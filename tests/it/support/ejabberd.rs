//! ejabberd as an operator runs it, with the stock mirror `mod_service_log` or with our module, built from source.
//!
//! Debian's `ejabberdctl` insists on one system-wide instance with a name in the Erlang port mapper. We start the same program without a node
//! name: it then takes no part in Erlang's distribution, and listens on nothing but the ports of its configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::node::{Keeps, Mirror, Node, Plan};
use super::process::{Directory, User, command as dying_command, program, run};

/// What our start-up expression prints when the server runs and its users exist.
const UP: &str = "the node is up";

/// Writes the configuration; the users are made by the start-up expression.
pub(crate) fn prepare(plan: &Plan) -> Directory {
    let directory = Directory::new(User::first_of(&["ejabberd", "nobody"]));
    directory.make("data");
    if plan.mirror != Mirror::Stock {
        install_module(&directory);
    }
    directory.write("ejabberd.yml", &configuration(plan));
    directory.write("start.erl", &start_expression(&plan.host));
    directory
}

/// Where our module is, of a node that has it.
pub(crate) const MODULE: &str = "ebin";

fn install_module(directory: &Directory) {
    let beams = directory.make(MODULE);
    let mut install = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/node-modules/ejabberd/install.sh"));
    install.arg("--into").arg(&beams);
    run(install);
    directory.give_all(MODULE);
}

pub(crate) fn command(directory: &Directory) -> Command {
    let at = |name: &str| directory.path().join(name);
    let erl = program("erl").expect("Erlang is not installed: run script/test");
    let start = std::fs::read_to_string(at("start.erl")).expect("the start-up expression");
    let mut command = dying_command(directory.user(), erl);
    command.current_dir(at("data")).env("HOME", at("data"));
    command.env("ERL_LIBS", libraries());
    command.env("EJABBERD_CONFIG_PATH", at("ejabberd.yml"));
    command.env("EJABBERD_LOG_PATH", at("data/ejabberd.log"));
    command.env("ERL_CRASH_DUMP_SECONDS", "0");
    command.arg("-pa").arg(at(MODULE));
    command.args(["-noinput", "+sbwt", "none", "-mnesia", "dir"]);
    command.arg(format!("\"{}\"", at("data").display()));
    command.args(["-eval", start.trim()]);
    command
}

/// Whether ejabberd is ready; `Some(false)` when one of its ports was taken.
pub(crate) fn is_up(output: &Path) -> Option<bool> {
    let log = std::fs::read(output).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if log.contains("Failed to open socket") { Some(false) } else { log.contains(UP).then_some(true) }
}

/// The directory of Erlang libraries that holds ejabberd.
fn libraries() -> PathBuf {
    let has_ejabberd = |directory: &PathBuf| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("ejabberd-"))
    };
    let below_lib = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut candidates = below_lib.map(|entry| entry.path());
    candidates.find(has_ejabberd).expect("ejabberd is not installed: run script/test")
}

/// Registering a user a second time, after a restart, fails and does no harm.
fn start_expression(host: &str) -> String {
    let users: Vec<String> = Node::USERS.iter().map(|user| format!("<<\"{user}\">>")).collect();
    format!(
        "{{ok,_}}=application:ensure_all_started(ejabberd), \
         [ejabberd_auth:try_register(U,<<\"{host}\">>,<<\"{password}\">>) || U <- [{users}]], \
         io:format(\"{UP}~n\").",
        password = Node::PASSWORD,
        users = users.join(",")
    )
}

/// For any component: were its domains listed (`hosts`), a connection would be given all of them, and two would share the copies of each.
fn listener(port: u16) -> String {
    format!("  - port: {port}\n    ip: \"127.0.0.1\"\n    module: ejabberd_service\n    password: \"{}\"\n", Node::SECRET)
}

fn configuration(plan: &Plan) -> String {
    let rooms = plan.rooms();
    let each = |line: &str| -> String { plan.archives().iter().map(|archive| line.replace("ARCHIVE", archive)).collect() };
    let components: String = std::iter::once(plan.component_port).chain(plan.further_ports.iter().copied()).map(listener).collect();
    let domains = each("    - server: \"ARCHIVE\"\n");
    let mirror = match &plan.mirror {
        Mirror::Stock => format!("  mod_service_log:\n    loggers:\n{}", each("      - ARCHIVE\n")),
        Mirror::Module(settings) => format!("  mod_xmpp_archiver:\n    component: {}\n{settings}", plan.archive()),
    };
    format!(
        r#"
hosts:
  - {host}
loglevel: info
{sql}listen:
  - port: {client_port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 2000000
    access: all
  - port: {server_port}
    ip: "127.0.0.1"
    module: ejabberd_s2s_in
    max_stanza_size: 2000000
{components}acl:
  backfill:
    server: "{backfill}"
  archive:
{domains}access_rules:
  servers:
    - deny: archive
    - deny: backfill
    - allow
  rooms:
    - allow: backfill
s2s_access: servers
s2s_use_starttls: false
outgoing_s2s_families: [ipv4]
outgoing_s2s_port: {peer_port}
modules:
  mod_blocking: {{}}
  mod_caps: {{}}
  mod_carboncopy: {{}}
  mod_disco: {{}}
  mod_mam:
    default: always
{mam}    assume_mam_usage: true
  mod_muc:
    host: {rooms}
    access: all
    access_create: all
    access_admin: rooms
    default_room_options:
      mam: true
    history_size: 20
  mod_offline: {{}}
  mod_ping: {{}}
  mod_privacy: {{}}
  mod_pubsub:
    plugins: [flat, pep]
  mod_roster: {{}}
  mod_s2s_dialback: {{}}
{mirror}  mod_stream_mgmt:
    resend_on_timeout: true
    resume_timeout: 60
"#,
        host = plan.host,
        backfill = plan.backfill(),
        client_port = plan.client_port,
        server_port = plan.server_port,
        peer_port = plan.peers.first().map_or(5269, |peer| peer.port),
        sql = sql(plan),
        mam = if matches!(plan.keeps, Keeps::Postgres(_)) { "    db_type: sql\n" } else { "" },
    )
}

/// Where its SQL storage is; the tables are made from the schema that comes with it.
fn sql(plan: &Plan) -> String {
    let Keeps::Postgres(database) = &plan.keeps else { return String::new() };
    let schema = std::fs::read_to_string("/usr/share/ejabberd/sql/pg.sql").expect("ejabberd's schema");
    // A start that failed may have made them already.
    database.query(&format!("DROP SCHEMA public CASCADE; CREATE SCHEMA public;\n{schema}"));
    format!(
        "sql_type: pgsql\nsql_server: \"127.0.0.1\"\nsql_port: {}\nsql_database: \"{}\"\nsql_username: \"{}\"\nsql_password: \"{}\"\nsql_pool_size: 2\n",
        database.server.port(),
        database.name,
        super::postgres::USER,
        super::postgres::PASSWORD,
    )
}
