//! An endless stream of plausible chat, for measuring.
//!
//! A [`Load`] writes what ejabberd's `mod_service_log` would mirror if thousands of people talked: each message twice, byte for
//! byte the same inside the wrapper, the second copy a few messages after the first, as happens when many people talk at once.
//! A stanza has what today's clients put into one: UUIDs as ids, an origin-id, a receipt request, a chat marker, a chat state.
//!
//! It must never be the bottleneck, so a stanza is put together from ready-made pieces with a small generator of numbers and
//! without allocating. It must not flatter compression either: the words follow Zipf's law over a vocabulary of some thousands,
//! with names, amounts and misspellings between them, ids are random, and everybody writes to a circle of their own.

use std::collections::VecDeque;

/// People on the server unless told otherwise.
pub const USERS: usize = 5_000;

/// How many messages later the second copy of a message comes.
const COPIES_APART: usize = 4;

/// How many people somebody writes to.
const CIRCLE: u64 = 12;

/// Entries of the table that turns a random number into a word: a power of two, large enough for the rarest word to have one.
const WORD_TABLE: usize = 1 << 16;

/// Bodies are at least and at most this long, and mostly about 120 characters.
const BODY_CHARS_MIN: usize = 20;
/// See [`BODY_CHARS_MIN`].
const BODY_CHARS_MAX: usize = 200;

const NODE: &str = "chat.northern-freight.example";
const COMPONENT: &str = "archive.chat.northern-freight.example";

/// The host whose users talk.
pub fn host() -> &'static str {
    NODE
}

/// The component domain that the stanzas are addressed to.
pub fn component() -> &'static str {
    COMPONENT
}

/// What is to be written: how many people, and where the sequence of numbers starts.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// People on the server.
    pub users: usize,
    /// Equal seeds give equal streams.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { users: USERS, seed: 1 }
    }
}

/// The writer.
#[derive(Debug)]
pub struct Load {
    numbers: Numbers,
    /// Bare JIDs, and the same with a resource.
    people: Vec<(String, String)>,
    words: Vec<String>,
    table: Vec<u16>,
    /// Messages whose second copy is still to come, oldest first; then buffers to use again.
    pending: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    messages: u64,
}

impl Load {
    /// A stream as planned.
    pub fn new(plan: Plan) -> Self {
        let mut numbers = Numbers(plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let people = (0..plan.users.max(2)).map(|number| person(number, &mut numbers)).collect();
        let words = vocabulary();
        let table = zipf_table(words.len());
        Self { numbers, people, words, table, pending: VecDeque::new(), spare: Vec::new(), messages: 0 }
    }

    /// How many distinct messages have been begun.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Appends copies until `out` holds at least `bytes` or `copies` are written; returns how many were.
    /// `copies` is even and each message whole when a stream ends with [`Load::finish`].
    pub fn fill(&mut self, out: &mut Vec<u8>, bytes: usize, copies: u64) -> u64 {
        let mut written = 0;
        while written < copies && out.len() < bytes {
            if self.pending.len() > COPIES_APART {
                written += self.second_copy(out);
            } else {
                self.first_copy(out);
                written += 1;
            }
        }
        written
    }

    /// Appends messages as their senders' server would route them, once each and without a wrapper; returns how many.
    pub fn fill_plain(&mut self, out: &mut Vec<u8>, bytes: usize, messages: u64) -> u64 {
        let before = self.messages;
        while self.messages - before < messages && out.len() < bytes {
            self.compose(out, "");
            self.messages += 1;
        }
        self.messages - before
    }

    /// The bare JIDs of the people.
    pub fn people(&self) -> impl Iterator<Item = &str> {
        self.people.iter().map(|(bare, _)| bare.as_str())
    }

    /// Appends the second copies that are still owed; returns how many.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> u64 {
        let mut written = 0;
        while !self.pending.is_empty() {
            written += self.second_copy(out);
        }
        written
    }

    /// How many second copies are owed: to write `n` copies in all, fill up to `n - owed()` and finish.
    pub fn owed(&self) -> u64 {
        self.pending.len() as u64
    }

    fn first_copy(&mut self, out: &mut Vec<u8>) {
        let mut stanza = self.spare.pop().unwrap_or_default();
        stanza.clear();
        self.compose(&mut stanza, " xmlns='jabber:client'");
        self.wrap(&stanza, out);
        self.pending.push_back(stanza);
        self.messages += 1;
    }

    fn second_copy(&mut self, out: &mut Vec<u8>) -> u64 {
        let Some(stanza) = self.pending.pop_front() else { return 0 };
        self.wrap(&stanza, out);
        self.spare.push(stanza);
        1
    }

