//! Which copies are one message, as a property: whatever people say, whatever a node makes of it, in whatever order the copies come, and wherever
//! the transactions and the restarts fall. Run through the real writer and its look-ups.

mod feeds;
mod nodes;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::archiver::StoreKind;
use crate::support::ledger::Ledger;
use crate::support::pipe::{Pipe, START};
use nodes::{Mirror, Mirrored, Sent, mirrored};

/// Copies come this far apart: a conversation lasts less than the window in which copies of one message may come.
const STEP: i64 = 40_000;

/// What happens after a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Nothing,
    Commit,
    Restart,
    /// The process was killed before the spool let the stored records go.
    Replay,
}

/// A conversation, the order of its copies, and the cuts.
#[derive(Clone, Debug)]
struct Case {
    sent: Vec<Sent>,
    order: Vec<Index>,
    cuts: Vec<Cut>,
}

fn sent() -> impl Strategy<Value = Sent> {
    // Few of each, so that much is equal.
    let id = prop_oneof![2 => Just(None), 3 => (0..3u8).prop_map(Some)];
    (0..3usize, 0..2usize, any::<bool>(), id, 0..3u8).prop_map(|(sender, recipient, to_full, id, body)| Sent {
        sender,
        recipient,
        to_full,
        id,
        body,
    })
}

fn case() -> impl Strategy<Value = Case> {
    let cut = prop_oneof![6 => Just(Cut::Nothing), 2 => Just(Cut::Commit), 2 => Just(Cut::Restart), 1 => Just(Cut::Replay)];
    (prop::collection::vec(sent(), 1..12), prop::collection::vec(any::<Index>(), 64), prop::collection::vec(cut, 64))
        .prop_map(|(sent, order, cuts)| Case { sent, order, cuts })
}

/// The copies in the order in which they come: channels are interleaved at will, each keeps its own order.
fn interleaved(case: &Case, mirror: Mirror) -> Vec<Mirrored> {
    let mut channels: BTreeMap<String, std::collections::VecDeque<Mirrored>> = BTreeMap::new();
    for copy in case.sent.iter().enumerate().flat_map(|(n, sent)| mirrored(mirror, n, sent)) {
        channels.entry(copy.channel.clone()).or_default().push_back(copy);
    }
    let mut copies: Vec<Mirrored> = Vec::new();
    let mut choices = case.order.iter().cycle();
    while !channels.is_empty() {
        let is_next = |channel: &std::collections::VecDeque<Mirrored>| {
            let after = channel.front().and_then(|copy| copy.after.clone());
            after.is_none_or(|(wanted, n)| copies.iter().any(|copy| copy.channel == wanted && copy.n == n))
        };
        let ready: Vec<String> = channels.iter().filter(|(_, channel)| is_next(channel)).map(|(name, _)| name.clone()).collect();
        let name = choices.next().expect("an endless list").get(&ready);
        let channel = channels.get_mut(name).expect("a channel");
        copies.extend(channel.pop_front());
        if channel.is_empty() {
            channels.remove(name);
        }
    }
    copies
}

fn archived(copies: &[Mirrored], mirror: Mirror, cuts: &[Cut]) -> Ledger {
    let mut pipe = Pipe::new(StoreKind::Sqlite, &[mirror.node()]);
    for stanza in mirror.prelude() {
        pipe.take(START, &stanza);
    }
    let mut last = 0;
    for ((number, copy), cut) in (0..).zip(copies).zip(cuts.iter().cycle()) {
        pipe.take_of(START + number * STEP, copy.sessions, &copy.stanza);
        if *cut != Cut::Nothing {
            pipe.commit();
        }
        match cut {
            Cut::Restart => pipe.restart(),
            Cut::Replay => pipe.replay_from(last),
            Cut::Nothing | Cut::Commit => {}
        }
        last = number as usize / 2;
    }
    pipe.ledger()
}

/// Whom, who, which id and what: what tells messages apart on any mirror.
type Content = (String, String, Option<String>, String);

