//! Hands finished exports of a series on to where they belong, each exactly once as far as the other side allows.
//!
//! How far an export is delivered stands in a file beside it, `.sent-FIRST-LAST`, and is made durable after each step. When the process dies
//! between the answer of the mail server and that, one mail comes twice, with the same `Message-ID`. Where that file can't be written, nothing is
//! sent: it would be sent again by each turn. When all is delivered, the export keeps its manifest and its hashes here, and loses its other files.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::AsyncTransport;
use lettre::address::Envelope;
use lettre::message::Mailbox;

use super::daily::keep;
use super::manifest::SUMS;
use super::{ExportError, Progress, Stage, Watch, s3, series};
use crate::config::EmailConfig;
use crate::notify::email::{transport, with_sources};

/// What an export is of which all is delivered.
pub(super) const ALL: &str = "all";
/// The largest mail that is sent, as a bound on memory: a unit has at most 8 MiB of text, and stands in it three times.
const MAX_MAIL_BYTES: u64 = 256 << 20;

/// How long a mail server may take for a mail, and how many bytes a second it takes at least (RFC 5321 §4.5.3.2 allows ten minutes at the end).
const PATIENCE: Duration = Duration::from_secs(600);
const SLOWEST: u64 = 64 << 10;

/// What was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Exports that are delivered as a whole.
    pub exports: u64,
    /// Mails or objects.
    pub files: u64,
}

/// Sends the mails of each export that was not delivered yet to the recipients of the settings, whoever is named in the mails.
///
/// # Errors
/// When a file can't be read or written, or the mail server does not take a mail. What it has taken and is noted is not sent again.
pub async fn by_mail(series: &Path, mail: &EmailConfig, watch: Watch<'_>) -> Result<Delivered, ExportError> {
    let envelope = envelope(mail).map_err(ExportError::Undelivered)?;
    let transport = transport(mail).map_err(ExportError::Undelivered)?;
    let mut delivered = Delivered::default();
    for directory in series::finished(series)? {
        let note = note(&directory);
        let Some(done) = done(&note)? else { continue };
        // What can't be noted is not sent.
        keep(&note, &done.to_string())?;
        let mut sent = 0;
        for name in mails(&directory)? {
            let name = name?;
            sent += 1;
            if sent <= done {
                continue;
            }
            tell(watch, &directory, sent)?;
            let bytes = letter(&directory.join(name))?;
            let patience = PATIENCE + Duration::from_secs(bytes.len() as u64 / SLOWEST);
            let sent_off = tokio::time::timeout(patience, transport.send_raw(&envelope, &bytes)).await;
            let silent = |_elapsed| ExportError::Undelivered(format!("the mail server did not answer within {} s", patience.as_secs()));
            sent_off.map_err(silent)?.map_err(|error| ExportError::Undelivered(with_sources(&error)))?;
            keep(&note, &sent.to_string())?;
            delivered.files += 1;
        }
        thin(&directory)?;
        keep(&note, ALL)?;
        delivered.exports += 1;
    }
    Ok(delivered)
}

fn envelope(mail: &EmailConfig) -> Result<Envelope, String> {
    let address = |text: &String| text.parse::<Mailbox>().map(|mailbox| mailbox.email).map_err(|error| format!("{text}: {error}"));
    let to = mail.to.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    Envelope::new(Some(address(&mail.from)?), to).map_err(|error| error.to_string())
}

/// The file that says how far an export is delivered.
pub(super) fn note(directory: &Path) -> PathBuf {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    directory.with_file_name(format!(".sent-{name}"))
}

/// Whether all of an export was delivered, so that its mails do not lie here any more.
pub(super) fn is_delivered(directory: &Path) -> Result<bool, ExportError> {
    Ok(done(&note(directory))?.is_none())
}

