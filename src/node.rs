//! What the archive knows of a node it is attached to: which domains it serves, whom it may believe, how it mirrors.

use std::collections::HashSet;

use crate::canary::Canaries;
use crate::message::address::Address;

/// How a node hands its stanzas on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Told from the copies themselves.
    #[default]
    Auto,
    /// ejabberd's mod_service_log: one copy as sent and one for each session that receives.
    Ejabberd,
    /// Prosody's mod_firewall: one copy as sent, one as delivered, none for each session.
    Prosody,
    /// Openfire's packet notification.
    Openfire,
}

/// The facts about one node that parsing, normalising and identity need.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The name in the configuration, and in the table `nodes`.
    pub name: String,
    /// The component's own domain.
    pub domain: String,
    /// The name of the node that this is a further feed of: another component domain to which the same node mirrors the same.
    pub same_as: Option<String>,
    /// Domains whose users live on this node.
    pub hosts: HashSet<String>,
    /// Domains of this node's group-chat services (XEP-0045).
    pub muc: HashSet<String>,
    /// Further domains whose mirror wrappers are believed.
    pub trusted: HashSet<String>,
    /// How it mirrors.
    pub kind: Kind,
    /// Whose messages are probes.
    pub canaries: Canaries,
    /// Whether only what arrives for the node's own users is archived.
    pub incoming_only: bool,
}

impl Node {
    /// The name of the node itself, whichever of its feeds this is.
    pub fn itself(&self) -> &str {
        self.same_as.as_deref().unwrap_or(&self.name)
    }

    /// Whether a mirror wrapper from this address is believed: a bare domain that the configuration names.
    pub fn trusts(&self, from: &str) -> bool {
        let known = |domain: &str| self.hosts.contains(domain) || self.muc.contains(domain) || self.trusted.contains(domain);
        known(from) || {
            let from = Address::parse(from);
            from.is_bare() && from.local().is_none() && known(&from.bare)
        }
    }

    /// Whether this is a user (or the host itself) of one of the node's own domains.
    pub fn is_local(&self, address: &Address) -> bool {
        self.hosts.contains(address.domain())
    }

    /// Whether this address is a room, or an occupant of one, of the node's own services.
    pub fn is_room(&self, address: &Address) -> bool {
        self.muc.contains(address.domain()) && address.local().is_some()
    }
}
