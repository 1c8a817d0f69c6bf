//! Tests against real servers: Prosody and ejabberd with real clients, PostgreSQL and MariaDB, and the archiver's own program between them.
#![expect(clippy::indexing_slicing, reason = "a test that can't go on fails")]

mod access;
mod backfill;
mod canary;
mod captures;
mod direct;
mod exports;
mod faults;
mod federation;
mod fuzz;
mod gaps;
mod hostile;
mod identity;
mod meaning;
mod module_ejabberd;
mod module_prosody;
mod operation;
mod outages;
mod overlap;
mod replays;
mod rooms;
mod search;
mod servers;
mod stores;
mod support;
mod web;
