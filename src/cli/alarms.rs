//! `alarms`: tries whether alarms reach people, and tells the running archiver that they were seen.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::{AlarmsAction, AlarmsArgs, ReportFormat};
use super::{Failure, connect, output, status, table};
use crate::alarm::{Change, Name};
use crate::component;
use crate::config::{Config, NodeConfig};
use crate::notify::{self, xmpp};
use crate::run::requests;

/// How long the running archiver may take to try every way.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often its answer is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs the command.
pub fn execute(config: &Config, args: AlarmsArgs) -> Result<(), Failure> {
    match args.action {
        AlarmsAction::Test { format } => test(config, format),
        AlarmsAction::Acknowledge { name, subject } => acknowledge(config, name, subject.as_deref()),
    }
}

fn acknowledge(config: &Config, name: Option<Name>, subject: Option<&str>) -> Result<(), Failure> {
    let Some(status) = status::running(config) else {
        return Err(Failure::Runtime("no archiver runs with this configuration".to_owned()));
    };
    let is_meant = |alarm: &&Value| {
        let has = |key: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| alarm.get(key).and_then(Value::as_str) == Some(wanted));
        has("name", name.map(Name::label)) && has("subject", subject)
    };
    let count = status.get("alarms").and_then(Value::as_array).map_or(0, |alarms| alarms.iter().filter(is_meant).count());
    if count == 0 {
        return Err(Failure::Usage("no such alarm is raised: see `xmpp-archiver status`".to_owned()));
    }
    ask(&requests::directory(&config.spool.path), &requests::acknowledge(name, subject, &token()?))?;
    output::print(&format!("{count} alarms are acknowledged.\n"))
}

fn test(config: &Config, format: ReportFormat) -> Result<(), Failure> {
    let tried = match status::running(config) {
        Some(_) => ask_for_test(&config.spool.path)?,
        None => connect::block_on(async { Ok(try_here(config).await) })?,
    };
    output::print(&match format {
        ReportFormat::Json => format!("{}\n", json!(tried)),
        ReportFormat::Table if tried.is_empty() => {
            "Alarms go to the log and to `status` alone: nothing else is configured in [alarm].\n".to_owned()
        }
        ReportFormat::Table => table::render(["WAY", "TO", "RESULT"], tried.iter().map(row)),
    })?;
    let has_failed = |one: &Value| one.get("error").is_some_and(|error| !error.is_null());
    if tried.iter().any(has_failed) { Err(Failure::ProblemFound) } else { Ok(()) }
}

fn row(tried: &Value) -> [String; 3] {
    let text = |key: &str| tried.get(key).and_then(Value::as_str).map(str::to_owned);
    let result = text("error").map_or_else(|| "sent".to_owned(), |error| format!("failed: {error}"));
    [text("way").unwrap_or_default(), text("to").unwrap_or_default(), result]
}

/// Has the running archiver try its ways, and waits for what it says.
fn ask_for_test(spools: &Path) -> Result<Vec<Value>, Failure> {
    let (directory, token) = (requests::directory(spools), token()?);
    ask(&directory, &requests::test(&token))?;
    let answer = directory.join(requests::answer(&token));
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Ok(text) = fs::read(&answer) {
            let _only_litter = fs::remove_file(&answer);
            return serde_json::from_slice(&text).map_err(|error| Failure::Runtime(format!("the archiver's answer: {error}")));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Err(Failure::Runtime(format!("the archiver did not answer within {} s", PATIENCE.as_secs())))
}

/// Leaves a request for the running archiver; `request` gives the file's name for a token.
pub(super) fn ask_for(config: &Config, request: impl FnOnce(&str) -> String) -> Result<(), Failure> {
    ask(&requests::directory(&config.spool.path), &request(&token()?))
}

fn ask(directory: &Path, request: &str) -> Result<(), Failure> {
    let file = directory.join(request);
    fs::write(&file, "").map_err(|error| Failure::Runtime(format!("the archiver can't be asked: {}: {error}", file.display())))
}

fn token() -> Result<String, Failure> {
    requests::token().map_err(|error| Failure::Runtime(error.to_string()))
}

/// Tries the ways from this process, since no archiver runs.
async fn try_here(config: &Config) -> Vec<Value> {
    let mut tried: Vec<Value> = notify::test_without_sessions(&config.alarm).await.into_iter().map(|one| json!(one)).collect();
    if !config.alarm.jids.is_empty() {
        let mut errors = Vec::new();
        for (node, jids) in shares(config) {
            errors.extend(send(node, &jids).await.err());
        }
        if config.nodes.is_empty() {
            errors.push("there is no [[node]] to send it through".to_owned());
        }
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        tried.push(json!({ "way": notify::Way::Xmpp.label(), "to": config.alarm.jids.join(", "), "error": error }));
    }
    tried
}

/// Which node takes the messages to whom: the JID's own, else the first.
fn shares(config: &Config) -> Vec<(&NodeConfig, Vec<&str>)> {
    let mut shares: Vec<(&NodeConfig, Vec<&str>)> = config.nodes.iter().map(|node| (node, Vec::new())).collect();
    for jid in &config.alarm.jids {
        let domain = jid.rsplit_once('@').map_or(jid.as_str(), |(_, domain)| domain);
        let own = config.nodes.iter().position(|node| node.hosts.iter().any(|host| host == domain)).unwrap_or(0);
        if let Some((_, jids)) = shares.get_mut(own) {
            jids.push(jid);
        }
    }
    shares.retain(|(_, jids)| !jids.is_empty());
    shares
}

async fn send(node: &NodeConfig, jids: &[&str]) -> Result<(), String> {
    let settings = crate::run::settings(node).map_err(|error| error.to_string())?;
    let messages: Vec<Vec<u8>> = jids.iter().map(|jid| xmpp::message(&node.domain, jid, &Change::test())).collect();
    component::send_once(&settings, &messages).await.map_err(|error| error.advice(&settings))
}
