//! The tables as Diesel sees them: one declaration for SQLite, PostgreSQL and MySQL.
//!
//! Written by hand and kept in step with `migrations/`, since no single database can print it: SQLite
//! knows one integer type, and MySQL has hash columns of its own that nobody else needs to see. So only
//! types that mean the same on all three occur here, and neither a date, a boolean nor an unsigned number.
//! Times are microseconds since the Unix epoch, UTC. What the numbers of an enumeration mean stands with
//! each column, and in `migrations/README.md`.
//!
//! No database enforces the references between tables, so that `messages` and what hangs on it can be
//! partitioned later. Where a table names several JIDs, no `joinable!` can choose one: join `jids` with
//! an explicit `on` and an alias.

diesel::table! {
    /// Dictionary of bare JIDs, normalised as RFC 7622 says.
    jids (id) {
        /// The number that stands for this JID everywhere else.
        id -> Integer,
        /// Bare JID, normalised, XEP-0106 escapes kept as they were sent.
        jid -> Text,
    }
}

diesel::table! {
    /// IM nodes that mirror to this archive.
    nodes (id) {
        /// The number that stands for this node everywhere else.
        id -> SmallInt,
        /// Name of the node in the configuration.
        name -> Text,
    }
}

diesel::table! {
    /// Dictionary of conversations: a room, or two people.
    conversation_names (id) {
        /// The number that stands for this conversation in messages.
        id -> Integer,
        /// 1 direct (two people), 2 room.
        kind -> SmallInt,
        /// jids.id of the room, or of the JID that sorts first.
        first_id -> Nullable<Integer>,
        /// jids.id of the JID that sorts second, NULL for a room.
        second_id -> Nullable<Integer>,
        /// The room JID, or both bare JIDs sorted and joined by one space.
        name -> Text,
    }
}

diesel::table! {
    /// Every archived message, once. Rows are only ever added.
    messages (id) {
        /// Number of the message: given by the writer without gaps, in the order of commits.
        id -> BigInt,
        /// When it was sent: the trusted delay stamp of its origin, else its arrival (microseconds since 1970,
        /// UTC).
        sent_at -> BigInt,
        /// When its first copy reached the archive (microseconds since 1970, UTC).
        received_at -> BigInt,
        /// messages.id of the message that this one corrects, retracts, reacts to or answers, when it is known.
        refers_to -> Nullable<BigInt>,
        /// conversation_names.id.
        conversation_id -> Integer,
        /// jids.id of the real sender, NULL when only the nick is known.
        sender_id -> Nullable<Integer>,
        /// jids.id of the addressee, in a room the room.
        recipient_id -> Nullable<Integer>,
        /// Sum of: 1 encrypted, 2 no-store hint, 4 no-permanent-store hint, 8 no-copy hint, 16 store hint, 32
        /// XML not namespace-well-formed, 64 body is only a fallback text, 128 author does not match that of
        /// the message referred to, 256 room private message, 512 origin_id is the same as stanza_id.
        flags -> Integer,
        /// nodes.id of the node that mirrored the first copy.
        node_id -> SmallInt,
        /// 1 message, 2 subject, 3 correction, 4 retraction, 5 moderation, 6 reaction, 7 invitation, 8
        /// invitation declined, 9 call, 10 receipt, 11 marker, 12 chat state, 13 file, 14 reply, 99 unreadable.
        kind -> SmallInt,
        /// Type of the stanza: 0 normal, 1 chat, 2 groupchat, 3 headline, 4 error.
        #[sql_name = "type"]
        type_ -> SmallInt,
        /// 0 unknown, 1 incoming (remote to local), 2 outgoing (local to remote), 3 internal (local to local).
        direction -> SmallInt,
        /// How it came to be known: 1 live, 2 replay, 3 import, 4 backfill.
        via -> SmallInt,
        /// Hash of what all copies of one message share, not unique, since people do say the same thing twice.
        content_key -> Binary,
        /// Resource that the sender wrote from.
        sender_resource -> Nullable<Text>,
        /// Nick of the sender in the room.
        sender_nick -> Nullable<Text>,
        /// Resource that the message was addressed to.
        recipient_resource -> Nullable<Text>,
        /// Nick of the recipient of a room private message.
        recipient_nick -> Nullable<Text>,
        /// The id attribute of the stanza.
        stanza_id -> Nullable<Text>,
        /// XEP-0359 origin-id, NULL when there is none or, as flag 512 says, it is the same as stanza_id.
        origin_id -> Nullable<Text>,
        /// Thread (RFC 6121, section 5.2.5).
        thread -> Nullable<Text>,
        /// Subject.
        subject -> Nullable<Text>,
        /// xml:lang of the body.
        lang -> Nullable<Text>,
        /// The id that the stanza itself names as the message it refers to.
        refers_to_id -> Nullable<Text>,
        /// What is particular to the kind, as JSON: emoji, link, password-protected room, call.
        detail -> Nullable<Text>,
        /// Text of the message as it was sent.
        body -> Nullable<Text>,
        /// The stanza exactly as it was received: one format byte, then the bytes (migrations/README.md).
        xml -> Binary,
    }
}

