//! A node of our own, and people who talk through it.
//!
//! Everything that is needed to see the archive at work on a machine that has no IM server:
//!
//! - [`node`] plays the server's side of the component port (XEP-0114) on loopback. The demonstration attaches the
//!   real pipeline to it, the tests script it, and the benches feed through it.
//! - [`corpus`] is a small firm's week of conversation, written out as the copies that ejabberd's `mod_service_log`
//!   mirrors, together with the truth about them: which copies are one message.
//! - [`load`] writes an endless stream of plausible chat, fast enough never to be the bottleneck of a measurement.
//! - [`frame`] cuts the component's side of the stream into stanzas for `node`.
//! - [`run`] puts node, corpus and the real daemon together for the command `demo`, and [`truth`] holds what the daemon archived
//!   against what the corpus knows.

pub mod corpus;
pub mod frame;
pub mod load;

pub mod node;

pub mod run;
pub mod truth;
