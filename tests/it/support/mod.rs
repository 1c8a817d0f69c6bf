//! Real servers, real clients and the archiver itself, for tests that compare what people did with what the archive holds.

pub(crate) mod archiver;
pub(crate) mod capture;
pub(crate) mod client;
pub(crate) mod compare;
pub(crate) mod component;
pub(crate) mod ejabberd;
pub(crate) mod ledger;
pub(crate) mod line;
pub(crate) mod mariadb;
pub(crate) mod mirrored;
pub(crate) mod mount;
pub(crate) mod node;
pub(crate) mod pipe;
pub(crate) mod played;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod prosody;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod scrape;
pub(crate) mod sink;
pub(crate) mod stage;
pub(crate) mod stanza;
pub(crate) mod stream;
pub(crate) mod template;
pub(crate) mod tls;