diesel::table! {
    /// Every copy of every message that a node showed: who got it, where and when. Rows are only ever added.
    deliveries (message_id, seq) {
        /// messages.id.
        message_id -> BigInt,
        /// When this copy reached the archive (microseconds since 1970, UTC).
        at -> BigInt,
        /// Number of the copy within its message, from 0.
        seq -> Integer,
        /// jids.id of the account that this copy went to.
        recipient_id -> Nullable<Integer>,
        /// nodes.id of the node that mirrored this copy.
        node_id -> SmallInt,
        /// 0 unknown, 1 sent, 2 received.
        direction -> SmallInt,
        /// 1 direct copy, 2 carbon (XEP-0280), 3 late copy (offline or XEP-0198), 4 room history, 5 archive
        /// result (XEP-0313), 6 into the room, 7 from the room to an occupant, 8 direct copy whose direction
        /// the mirror told.
        source -> SmallInt,
        /// Which send this copy belongs to when equal messages could not be told apart, from 1.
        send_no -> SmallInt,
        /// Resource that this copy went to.
        resource -> Nullable<Text>,
        /// The stanza of this copy, NULL when it is that of an earlier copy but for its to attribute.
        xml -> Nullable<Binary>,
    }
}

diesel::table! {
    /// Exact names of a message, by which later copies and replays are recognised.
    message_keys (message_id, key) {
        /// messages.id.
        message_id -> BigInt,
        /// jids.id of the room, account or node that gave the name.
        by_id -> Nullable<Integer>,
        /// 1 stanza-id (XEP-0359), 2 ref given by the mirror.
        kind -> SmallInt,
        /// Hash of the kind, by and value: what look-ups use.
        key -> Binary,
        /// The name itself.
        value -> Text,
    }
}

diesel::table! {
    /// Errors that came back for messages (RFC 6120, section 8.3).
    bounces (id) {
        /// Number of the bounce.
        id -> BigInt,
        /// messages.id of the message that bounced, NULL when it is not known.
        message_id -> Nullable<BigInt>,
        /// When the error reached the archive (microseconds since 1970, UTC).
        at -> BigInt,
        /// jids.id of who sent the error.
        from_id -> Nullable<Integer>,
        /// jids.id of who it went to.
        to_id -> Nullable<Integer>,
        /// nodes.id of the node that mirrored it.
        node_id -> SmallInt,
        /// The id attribute of the error, which is that of the message.
        stanza_id -> Nullable<Text>,
        /// Defined condition, such as service-unavailable.
        condition -> Text,
        /// Explanation in words.
        text -> Nullable<Text>,
        /// The error stanza: one format byte, then the bytes.
        xml -> Binary,
    }
}

