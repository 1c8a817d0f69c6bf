//! The open compliance archive for instant messaging.
//!
//! # The path of a message
//!
//! An IM node mirrors each stanza of its users to a component that attaches to it over XEP-0114. That component is us.
//!
//! 1. A session with the node's component port reads the stream, finds where each stanza begins and ends, and answers pings.
//!    It knows sockets; nothing after it does.
//! 2. The intake looks just far enough into the stanza to tell whether it is worth keeping, and hands its bytes, as they
//!    were received, to the spool.
//! 3. The spool makes them durable on the local disk, many at a time. From here on nothing is lost, whatever happens to
//!    the database or to this process.
//! 4. The pipeline takes records from the spool in order. The mirror's wrapper is recognised and taken off; the message
//!    inside is normalised: who, whom, when, what. Policy says whether it is archived, and why.
//! 5. Identity decides which copies are one message. A copy is never thrown away: it becomes a delivery of its message.
//! 6. The store writes messages and deliveries in one transaction, together with how far the spool is done. Only then is
//!    the spool's record released. A spool replayed any number of times gives the same rows.
//! 7. Whoever searches, shows or exports reads them back. An export walks conversation by conversation, and is released only when
//!    what was written is as much as the query finds.
//!
//! The modules stand in that order: the configuration first, the command line that starts it all last.

pub mod alarm;
pub mod certificate;
pub mod config;
pub mod gap;
pub mod logging;
pub mod node;
pub mod stats;
pub mod tally;
pub mod time;
pub mod tls;
pub mod words;
pub mod xml;

pub mod component;

pub mod intake;

pub mod mirror;

pub mod message;

pub mod policy;

pub mod spool;

pub mod identity;

pub mod store;

pub mod pipeline;

pub mod notify;

pub mod canary;

pub mod history;
pub mod metrics;

pub mod run;

pub mod access;
pub mod demo;
pub mod indexer;
pub mod reconcile;
pub mod retrieve;

pub mod export;
pub mod web;

pub mod cli;
