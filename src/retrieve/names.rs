//! The names of what the tables hold as numbers.

use crate::message::content::{Kind, flags};

/// Number of a record that could not be read.
const UNREADABLE: i16 = 99;

/// XEP-0334 hints by their flag.
pub(crate) const HINTS: [(i32, &str); 4] = [
    (flags::NO_STORE, "no-store"),
    (flags::NO_PERMANENT_STORE, "no-permanent-store"),
    (flags::NO_COPY, "no-copy"),
    (flags::STORE, "store"),
];

/// `messages.kind`.
pub fn kind(number: i16) -> &'static str {
    if number == UNREADABLE { "unreadable" } else { Kind::name_of(number) }
}

/// `messages.type`.
pub fn message_type(number: i16) -> &'static str {
    match number {
        0 => "normal",
        1 => "chat",
        2 => "groupchat",
        3 => "headline",
        4 => "error",
        _ => "unknown",
    }
}

/// `messages.direction`.
pub fn direction(number: i16) -> &'static str {
    match number {
        1 => "incoming",
        2 => "outgoing",
        3 => "internal",
        _ => "unknown",
    }
}

/// `messages.via`.
pub fn via(number: i16) -> &'static str {
    match number {
        1 => "live",
        2 => "replay",
        3 => "import",
        4 => "backfill",
        _ => "unknown",
    }
}

/// `deliveries.direction`.
pub fn delivery_direction(number: i16) -> &'static str {
    match number {
        1 => "sent",
        2 => "received",
        _ => "unknown",
    }
}

/// `deliveries.source`. That of a direct copy whose direction the mirror told has a number of its own.
pub fn source(number: i16) -> &'static str {
    match number {
        1 | 8 => "direct",
        2 => "carbon",
        3 => "late",
        4 => "history",
        5 => "archive",
        6 => "into-room",
        7 => "from-room",
        _ => "unknown",
    }
}