diesel::table! {
    /// Rooms that were seen.
    rooms (jid_id) {
        /// jids.id of the room.
        jid_id -> Integer,
        /// 0 unknown, 1 persistent, 2 ad hoc.
        kind -> SmallInt,
        /// When the room was first seen (microseconds since 1970, UTC).
        first_seen_at -> BigInt,
    }
}

diesel::table! {
    /// Who joined and left which room, when. The view occupancies makes intervals of them.
    occupancy_events (id) {
        /// Number of the event.
        id -> BigInt,
        /// When it happened (microseconds since 1970, UTC).
        at -> BigInt,
        /// jids.id of the room.
        room_id -> Integer,
        /// jids.id of the occupant, NULL when only the nick is known.
        jid_id -> Nullable<Integer>,
        /// 1 join, 2 leave.
        event -> SmallInt,
        /// nodes.id of the node that showed it.
        node_id -> SmallInt,
        /// Nick of the occupant.
        nick -> Text,
        /// Resource of the occupant.
        resource -> Nullable<Text>,
    }
}

diesel::table! {
    /// Spool records that could not be stored, kept whole until an operator decides.
    quarantine (id) {
        /// Number of the entry.
        id -> BigInt,
        /// Number of the record in its spool.
        seq -> BigInt,
        /// When the record reached the archive (microseconds since 1970, UTC).
        received_at -> BigInt,
        /// nodes.id of the node that it came from, NULL when that is unreadable.
        node_id -> Nullable<SmallInt>,
        /// The spool that it came from.
        spool_id -> Binary,
        /// Why it could not be stored.
        reason -> Text,
        /// The spool record as it was.
        record -> Binary,
    }
}

diesel::table! {
    /// How far each spool has been stored. It moves in the transaction that stores.
    progress (spool_id) {
        /// The spool.
        spool_id -> Binary,
        /// First record of that spool that is not stored yet.
        next_seq -> BigInt,
    }
}

diesel::table! {
    /// Which further feed of a node brought a row that others brought as well.
    sightings (kind, row_id, seq, node_id) {
        /// messages.id, bounces.id or occupancy_events.id.
        row_id -> BigInt,
        /// When it came by this feed (microseconds since 1970, UTC).
        at -> BigInt,
        /// deliveries.seq, else 0.
        seq -> Integer,
        /// 1 a row of deliveries, 2 of bounces, 3 of occupancy_events.
        kind -> SmallInt,
        /// nodes.id of the entry by which it came.
        node_id -> SmallInt,
        /// 1 when this feed was the first to bring it, else 0. Without a row with 1 that was the entry in node_id of the row itself.
        is_first -> SmallInt,
    }
}

diesel::table! {
    /// What the archive must remember about itself, such as the dictionary that xml is compressed with.
    settings (name) {
        /// Name of the setting.
        name -> Text,
        /// Its value.
        value -> Binary,
    }
}

diesel::table! {
    /// Intervals in which messages of a node may have been missed.
    gaps (id) {
        /// Number of the gap.
        id -> BigInt,
        /// Begin, never later than the truth (microseconds since 1970, UTC).
        from_at -> BigInt,
        /// End, never earlier than the truth (microseconds since 1970, UTC), NULL while it lasts.
        to_at -> Nullable<BigInt>,
        /// How many copies were lost, NULL when that is not known.
        lost -> Nullable<BigInt>,
        /// How many messages a backfill added.
        found -> BigInt,
        /// How many messages a backfill found to be there already.
        known -> BigInt,
        /// When the row was last changed (microseconds since 1970, UTC).
        changed_at -> BigInt,
        /// nodes.id of the node whose messages may have been missed, 0 when it is not known which.
        node_id -> SmallInt,
        /// 1 connection lost, 2 jump in the sequence of the node's queue, 3 new epoch of that queue, 4 stanza over the size limit, 5
        /// record in quarantine, 6 spool at its limit, 7 archiver not running, 8 spool damaged.
        reason -> SmallInt,
        /// 1 open, 2 backfilled, 3 partly backfilled, 4 unrecoverable, 5 closed by hand.
        state -> SmallInt,
        /// What whoever changed the state had to say.
        note -> Nullable<Text>,
        /// Who changed the state last.
        changed_by -> Nullable<Text>,
        /// What is particular to the reason, as JSON.
        detail -> Nullable<Text>,
    }
}