fn contents(ledger: &Ledger) -> BTreeMap<Content, Vec<(usize, u64)>> {
    let mut contents: BTreeMap<Content, Vec<(usize, u64)>> = BTreeMap::new();
    for row in &ledger.rows {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let content = (text(&row.recipient), text(&row.sender), row.stanza_id.clone(), text(&row.body));
        contents.entry(content).or_default().push((row.copies.len(), row.possibly_several().max(1) as u64));
    }
    contents
}

/// How many sends of each content there were, and how many copies of them.
fn truth(case: &Case, mirror: Mirror) -> BTreeMap<Content, (usize, usize)> {
    let mut truth: BTreeMap<Content, (usize, usize)> = BTreeMap::new();
    for (n, sent) in case.sent.iter().enumerate() {
        let (sends, copies) = truth.entry(mirror.content(sent)).or_default();
        *sends += 1;
        *copies += mirrored(mirror, n, sent).len();
    }
    truth
}

/// Each message once, with as many copies as were made of it.
fn check_exact(case: &Case, mirror: Mirror) -> Result<(), TestCaseError> {
    let copies = interleaved(case, mirror);
    let ledger = archived(&copies, mirror, &case.cuts);
    let found = contents(&ledger);
    let expected = truth(case, mirror);
    prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (content, (sends, copies)) in expected {
        let rows = vec![(copies / sends, 1); sends];
        prop_assert_eq!(&found[&content], &rows, "{:?}\n{}", content, ledger);
    }
    Ok(())
}

/// Never more messages than were sent, never two contents in one, no copy lost; and where the sessions were known, the estimate is right.
fn check_forked(case: &Case, mirror: Mirror) -> Result<(), TestCaseError> {
    let ledger = archived(&interleaved(case, mirror), mirror, &case.cuts);
    let found = contents(&ledger);
    let expected = truth(case, mirror);
    prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (content, (sends, copies)) in expected {
        let rows = &found[&content];
        let owned: u64 = rows.iter().map(|(_, several)| several).sum();
        prop_assert_eq!(rows.iter().map(|(copies, _)| copies).sum::<usize>(), copies, "{:?}\n{}", content, ledger);
        prop_assert!(rows.len() <= sends && owned <= sends as u64, "{:?}\n{}", content, ledger);
        if mirror == (Mirror::ServiceLog { sessions_known: true }) {
            prop_assert_eq!(owned, sends as u64, "{:?}\n{}", content, ledger);
        }
    }
    Ok(())
}

/// Where transactions end and processes start again makes no difference at all.
fn check_cuts(case: &Case, mirror: Mirror) -> Result<(), TestCaseError> {
    let copies = interleaved(case, mirror);
    let whole = archived(&copies, mirror, &[Cut::Nothing]);
    prop_assert_eq!(archived(&copies, mirror, &case.cuts), whole);
    Ok(())
}

const EVERY: [Mirror; 5] = [
    Mirror::Envelope,
    Mirror::Firewall,
    Mirror::ServiceLog { sessions_known: true },
    Mirror::ServiceLog { sessions_known: false },
    Mirror::Room,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn with_a_ref_the_archive_holds_exactly_what_was_sent(case in case()) {
        check_exact(&case, Mirror::Envelope)?;
    }

    #[test]
    fn with_one_copy_sent_and_one_delivered_the_archive_holds_exactly_what_was_sent(case in case()) {
        check_exact(&case, Mirror::Firewall)?;
    }

    #[test]
    fn in_a_room_the_archive_holds_exactly_what_was_said(case in case()) {
        check_exact(&case, Mirror::Room)?;
    }

    #[test]
    fn with_a_copy_for_each_known_session_the_archive_owns_to_every_send(case in case()) {
        check_forked(&case, Mirror::ServiceLog { sessions_known: true })?;
    }

    #[test]
    fn with_a_copy_for_each_unknown_session_nothing_is_doubled_or_lost(case in case()) {
        check_forked(&case, Mirror::ServiceLog { sessions_known: false })?;
    }

    #[test]
    fn transactions_restarts_and_replays_of_the_spool_change_nothing(case in case(), mirror in 0..EVERY.len()) {
        check_cuts(&case, EVERY[mirror])?;
    }
}