    /// The mirror's wrapper, under an id of its own for each copy.
    fn wrap(&mut self, stanza: &[u8], out: &mut Vec<u8>) {
        let id = self.numbers.next();
        put(out, &["<message to='", COMPONENT, "' from='", NODE, "' id='"]);
        put_decimal(out, id);
        put(out, &["'><forwarded xmlns='urn:xmpp:forward:0'>"]);
        out.extend_from_slice(stanza);
        put(out, &["</forwarded></message>"]);
    }

    /// One message between two people who know each other.
    fn compose(&mut self, out: &mut Vec<u8>, namespace: &str) {
        let (sender, recipient) = self.two_people();
        let id = self.numbers.uuid();
        let id = std::str::from_utf8(&id).unwrap_or_default();
        let blank = (String::new(), String::new());
        let (_, from) = self.people.get(sender).unwrap_or(&blank);
        let (to, _) = self.people.get(recipient).unwrap_or(&blank);
        put(out, &["<message xml:lang='en' to='", to, "' from='", from, "' type='chat' id='", id, "'", namespace, ">"]);
        put(out, &["<origin-id xmlns='urn:xmpp:sid:0' id='", id, "'/><request xmlns='urn:xmpp:receipts'/>"]);
        put(out, &["<markable xmlns='urn:xmpp:chat-markers:0'/><active xmlns='http://jabber.org/protocol/chatstates'/>"]);
        put(out, &["<store xmlns='urn:xmpp:hints'/>"]);
        // Every other client says by which name its user goes (XEP-0172).
        if sender % 2 == 0 {
            let name = from.split('@').next().unwrap_or_default();
            put(out, &["<nick xmlns='http://jabber.org/protocol/nick'>", name, "</nick>"]);
        }
        self.thread(out, sender, recipient);
        put(out, &["<body>"]);
        self.body(out);
        put(out, &["</body></message>"]);
    }

    /// Some clients keep a thread for each conversation (XEP-0201).
    fn thread(&mut self, out: &mut Vec<u8>, sender: usize, recipient: usize) {
        let mut numbers = Numbers((sender.min(recipient) as u64) << 32 | sender.max(recipient) as u64 | 1 << 63);
        let thread = numbers.uuid();
        put(out, &["<thread>"]);
        out.extend_from_slice(&thread);
        put(out, &["</thread>"]);
    }

    /// A few people talk much and most little; each within a circle.
    fn two_people(&mut self) -> (usize, usize) {
        let people = self.people.len() as u64;
        let skewed = self.numbers.below(people).min(self.numbers.below(people));
        let step = 1 + self.numbers.below(CIRCLE);
        let other = (skewed + step * step * 7) % people;
        let other = if other == skewed { (skewed + 1) % people } else { other };
        if self.numbers.below(2) == 0 { (skewed as usize, other as usize) } else { (other as usize, skewed as usize) }
    }

    /// Sentences of Zipf-distributed words, up to a length that is mostly near the middle of the range.
    fn body(&mut self, out: &mut Vec<u8>) {
        let spread = (BODY_CHARS_MAX - BODY_CHARS_MIN) as u64 / 2;
        let length = BODY_CHARS_MIN + (self.numbers.below(spread) + self.numbers.below(spread)) as usize;
        let end = out.len() + length;
        let mut starts_sentence = true;
        while out.len() < end {
            let roll = self.numbers.next();
            let at = out.len();
            self.word(out, roll);
            if let Some(first) = out.get_mut(at).filter(|_| starts_sentence) {
                first.make_ascii_uppercase();
            }
            starts_sentence = roll >> 60 == 0;
            out.extend_from_slice(if starts_sentence {
                b". "
            } else if roll >> 60 == 1 {
                b", "
            } else {
                b" "
            });
        }
        out.truncate(out.len() - 1);
    }

    /// A word; now and then a number, a name of the directory, or a slip of the keyboard.
    fn word(&mut self, out: &mut Vec<u8>, roll: u64) {
        match (roll >> 32) & 0x3f {
            0 => put_decimal(out, self.numbers.below(2_000)),
            1 => {
                put_decimal(out, self.numbers.below(90_000));
                put(out, &["."]);
                put_decimal(out, 10 + self.numbers.below(90));
            }
            2 => {
                let someone = self.numbers.below(self.people.len() as u64) as usize;
                let name = self.people.get(someone).and_then(|(bare, _)| bare.split('.').next()).unwrap_or_default();
                put(out, &[name]);
            }
            slip => {
                let rank = self.table.get(roll as usize % WORD_TABLE).copied().unwrap_or_default();
                let word = self.words.get(usize::from(rank)).map(String::as_str).unwrap_or_default();
                put(out, &[word]);
                if slip == 3 && word.len() > 3 {
                    let (last, before) = (out.len() - 1, out.len() - 2);
                    out.swap(last, before);
                }
            }
        }
    }
}