diesel::table! {
    /// What became of every stanza that came, by node and day of arrival.
    tallies (node_id, day, state, reason) {
        /// How many.
        count -> BigInt,
        /// Day of arrival, in days since 1970-01-01 UTC.
        day -> Integer,
        /// nodes.id of the node that it came from, 0 when that is unreadable.
        node_id -> SmallInt,
        /// 1 received, 2 archived as a new message, 3 a further copy of a message, 4 a replayed copy of a message, 5 skipped, 6 in
        /// quarantine, 7 lost, 8 forged, 9 an error for a message, 10 repeated by the node. The received are the sum of all others.
        state -> SmallInt,
        /// Why, empty where there is no more to say.
        reason -> Text,
    }
}

diesel::table! {
    /// Who may sign in. Never removed, since audit names them.
    accounts (id) {
        /// Number of the account, from 1.
        id -> BigInt,
        /// When it was made (microseconds since 1970, UTC).
        created_at -> BigInt,
        /// When somebody last changed it (microseconds since 1970, UTC).
        changed_at -> BigInt,
        /// When somebody last signed in with it (microseconds since 1970, UTC).
        signed_in_at -> Nullable<BigInt>,
        /// Until when passwords are refused after failures (microseconds since 1970, UTC).
        locked_until -> Nullable<BigInt>,
        /// Last step of 30 s since 1970 whose code was used, so that none is used twice.
        totp_step -> BigInt,
        /// Sum of 1 operator, 2 reviewer, 4 officer, 8 auditor, 16 administrator.
        roles -> Integer,
        /// How often in a row signing in failed.
        failures -> Integer,
        /// 1 when nobody can sign in with it, else 0.
        disabled -> SmallInt,
        /// 1 when the password must be changed first, else 0.
        must_change -> SmallInt,
        /// Name to sign in with, in lower case.
        name -> Text,
        /// Name for people.
        display_name -> Text,
        /// Whose messages a reviewer may read, as JSON.
        scope -> Nullable<Text>,
        /// Argon2id in PHC format, NULL without a password.
        password_hash -> Nullable<Text>,
        /// Issuer of the provider that vouches for it.
        oidc_issuer -> Nullable<Text>,
        /// Who it is there.
        oidc_subject -> Nullable<Text>,
        /// Secret of the second factor, sealed with the key of [web] key_file.
        totp_secret -> Nullable<Binary>,
    }
}

diesel::table! {
    /// Recovery codes that were not used yet.
    account_codes (account_id, hash) {
        /// accounts.id.
        account_id -> BigInt,
        /// SHA-256 of the code.
        hash -> Binary,
    }
}

diesel::table! {
    /// Names for several people, for scopes.
    people_groups (id) {
        /// Number of the group.
        id -> BigInt,
        /// When it was last changed (microseconds since 1970, UTC).
        changed_at -> BigInt,
        /// Name of the group, in lower case.
        name -> Text,
        /// Bare JIDs, domains and wildcards, as a JSON list.
        members -> Text,
    }
}

diesel::table! {
    /// Sessions of browsers that are not over.
    sessions (hash) {
        /// SHA-256 of the cookie.
        hash -> Binary,
        /// Key of the tokens in the forms of this session.
        csrf -> Binary,
        /// accounts.id.
        account_id -> BigInt,
        /// When it began (microseconds since 1970, UTC).
        created_at -> BigInt,
        /// When it was last used, to about a minute (microseconds since 1970, UTC).
        used_at -> BigInt,
        /// When it ends at the latest (microseconds since 1970, UTC).
        expires_at -> BigInt,
        /// 1 began with a password, 2 began at the provider.
        way -> SmallInt,
        /// From where it was begun.
        address -> Nullable<Text>,
    }
}

