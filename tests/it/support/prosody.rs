//! Prosody as an operator runs it, with the stock mirror (`mod_firewall` forwards each message once as it is sent and once as it is delivered) or with
//! our module.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::node::{Keeps, Mirror, Node, Peer, Plan};
use super::process::{Directory, User, command as dying_command, program};

/// Writes the configuration, the rules of the mirror and the users' accounts.
pub(crate) fn prepare(plan: &Plan) -> Directory {
    let directory = Directory::new(User::first_of(&["prosody", "nobody"]));
    directory.make("data");
    directory.write("prosody.cfg.lua", &configuration(plan, &directory));
    directory.write("mirror.pfw", &mirror_rules(&plan.archives()));
    directory.write("mod_peers.lua", &peers_module(&plan.peers));
    if let Mirror::Module(_) = plan.mirror {
        copy_module(&directory);
    }
    let host = plan.host.replace('.', "%2e");
    directory.make(&format!("data/{host}"));
    directory.make(&format!("data/{host}/accounts"));
    for user in Node::USERS {
        let account = format!("return {{ [\"password\"] = \"{}\" }};\n", Node::PASSWORD);
        directory.write(&format!("data/{host}/accounts/{user}.dat"), &account);
    }
    directory.give_all("data");
    directory
}

/// Where this repository has the module; a server that runs as another user may not be allowed to look there.
fn module_source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node-modules/prosody/mod_xmpp_archiver")
}

fn copy_module(directory: &Directory) {
    directory.make("mod_xmpp_archiver");
    for file in std::fs::read_dir(module_source()).expect("the module") {
        let file = file.expect("a file of the module");
        let text = std::fs::read_to_string(file.path()).expect("text");
        directory.write(&format!("mod_xmpp_archiver/{}", file.file_name().display()), &text);
    }
    directory.write("mod_saboteur.lua", SABOTEUR);
}

/// Makes the mirror fail: at its turn, messages that say so hold what no serialiser can take.
const SABOTEUR: &str = r#"
local function is_target(event) return (event.stanza:get_child_text("body") or ""):find("sabotage", 1, true); end
for _, event in ipairs { "pre-message/bare", "pre-message/full", "message/bare", "message/full" } do
  module:hook(event, function (event) if is_target(event) then event.stanza.attr.broken = {}; end end, -0.89);
  module:hook(event, function (event) event.stanza.attr.broken = nil; end, -0.91);
end
"#;

/// The mirror's part of the configuration: a module for all hosts, what else is for all, and what is for the host of the users.
fn mirror_configuration(plan: &Plan, directory: &Directory) -> [String; 3] {
    match &plan.mirror {
        Mirror::Stock => {
            let rules = directory.path().join("mirror.pfw");
            [
                String::new(),
                String::new(),
                format!(
                    "modules_enabled = {{ \"firewall\"; \"peers\"; \"xmpp_archiver_mam\"; }}\nfirewall_scripts = {{ \"{}\" }}\n",
                    rules.display()
                ),
            ]
        }
        Mirror::Module(settings) => {
            let all = format!("xmpp_archiver_component = \"{}\"\n{settings}", plan.archive());
            ["\"xmpp_archiver\";".to_owned(), all, "modules_enabled = { \"peers\"; \"saboteur\"; }\n".to_owned()]
        }
    }
}

pub(crate) fn command(directory: &Directory) -> Command {
    let prosody = program("prosody").expect("prosody is not installed: run script/test");
    let mut command = dying_command(directory.user(), prosody);
    command.current_dir(directory.path().join("data"));
    command.env("HOME", directory.path().join("data")).arg("-F");
    command.arg("--config").arg(directory.path().join("prosody.cfg.lua"));
    command
}

/// Whether Prosody listens on all of its ports; `Some(false)` when one of them was taken, which it does not mind.
pub(crate) fn is_up(output: &Path, ports: &[u16]) -> Option<bool> {
    let log = std::fs::read(output).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let listens = |port: &u16| log.contains(&format!("on [127.0.0.1]:{port}\n"));
    match () {
        () if log.contains("Failed to open server port") => Some(false),
        () => ports.iter().all(listens).then_some(true),
    }
}

