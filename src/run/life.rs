//! The nodes' last signs of life, in a small file beside the spools, so that after a `kill -9` it is known since when messages may have been missed.
//!
//! The file is replaced whole at each status interval. What a link says of itself goes into it one interval later, and only when everything
//! that had been handed to the spool by then is durable: the file may be behind the truth, never ahead of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::intake::link::{Link, Saved};
use crate::spool::Appender;

/// The file's name in the directory of the spools.
const FILE: &str = "links.json";
/// The most bytes that are read of it.
const FILE_BYTES: u64 = 16 << 20;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Content {
    nodes: BTreeMap<String, Saved>,
}

/// The file.
struct Life {
    file: PathBuf,
    /// Of nodes that are not attached now, too: they may be again.
    content: Content,
    /// What the links of this process said last, durable or not: its next link goes on from there, since what they wrote is in the same spool.
    last: BTreeMap<String, Saved>,
    links: Vec<Watched>,
}

struct Watched {
    name: String,
    link: Arc<Link>,
    spool: Appender,
    /// What the link said last, and which record must be durable before it may be believed.
    next: Option<(Saved, u64)>,
}

impl Life {
    /// Reads what the last process left.
    fn read(directory: &Path) -> Self {
        let file = directory.join(FILE);
        let content = match read(&file) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Content::default(),
            Err(error) => {
                log::warn!("{} can't be read: {error}; each node gets a gap since its last message that is stored", file.display());
                Content::default()
            }
        };
        Self { file, content, last: BTreeMap::new(), links: Vec::new() }
    }

    /// What is known of a node's last link, of this process or the one before.
    fn of(&self, node: &str) -> Option<Saved> {
        self.last.get(node).or_else(|| self.content.nodes.get(node)).cloned()
    }

    /// Watches this link from now on, in place of an earlier one of the same node.
    fn watch(&mut self, name: &str, link: Arc<Link>, spool: Appender) {
        self.links.retain(|watched| watched.name != name);
        self.links.push(Watched { name: name.to_owned(), link, spool, next: None });
    }

    /// Ends the watching of a link. What it said last goes into the file if it may be believed by now.
    fn let_go(&mut self, node: &str) {
        let (gone, stay) = std::mem::take(&mut self.links).into_iter().partition(|one| one.name == node);
        self.links = stay;
        let gone: Vec<Watched> = gone;
        for watched in gone {
            let depth = watched.spool.depth();
            let said = watched.link.saved();
            self.last.insert(watched.name.clone(), said.clone());
            if depth.durable_seq == depth.next_seq {
                self.content.nodes.insert(watched.name.clone(), said);
            } else if let Some((saved, _)) = watched.next.filter(|(_, seq)| *seq <= depth.durable_seq) {
                self.content.nodes.insert(watched.name.clone(), saved);
            }
        }
    }

    /// Looks at the links and renews the file.
    fn renew(&mut self) {
        for watched in &mut self.links {
            let durable_seq = watched.spool.depth().durable_seq;
            if let Some((saved, _)) = watched.next.take_if(|(_, seq)| *seq <= durable_seq) {
                self.content.nodes.insert(watched.name.clone(), saved);
            }
            if watched.next.is_none() {
                let saved = watched.link.saved();
                watched.next = Some((saved, watched.spool.depth().next_seq));
            }
        }
        self.write();
    }

    /// The spools are closed, and everything in them is durable.
    fn finish(&mut self) {
        for watched in &mut self.links {
            let depth = watched.spool.depth();
            if depth.durable_seq == depth.next_seq {
                self.content.nodes.insert(watched.name.clone(), watched.link.saved());
            }
        }
        self.write();
    }

    fn write(&self) {
        let written = serde_json::to_vec(&self.content).map_err(std::io::Error::from).and_then(|bytes| replace(&self.file, &bytes));
        if let Err(error) = written {
            log::warn!("{} can't be written: {error}; after a crash, gaps will begin earlier than they did", self.file.display());
        }
    }
}

/// A file that is renewed in the background.
pub(super) struct Keeper {
    life: Arc<Mutex<Life>>,
    renewing: JoinHandle<()>,
}

impl Keeper {
    /// Renews the file in this directory at this interval, on threads where a slow disk holds nobody up.
    pub(super) fn start(directory: &Path, interval: Duration) -> Self {
        let life = Arc::new(Mutex::new(Life::read(directory)));
        let renewed = life.clone();
        let renewing = tokio::spawn(async move {
            loop {
                locked(&renewed, Life::renew).await;
                tokio::time::sleep(interval).await;
            }
        });
        Self { life, renewing }
    }

