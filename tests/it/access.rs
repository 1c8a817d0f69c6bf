//! Who may look at the archive: accounts, sessions, tokens and the audit trail, the same on each database; the commands; providers of OpenID
//! Connect, one of our own and one that others wrote.

mod command;
mod company;
mod contract;
mod guards;
mod provider;
mod signing;
mod stage;
