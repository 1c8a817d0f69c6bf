//! xmpp-archiver
pub mod message;
pub mod mirror;
pub mod node;
pub mod time;
pub mod xml;