    /// The link of a node that is attached now: as the last one left it, and watched from now on in its place.
    pub(super) fn attach(&self, node: &str, spool: &Appender) -> Arc<Link> {
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        life.let_go(node);
        let link = Arc::new(Link::restored(life.of(node)));
        life.watch(node, link.clone(), spool.clone());
        link
    }

    /// Looks no more at the link of a node that is not attached any more.
    pub(super) fn detach(&self, node: &str) {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).let_go(node);
    }

    /// Writes the file for the last time, once the spools are closed.
    pub(super) async fn finish(self) {
        self.renewing.abort();
        locked(&self.life, Life::finish).await;
    }
}

async fn locked(life: &Arc<Mutex<Life>>, work: fn(&mut Life)) {
    let life = life.clone();
    let done = tokio::task::spawn_blocking(move || work(&mut life.lock().unwrap_or_else(PoisonError::into_inner)));
    if done.await.is_err() {
        log::error!("the file of the nodes' last signs of life was not renewed");
    }
}

fn read(file: &Path) -> std::io::Result<Content> {
    let length = std::fs::metadata(file)?.len();
    if length > FILE_BYTES {
        return Err(std::io::Error::other("it is too large"));
    }
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// A file that is there after a loss of power holds all of the old or all of the new.
fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let next = file.with_extension("json.new");
    let mut new = std::fs::File::create(&next)?;
    new.write_all(bytes)?;
    new.sync_data()?;
    std::fs::rename(&next, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Options, Reader, Spool};
    use crate::time::Micros;

    fn alive_at(directory: &Path) -> Option<Micros> {
        Life::read(directory).of("a").and_then(|saved| saved.alive_at)
    }

    /// The life of a node whose link is up, and whose spool syncs only when it is closed.
    fn watched(directory: &Path) -> (Life, Arc<Link>, Appender, Reader) {
        let slow = Options { commit_delay: std::time::Duration::from_secs(3_600), ..Options::default() };
        let (spool, reader, _recovered) = Spool::open(&directory.join("s"), slow).unwrap();
        let (mut life, link) = (Life::read(directory), Arc::new(Link::restored(None)));
        link.up(5_000_000);
        life.watch("a", link.clone(), spool.clone());
        (life, link, spool, reader)
    }

    #[tokio::test]
    async fn a_sign_of_life_counts_when_what_came_before_is_durable() {
        let directory = tempfile::tempdir().unwrap();
        let (mut life, link, spool, _reader) = watched(directory.path());
        life.renew();
        assert_eq!(alive_at(directory.path()), None);
        life.renew();
        assert_eq!(alive_at(directory.path()), Some(3_000_000));
        spool.append(b"a record").await.unwrap();
        link.caught_up(9_000_000);
        // What the link said before the record holds; what it says now must wait for the record.
        life.renew();
        life.renew();
        assert_eq!(alive_at(directory.path()), Some(3_000_000));
        spool.close().await.unwrap();
        life.renew();
        assert_eq!(alive_at(directory.path()), Some(7_000_000));
    }

    #[tokio::test]
    async fn the_next_link_of_a_process_knows_what_the_last_one_wrote_before_it_is_durable() {
        let directory = tempfile::tempdir().unwrap();
        let (mut life, link, spool, _reader) = watched(directory.path());
        life.renew();
        life.renew();
        link.caught_up(9_000_000);
        link.down();
        spool.append(b"the gap").await.unwrap();
        life.let_go("a");
        life.write();
        let said = link.saved();
        assert!(said.down.is_some() && life.of("a") == Some(said));
        assert_eq!(alive_at(directory.path()), Some(3_000_000), "the next process does not know whether the gap is in the spool");
    }

    #[test]
    fn nodes_that_are_not_attached_are_kept_and_rubbish_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        std::fs::write(&file, r#"{"nodes":{"a":{"alive_at":7,"sends":"stock","down":null,"dropped":null}}}"#).unwrap();
        let mut life = Life::read(directory.path());
        life.renew();
        assert_eq!(alive_at(directory.path()), Some(7));
        std::fs::write(&file, "{").unwrap();
        assert_eq!(alive_at(directory.path()), None);
    }
}
