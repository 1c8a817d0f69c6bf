//! Checks of one IM node: its secret can be read, and it can be attached to.

use serde_json::Value;

use super::finding::{About, Findings};
use super::module;
use crate::canary::LogInError;
use crate::canary::client::Session;
use crate::component::{self, module::Presence};
use crate::config::{CanaryConfig, NodeConfig};

pub(super) async fn check(node: &NodeConfig, offline: bool, status: Option<&Value>, findings: &mut Findings) {
    let mut about = findings.about(format!("node {}", node.name));
    match node.secret.read() {
        Ok(_) => about.ok("secret", "can be read"),
        Err(error) => about.fail(
            "secret",
            format!("`{}` {error}", node.secret.key()),
            "make it readable for the user that runs the archiver, with the secret that the node has for this component",
        ),
    }
    canary(node, offline, &mut about).await;
    if offline {
        return;
    }
    let reported = report_of(status, &node.name);
    let state = reported.and_then(|report| report.get("state")).and_then(Value::as_str);
    match state {
        Some("online") => {
            about.ok("attach", "the archiver that runs with this configuration is attached");
            module::check(&reported.map(module::read).unwrap_or_default(), &mut about);
        }
        Some(state) => {
            let advice = "see `xmpp-archiver status` and the archiver's log for the reason";
            about.fail("attach", format!("an archiver runs with this configuration, and the node is {state}"), advice);
        }
        None => match probe_node(node).await {
            Ok(presence) => {
                about.ok("attach", format!("{} accepts the secret of {}", node.address, node.domain));
                module::check(&presence, &mut about);
            }
            Err((error, advice)) => about.fail("attach", format!("{}: {error}", node.address), advice),
        },
    }
}

/// How the node is doing with an archiver that runs: a second session would be refused, or take copies away from the first.
fn report_of<'s>(status: Option<&'s Value>, name: &str) -> Option<&'s Value> {
    let nodes = status?.get("nodes")?.as_array()?;
    nodes.iter().find(|node| node.get("name").and_then(Value::as_str) == Some(name))
}

/// Whether the node can be attached to: reached, secret accepted, nobody else there. The error comes with what to do.
async fn probe_node(node: &NodeConfig) -> Result<Presence, (String, String)> {
    let settings = crate::run::settings(node).map_err(|error| (error.to_string(), "make the secret readable".to_owned()))?;
    component::probe(&settings).await.map_err(|error| (error.to_string(), error.advice(&settings)))
}

/// Whether the account that writes probes can log in. That does no harm to one that writes already.
async fn canary(node: &NodeConfig, offline: bool, about: &mut About<'_>) {
    let Some(canary) = &node.canary else { return };
    let CanaryConfig { jid, address, .. } = canary;
    let password = match canary.password.read() {
        Ok(password) => password,
        Err(error) => {
            let found = format!("`{}` of the canary {error}", canary.password_key());
            return about.fail(
                "canary",
                found,
                format!("make it readable for the user that runs the archiver, with the password of {jid}"),
            );
        }
    };
    if offline {
        return about.ok("canary", "its password can be read");
    }
    let subject = format!("canary of node {}", node.name);
    match tokio::time::timeout(canary.timeout, Session::open(canary, &password, &subject)).await.unwrap_or(Err(LogInError::TooSlow)) {
        Ok(session) => {
            session.close().await;
            about.ok("canary", format!("{jid} can log in at {address}"));
        }
        Err(error) => about.fail("canary", format!("{jid} at {address}: {error}"), error.advice(canary)),
    }
}
