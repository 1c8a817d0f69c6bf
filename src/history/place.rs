//! Where the items of one source wait and how far it was read: a directory beside the spools of the stores.
//!
//! `SPOOL/history/NAME/` holds a spool as the stores have it, in `spool`, and `state.json`: what is read, and the position behind the last item that is durable in that
//! spool. So a process that is killed goes on where it was, and what it reads twice is known for what it is. A source that was read to its end
//! begins anew the next time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Interval, Position};

/// The directory beside those of the stores.
pub const DIRECTORY: &str = "history";
const STATE_FILE: &str = "state.json";

/// Where one source's items wait.
#[derive(Clone, Debug)]
pub struct Place {
    directory: PathBuf,
}

/// How far a source was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What is read, without secrets.
    pub what: String,
    /// From when on.
    pub from: Option<i64>,
    /// Until when.
    pub to: Option<i64>,
    /// When it began. What was said later is not read, however often it is gone on with: the part before the position would lack it.
    pub until: i64,
    /// Behind the last item that is durable; none before the first.
    pub position: Option<Position>,
    /// How many items that are.
    pub read: u64,
    /// How many of them could not be understood or stored.
    pub refused: u64,
    /// What before the position could not be read, in words.
    pub troubles: Vec<String>,
    /// Whether the source was read to its end.
    pub finished: bool,
}

impl State {
    /// Takes in what could not be read; a part of it may be known from an earlier attempt.
    pub fn note_troubles(&mut self, troubles: Vec<String>) {
        for trouble in troubles {
            if !self.troubles.contains(&trouble) {
                self.troubles.push(trouble);
            }
        }
    }
}

impl Place {
    /// The place for what `what` names, of a store's spools in `spools`.
    pub fn new(spools: &Path, store: &str, node: &str, what: &str) -> Self {
        let digest = Sha256::digest(format!("{store}\n{node}\n{what}"));
        let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { directory: spools.join(DIRECTORY).join(format!("{node}-{short}")) }
    }

    /// The directory of its spool.
    pub fn spool(&self) -> PathBuf {
        self.directory.join("spool")
    }

    /// The directory for what not even the quarantine takes.
    pub fn quarantine(&self) -> PathBuf {
        self.directory.join("quarantine")
    }

    /// How far it was read; none if it was read to the end, or something else, or never.
    pub fn state(&self, what: &str, interval: Interval) -> Option<State> {
        let text = fs::read_to_string(self.directory.join(STATE_FILE)).ok()?;
        let state: State = serde_json::from_str(&text).ok()?;
        let is_same = state.what == what && state.from == interval.from && state.to == interval.to;
        (is_same && !state.finished).then_some(state)
    }

    /// Notes how far it was read. A crash may bring the note before this one back, never half of one.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn note(&self, state: &State) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let partial = self.directory.join(format!(".{STATE_FILE}.part"));
        let mut file = fs::File::create(&partial)?;
        file.write_all(serde_json::to_string(state).map_err(io::Error::other)?.as_bytes())?;
        fs::rename(&partial, self.directory.join(STATE_FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_goes_on_only_where_it_was_not_finished_and_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path(), "main", "node", "prosody-sql x");
        let interval = Interval { from: Some(1), to: Some(9) };
        assert_eq!(place.state("prosody-sql x", interval), None);
        let what = "prosody-sql x".to_owned();
        let mut state = State { what, from: Some(1), to: Some(9), until: 8, position: Some("17".into()), read: 3, ..State::default() };
        state.note_troubles(vec!["a@h: forbidden".to_owned()]);
        state.note_troubles(vec!["a@h: forbidden".to_owned()]);
        assert_eq!(state.troubles.len(), 1);
        place.note(&state).unwrap();
        assert_eq!(place.state("prosody-sql x", interval), Some(state.clone()));
        for other in [Interval::default(), Interval { to: Some(10), ..interval }] {
            assert_eq!(place.state("prosody-sql x", other), None);
        }
        assert_eq!(place.state("another", interval), None);
        state.finished = true;
        place.note(&state).unwrap();
        assert_eq!(place.state("prosody-sql x", interval), None);
    }

    #[test]
    fn each_source_has_a_place_of_its_own() {
        let spools = Path::new("/s");
        let place = |what| Place::new(spools, "main", "node", what).spool();
        assert_ne!(place("a"), place("b"));
        assert!(place("a").starts_with("/s/history"));
    }
}
