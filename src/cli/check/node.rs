//! Checks of one IM node: its secret can be read, and it can be attached to.

use tokio::net::TcpStream;

use super::finding::Findings;
use crate::config::NodeConfig;

pub(super) async fn check(node: &NodeConfig, offline: bool, findings: &mut Findings) {
    let mut about = findings.about(format!("node {}", node.name));
    match node.secret.read() {
        Ok(_) => about.ok("secret", "can be read"),
        Err(error) => about.fail(
            "secret",
            format!("`{}` {error}", node.secret.key()),
            "make it readable for the user that runs the archiver, with the secret that the node has for this component",
        ),
    }
    if offline {
        return;
    }
    match probe_node(node).await {
        Ok(()) => about.ok("attach", format!("{} answers", node.address)),
        Err(error) => {
            let advice = "check `address`, that the node listens there for components (XEP-0114), and the firewall between";
            about.fail("attach", format!("{}: {error}", node.address), advice);
        }
    }
}

/// Whether the node can be reached; its address is looked up on the way.
async fn probe_node(node: &NodeConfig) -> Result<(), String> {
    match tokio::time::timeout(node.connect_timeout, TcpStream::connect(&node.address)).await {
        Ok(Ok(_connected)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {:?}", node.connect_timeout)),
    }
}
