//! Who may look at the archive: accounts, sessions, tokens and the audit trail, the same on each database; the commands; a provider of OpenID Connect.

mod command;
mod contract;
mod guards;
mod provider;
mod signing;
mod stage;