/// Without `RULEDEP=st` the version in Debian 12 has an error in the code that it makes of these rules, and drops the messages.
fn mirror_rules(archives: &[String]) -> String {
    let others: String = archives.iter().map(|archive| format!("NOT TO: {archive}\nNOT FROM: {archive}\n")).collect();
    let rule = |archive: &String| format!("KIND: message\n{others}RULEDEP=st\nFORWARD={archive}\n\n");
    let rule: String = archives.iter().map(rule).collect();
    format!("::preroute\n{rule}\n::deliver\n{rule}")
}

/// Where the servers of other domains are: what DNS would say, had our servers any.
fn peers_module(peers: &[Peer]) -> String {
    let entry = |peer: &Peer| format!("[\"{}\"] = {}; ", peer.domain, peer.port);
    let peers: String = peers.iter().map(entry).collect();
    format!(
        r#"
local ports = {{ {peers} }}
local manual = require "net.resolvers.manual"
local service = require "net.resolvers.service"
local look_up = service.new
function service.new(domain, ...)
  local port = ports[domain]
  if port then return manual.new({{ {{ "tcp", "127.0.0.1", port }} }}) end
  return look_up(domain, ...)
end
"#
    )
}

/// Our own modules, where the server may read them.
fn own_modules(directory: &Directory) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("node-modules/prosody-mam/mod_xmpp_archiver_mam.lua");
    let text = std::fs::read_to_string(source).expect("our module");
    directory.make("modules");
    directory.write("modules/mod_xmpp_archiver_mam.lua", &text);
    directory.path().join("modules")
}

/// The file with the archives of a Prosody that keeps them in SQLite, in its data directory.
pub(crate) const ARCHIVE_FILE: &str = "archives.sqlite";

fn storage(plan: &Plan, directory: &Directory) -> String {
    let by_sql = |parameters: &str| {
        format!("storage = {{ default = \"internal\"; archive = \"sql\"; muc_log = \"sql\" }}\nsql = {{ {parameters} }}")
    };
    match &plan.keeps {
        Keeps::Itself => "storage = \"internal\"".to_owned(),
        Keeps::Sqlite => {
            by_sql(&format!("driver = \"SQLite3\"; database = \"{}\"", directory.path().join("data").join(ARCHIVE_FILE).display()))
        }
        Keeps::Postgres(_) => panic!("Prosody's driver for PostgreSQL is not among what the tests install"),
    }
}

fn configuration(plan: &Plan, directory: &Directory) -> String {
    let at = |name: &str| directory.path().join(name).display().to_string();
    let rooms = plan.rooms();
    let component = |archive: String| format!("\nComponent \"{archive}\"\n  component_secret = \"{}\"\n", Node::SECRET);
    let components: String = plan.archives().into_iter().map(component).collect();
    let own_modules = own_modules(directory);
    let [module, for_all, for_users] = mirror_configuration(plan, directory);
    format!(
        r#"
pidfile = "{pid}"
data_path = "{data}"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
plugin_paths = {{ "/usr/lib/prosody/modules", "{plugins}", "{own_modules}" }}
xmpp_archiver_mam_components = {{ "{backfill}" }}
xmpp_archiver_mam_page = 7
interfaces = {{ "127.0.0.1" }}
local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {client_port} }}
s2s_ports = {{ {server_port} }}
component_ports = {{ {component_port} }}
component_interfaces = {{ "127.0.0.1" }}
http_ports = {{ }}
https_ports = {{ }}
c2s_require_encryption = false
s2s_require_encryption = false
s2s_secure_auth = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
{storage}
max_archive_query_results = 200
modules_enabled = {{
  "roster"; "saslauth"; "disco"; "ping"; "time"; "version"; "blocklist"; "carbons"; "mam"; "smacks"; "dialback"; "offline"; {module}
}}
modules_disabled = {{ "tls"; }}
smacks_hibernation_time = 60
{for_all}

VirtualHost "{host}"
{for_users}

Component "{rooms}" "muc"
  modules_enabled = {{ "muc_mam"; "xmpp_archiver_mam"; }}
  muc_log_by_default = true
  muc_room_default_history_length = 20
{components}
Component "{backfill}"
  component_secret = "{secret}"
"#,
        pid = at("data/pid"),
        data = at("data"),
        plugins = at("."),
        own_modules = own_modules.display(),
        backfill = plan.backfill(),
        client_port = plan.client_port,
        server_port = plan.server_port,
        component_port = plan.component_port,
        host = plan.host,
        storage = storage(plan, directory),
        secret = Node::SECRET,
    )
}