diesel::table! {
    /// Tokens of the API. Revoked, never removed, since audit names them.
    tokens (id) {
        /// Number of the token.
        id -> BigInt,
        /// accounts.id.
        account_id -> BigInt,
        /// When it was made (microseconds since 1970, UTC).
        created_at -> BigInt,
        /// When it ends (microseconds since 1970, UTC).
        expires_at -> Nullable<BigInt>,
        /// When it was last used, to about a minute (microseconds since 1970, UTC).
        used_at -> Nullable<BigInt>,
        /// When it was revoked (microseconds since 1970, UTC).
        revoked_at -> Nullable<BigInt>,
        /// The roles that it was given, as accounts.roles, 0 all that the account has.
        roles -> Integer,
        /// SHA-256 of the token.
        hash -> Binary,
        /// What it is for.
        name -> Text,
        /// The scope that it was given, as JSON.
        scope -> Nullable<Text>,
    }
}

diesel::table! {
    /// Who did what. Rows are only added.
    audit (id) {
        /// Number of the row, without gaps, in the order of commits.
        id -> BigInt,
        /// When (microseconds since 1970, UTC).
        at -> BigInt,
        /// accounts.id, NULL where nobody was believed, and for the command line.
        account_id -> Nullable<BigInt>,
        /// How many messages, rows or files it was about.
        count -> Nullable<BigInt>,
        /// The roles in force, as accounts.roles.
        roles -> Integer,
        /// 1 done, 2 denied, 3 failed.
        outcome -> SmallInt,
        /// Name of the account, cli: and a user of the system, or the name under which somebody tried to sign in.
        actor -> Text,
        /// What was done, as a word such as sign-in, search, export.
        action -> Text,
        /// How the actor was believed: password, provider, token, console, or empty.
        way -> Text,
        /// From where.
        address -> Nullable<Text>,
        /// On what, as JSON: the query, the conversation, the account.
        target -> Text,
        /// Why, where somebody was asked.
        reason -> Nullable<Text>,
    }
}

diesel::table! {
    /// Messages of which more became known after they were stored.
    search_late (id) {
        /// Number of the note.
        id -> BigInt,
        /// messages.id.
        message_id -> BigInt,
    }
}

diesel::table! {
    /// How far the index for searches is. Its other tables are written and read as text (`store::search`), for one of their columns has
    /// another type in each database.
    search_progress (part) {
        /// 1, for there is one index.
        part -> SmallInt,
        /// First messages.id that is not indexed yet.
        next_id -> BigInt,
        /// By which version of the rules its words were cut.
        words_version -> Integer,
    }
}

diesel::joinable!(messages -> conversation_names (conversation_id));
diesel::joinable!(messages -> nodes (node_id));
diesel::joinable!(deliveries -> messages (message_id));
diesel::joinable!(deliveries -> jids (recipient_id));
diesel::joinable!(deliveries -> nodes (node_id));
diesel::joinable!(message_keys -> messages (message_id));
diesel::joinable!(message_keys -> jids (by_id));
diesel::joinable!(bounces -> messages (message_id));
diesel::joinable!(bounces -> nodes (node_id));
diesel::joinable!(rooms -> jids (jid_id));
diesel::joinable!(occupancy_events -> nodes (node_id));
diesel::joinable!(quarantine -> nodes (node_id));

diesel::allow_tables_to_appear_in_same_query!(
    jids,
    nodes,
    conversation_names,
    messages,
    deliveries,
    message_keys,
    bounces,
    rooms,
    occupancy_events,
    quarantine,
    progress,
    settings,
    gaps,
    tallies,
    sightings,
    accounts,
    account_codes,
    people_groups,
    sessions,
    tokens,
    audit,
);