/// A stream of numbers that is fast and good enough for words (xorshift64*).
#[derive(Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound.max(1))) >> 64) as u64
    }

    /// A random UUID (RFC 9562 section 5.4) in its textual form.
    fn uuid(&mut self) -> [u8; 36] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        const SHAPE: &[u8; 36] = b"xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
        let mut bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        SHAPE.map(|place| {
            if place != b'x' && place != b'y' {
                return place;
            }
            let digit = (bits & 0xf) as usize;
            bits >>= 4;
            let digit = if place == b'y' { 8 | (digit & 3) } else { digit };
            DIGITS.get(digit).copied().unwrap_or(b'0')
        })
    }
}

/// `given.family-number@host`, and a resource as clients make them up.
fn person(number: usize, numbers: &mut Numbers) -> (String, String) {
    let given = pick(GIVEN_NAMES, number);
    let family = pick(FAMILY_NAMES, number / 40);
    let cycle = number / (GIVEN_NAMES.split_whitespace().count() * FAMILY_NAMES.split_whitespace().count());
    let bare = if cycle == 0 { format!("{given}.{family}@{NODE}") } else { format!("{given}.{family}{cycle}@{NODE}") };
    let client = pick("Conversations gajim dino Monal Psi+ profanity desk web", numbers.below(8) as usize);
    let full = format!("{bare}/{client}.{:06x}", numbers.next() & 0xff_ffff);
    (bare, full)
}

fn pick(list: &'static str, number: usize) -> &'static str {
    let count = list.split_whitespace().count().max(1);
    list.split_whitespace().nth(number % count).unwrap_or_default()
}

/// The words, most frequent first: common ones, then others with the endings that English gives them.
fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = COMMON_WORDS.split_whitespace().map(str::to_owned).collect();
    for ending in ["", "s", "ing", "ed", "er", "ment", "able", "ly", "less"] {
        words.extend(STEMS.split_whitespace().map(|stem| format!("{stem}{ending}")));
    }
    words
}

/// Zipf's law: the word of rank r comes about 1/r times as often as the first. Every word has a share.
fn zipf_table(words: usize) -> Vec<u16> {
    let weight = |rank: usize| 1.0 / (rank as f64 + 2.7);
    let total: f64 = (0..words).map(weight).sum();
    let mut table = Vec::with_capacity(WORD_TABLE + words);
    for rank in 0..words {
        let share = (weight(rank) / total * WORD_TABLE as f64).round().max(1.0) as usize;
        table.extend(std::iter::repeat_n(u16::try_from(rank).unwrap_or(u16::MAX), share));
    }
    table.resize(WORD_TABLE, 0);
    table
}