/// How many mails of an export were taken; none if all were.
fn done(note: &Path) -> Result<Option<u64>, ExportError> {
    match fs::read_to_string(note) {
        Ok(text) if text.trim() == ALL => Ok(None),
        // What was noted of a bucket says nothing of mails.
        Ok(text) if text.starts_with(s3::WORD) => Ok(Some(0)),
        Ok(text) => text.trim().parse().map(Some).map_err(|error| ExportError::damaged(note, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some(0)),
        Err(error) => Err(ExportError::file(note)(error)),
    }
}

/// The mails of an export, in its order.
fn mails(directory: &Path) -> Result<impl Iterator<Item = Result<String, ExportError>> + use<>, ExportError> {
    let path = directory.join(SUMS);
    let sums = File::open(&path).map_err(ExportError::file(&path))?;
    let name = move |line: std::io::Result<String>| match line {
        Ok(line) => line.split_once("  ").map(|(_, name)| name.to_owned()).filter(|name| name.ends_with(".eml")).map(Ok),
        Err(error) => Some(Err(ExportError::file(&path)(error))),
    };
    Ok(BufReader::new(sums).lines().filter_map(name))
}

fn letter(path: &Path) -> Result<Vec<u8>, ExportError> {
    let bytes = fs::metadata(path).map_err(ExportError::file(path))?.len();
    match bytes <= MAX_MAIL_BYTES {
        true => fs::read(path).map_err(ExportError::file(path)),
        false => Err(ExportError::Undelivered(format!("{} has {bytes} bytes, which no mail may have", path.display()))),
    }
}

/// Leaves only the account of an export.
fn thin(directory: &Path) -> Result<(), ExportError> {
    for entry in fs::read_dir(directory).map_err(ExportError::file(directory))? {
        let path = entry.map_err(ExportError::file(directory))?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(ExportError::file(&path))?;
        }
    }
    Ok(())
}

pub(super) fn tell(watch: Watch<'_>, directory: &Path, sent: u64) -> Result<(), ExportError> {
    match watch(Progress { stage: Stage::Delivering, messages: sent, total: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ExportError::Stopped(directory.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::EmailTls;

    /// Takes every mail and counts them.
    async fn serve(stream: TcpStream, mails: Arc<AtomicU64>) {
        let (read, mut write) = stream.into_split();
        let mut lines = tokio::io::BufReader::new(read).lines();
        write.write_all(b"220 ready\r\n").await.unwrap();
        let mut is_mail = false;
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.as_str() {
                "." if is_mail => {
                    is_mail = false;
                    mails.fetch_add(1, Ordering::SeqCst);
                    "250 kept\r\n"
                }
                _ if is_mail => continue,
                "DATA" => {
                    is_mail = true;
                    "354 go on\r\n"
                }
                _ => "250 well\r\n",
            };
            let _gone_already = write.write_all(answer.as_bytes()).await;
        }
    }

    async fn mail_server(mails: Arc<AtomicU64>) -> EmailConfig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, mails.clone()));
            }
        });
        EmailConfig {
            server: "127.0.0.1".to_owned(),
            port,
            tls: EmailTls::None,
            tls_ca: None,
            user: None,
            password: None,
            from: "archive@example.com".to_owned(),
            to: vec!["journal@example.com".to_owned()],
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_that_can_not_be_noted() {
        let root = tempfile::tempdir().unwrap();
        let export = root.path().join("000000000000001-000000000000002");
        fs::create_dir_all(export.join("eml")).unwrap();
        let names = ["eml/a.eml", "eml/b.eml"];
        names.iter().for_each(|name| fs::write(export.join(name), "Subject: a\r\n\r\nb\r\n").unwrap());
        fs::write(export.join(SUMS), names.map(|name| format!("00  {name}\n")).concat()).unwrap();
        let mails = Arc::new(AtomicU64::new(0));
        let config = mail_server(mails.clone()).await;
        let turn = || by_mail(root.path(), &config, &|_| ControlFlow::Continue(()));
        // What is to become the note can't be written.
        let in_its_way = root.path().join(".sent-000000000000001-000000000000002.new");
        fs::create_dir(&in_its_way).unwrap();
        for _ in 0..2 {
            assert!(matches!(turn().await, Err(ExportError::File { .. })));
            assert_eq!(mails.load(Ordering::SeqCst), 0);
        }
        fs::remove_dir(&in_its_way).unwrap();
        assert_eq!(turn().await.unwrap(), Delivered { exports: 1, files: 2 });
        assert_eq!(turn().await.unwrap(), Delivered::default());
        assert_eq!(mails.load(Ordering::SeqCst), 2);
    }
}