fn put(out: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

const GIVEN_NAMES: &str = "amelia bruno carla deniz emil farah goran hana ivan joana kofi lena mateo noor olga pavel quinn rosa \
    samir tess ulla viktor wanda xenia yusuf zoe aisha bjorn celine dario elif fritz greta hugo ines jonas kira luca mina nils";

const FAMILY_NAMES: &str = "abel baker castro dahl ekman fischer garcia hansen ito jensen kaya lopez meyer novak okafor petrov \
    quist rossi silva tanaka unger vega weber xu yilmaz zeman adler brandt conti duarte eriksen ferreira gruber haas ibarra jung \
    keller lund moreau nagy oduya pohl ramos sato toth ueda varga wolf yang zhou acker bauer cruz dietz engel frank goldberg horn \
    iversen jacobs klein lange maier neumann olsen peters reuter schmidt thomas ulrich vogel wagner young ziegler arnold becker \
    clark diaz ellis fox gray hill irwin james king lee moore nelson owen price reed scott taylor underwood vance walker";

const COMMON_WORDS: &str = "the to and a I of is in it you for that we on be have this with can not are will at but do if was as so \
    your from just what they me there or my all please our thanks one know when would about get up out time think good now like how \
    need an see don't by some then no tomorrow today has any also yes it's them could send still should let more here who been new \
    after go back next before week I'll two only which were first day look well want check right over last make work because into \
    than really he she her him where had did take sure something other again meeting morning call main their people way could've \
    everything maybe too down much file number done later us very most why already team customer until these sorry report ready \
    every another three same off great always same enough problem question around through might long without soon afternoon hope";

const STEMS: &str = "account act add address adjust agree allow amount answer appoint approve arrange assign attend audit avoid award \
    balance bank begin bill block board book borrow box break bring broad budget build buy cancel card care carry case cash cause \
    chain change charge clear client close code collect colour comment commit compare complain complete confirm connect consider \
    contact contain content contract control copy correct cost count cover credit current cut damage date deal debt decide default \
    delay deliver demand depart deposit design desk detail develop direct discuss display document door doubt down draft draw drive \
    drop duty earn edit effect email employ end enter equip error estimate event exact exchange expect expense explain export extend \
    fact fail fair fax field figure fill final find finish fit fix floor follow food force forecast form forward free friend front \
    fund gain gate gather goal grant group grow guess guide half hand handle hard head hear help hire hold home host hour house idea \
    import improve income increase inform input inspect install insure interest invest invite invoice issue item job join judge jump \
    keep key kind lack land law lead lean learn lease leave legal lend letter level licence lift light limit line link list live \
    load local lock log loss lunch mail manage margin mark market match matter measure meet member mention method mind minute miss \
    mistake model monitor month move name net night note notice object offer office open operate order owe own pack page paint \
    paper park part partner pass pay phone pick piece place plan plant play point policy post power present press price print \
    process product profit project promise prompt proof protect prove purchase push quality quarter quick quote raise rate reach \
    read reason receipt record recover reduce refer refund region reject relate release remain remind remove rent repair repeat \
    replace request require reserve reset resolve respond rest result return review reward ride ring risk room round route rule run \
    safe sale sample save scan schedule screen search seat section secure select sell server service set settle share sheet shift \
    ship shop short show sign simple site size skill sleep slow smart sort sound space speak spend split spot staff stage stamp \
    stand start state stay step stock stop store street strong study submit suggest supply support survey switch system table talk \
    target task tax teach tell term test text thank ticket tight tool top total touch tour track trade train transfer travel treat \
    trend trial trip truck trust try turn type unit update use value vendor view visit voice vote wage wait walk wall warehouse warn \
    watch water weigh wide window wire wish word worth write yard year yield zone";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::frame::{Frame, stanza};
    use std::collections::BTreeMap;

    /// A whole stream of that many copies.
    fn stream(copies: u64, seed: u64) -> (Vec<u8>, u64) {
        let mut load = Load::new(Plan { users: 500, seed });
        let mut out = Vec::new();
        let mut written = 0;
        while written + load.owed() < copies {
            written += load.fill(&mut out, usize::MAX, 1);
        }
        written += load.finish(&mut out);
        assert_eq!(written, copies);
        (out, load.messages())
    }

    fn stanzas(mut bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        while let Frame::Complete(length) = stanza(bytes) {
            found.push(std::str::from_utf8(&bytes[..length]).unwrap());
            bytes = &bytes[length..];
        }
        assert!(bytes.is_empty());
        found
    }

    #[test]
    fn every_message_comes_twice_and_is_the_same_inside() {
        let (bytes, messages) = stream(2_000, 7);
        assert_eq!(messages, 1_000);
        let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
        for stanza in stanzas(&bytes) {
            *copies.entry(stanza.split_once("<forwarded").unwrap().1).or_default() += 1;
        }
        assert_eq!(copies.len(), 1_000);
        assert!(copies.values().all(|count| *count == 2));
    }

    #[test]
    fn stanzas_are_well_formed_and_of_the_size_that_is_promised() {
        let (bytes, _) = stream(2_000, 3);
        for stanza in stanzas(&bytes) {
            let whole = format!("<s xmlns='jabber:component:accept'>{stanza}</s>");
            whole.parse::<minidom::Element>().unwrap();
        }
        let average = bytes.len() / 2_000;
        assert!((820..=900).contains(&average), "{average} bytes a copy");
    }

    #[test]
    fn bodies_are_as_long_as_people_write() {
        let (bytes, _) = stream(2_000, 5);
        let lengths: Vec<usize> =
            stanzas(&bytes).iter().map(|s| s.split_once("<body>").unwrap().1.split_once('<').unwrap().0.chars().count()).collect();
        let average = lengths.iter().sum::<usize>() / lengths.len();
        assert!((105..=130).contains(&average), "{average} characters a body");
        assert!(lengths.iter().all(|length| (15..=230).contains(length)));
    }

    #[test]
    fn equal_seeds_give_equal_streams() {
        assert_eq!(stream(200, 9), stream(200, 9));
        assert_ne!(stream(200, 9), stream(200, 10));
    }

    #[test]
    fn the_vocabulary_is_wide() {
        let words = vocabulary();
        assert!((3_000..u16::MAX as usize).contains(&words.len()), "{} words", words.len());
        assert_eq!(zipf_table(words.len()).len(), WORD_TABLE);
    }

    #[test]
    fn people_are_distinct() {
        let load = Load::new(Plan { users: 10_000, seed: 1 });
        let mut bare: Vec<&str> = load.people.iter().map(|(bare, _)| bare.as_str()).collect();
        bare.sort_unstable();
        bare.dedup();
        assert_eq!(bare.len(), 10_000);
    }
}
