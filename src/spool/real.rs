//! The spool on a real directory, with its thread: orderly restarts, waiting, cancelling, and a process that is really killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::tests::{numbers, poll_once, read_all, small};
use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_real_directory_takes_and_gives_back_across_an_orderly_restart() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let options = Options { segment_bytes: 64 * 1024, ..Options::default() };
        let (appender, mut reader, _) = Spool::open(dir.path(), options.clone()).unwrap();
        assert!(matches!(Spool::open(dir.path(), options.clone()), Err(SpoolError::InUse(_))));
        let feeding = appender.clone();
        let feeder = tokio::spawn(async move {
            for seq in 0..2000_u64 {
                assert_eq!(feeding.append(&seq.to_le_bytes().repeat(20)).await, Ok(seq));
            }
            feeding.durable(1999).await.unwrap();
        });
        let mut expected = 0;
        while expected < 1000 {
            let batch = reader.next_batch(100, 1 << 20).await.unwrap();
            for (seq, bytes) in batch.iter() {
                assert_eq!((seq, bytes), (expected, seq.to_le_bytes().repeat(20).as_slice()));
                expected += 1;
            }
            reader.release(batch.next_seq);
        }
        feeder.await.unwrap();
        appender.close().await.unwrap();
        reader.close().await;

        let (appender, mut reader, recovered) = Spool::open(dir.path(), options).unwrap();
        assert_eq!((recovered.next_seq, recovered.first_seq), (2000, expected));
        appender.close().await.unwrap();
        while let Ok(batch) = reader.next_batch(100, 1 << 20).await {
            expected += batch.len() as u64;
        }
        assert_eq!(expected, 2000);
    });
}

#[test]
fn a_cancelled_read_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (appender, mut reader, _) = Spool::open(dir.path(), small()).unwrap();
        for seq in 0..50_u64 {
            appender.append(&seq.to_le_bytes()).await.unwrap();
        }
        appender.durable(49).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 50 {
            // Polled once and then dropped, mostly while the read still runs.
            let batch = match poll_once(reader.next_batch(10, 1000)) {
                Some(batch) => batch.unwrap(),
                None => reader.next_batch(10, 1000).await.unwrap(),
            };
            seen.extend(batch.iter().map(|(seq, _)| seq));
        }
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn appending_at_the_limit_goes_on_by_itself_when_the_reader_releases() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let options = Options { limit_bytes: 20_000, segment_bytes: 4000, ..small() };
        let (appender, mut reader, _) = Spool::open(dir.path(), options).unwrap();
        let feeding = appender.clone();
        let feeder = tokio::spawn(async move {
            for seq in 0..1000_u64 {
                assert_eq!(feeding.append(&[7; 200]).await, Ok(seq));
            }
        });
        let mut seen = 0;
        while seen < 1000 {
            let batch = reader.next_batch(16, 1 << 20).await.unwrap();
            seen += batch.len();
            assert!(appender.depth().bytes <= 20_000);
            reader.release(batch.next_seq);
        }
        feeder.await.unwrap();
    });
}

async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited for ten seconds");
}

#[test]
fn a_file_that_is_removed_is_written_anew_before_anything_more_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let place = dir.path().join("spool");
        let (appender, mut reader, _) = Spool::open(&place, small()).unwrap();
        let file = place.join("0000000000000000.log");
        appender.append(b"one").await.unwrap();
        appender.durable(0).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        appender.append(b"two").await.unwrap();
        appender.durable(1).await.unwrap();
        assert!(file.exists(), "what is confirmed has a name");
        // Noticed without a further record, too.
        appender.append(b"three").await.unwrap();
        appender.durable(2).await.unwrap();
        let second = place.join("0000000000000002.log");
        std::fs::remove_file(&second).unwrap();
        until(|| second.exists()).await;
        let mut read = Vec::new();
        while read.len() < 3 {
            let batch = reader.next_batch(10, 1 << 20).await.unwrap();
            read.extend(batch.iter().map(|(_, bytes)| bytes.to_vec()));
        }
        assert_eq!(read, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        assert_eq!(appender.depth().removed, None);
        reader.close().await;
        appender.close().await.unwrap();
        let (_appender, mut reader, recovered) = Spool::open(&place, small()).unwrap();
        assert_eq!((recovered.damaged, read_all(&mut reader).0.len()), (Vec::new(), 3));
    });
}

#[test]
fn without_its_directory_nothing_is_confirmed_and_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let place = dir.path().join("spool");
        let (appender, reader, _) = Spool::open(&place, small()).unwrap();
        appender.append(b"one").await.unwrap();
        appender.durable(0).await.unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        until(|| appender.depth().removed.is_some()).await;
        appender.append(b"two").await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(300), appender.durable(1)).await;
        assert!(waited.is_err(), "nothing is confirmed that has no name");
        std::fs::create_dir_all(place.join("damaged")).unwrap();
        appender.durable(1).await.unwrap();
        until(|| appender.depth().removed.is_none()).await;
        reader.close().await;
        appender.close().await.unwrap();
        let (_appender, mut reader, _) = Spool::open(&place, small()).unwrap();
        let (records, damage) = read_all(&mut reader);
        assert_eq!((numbers(&records), damage), (vec![0, 1], Vec::new()));
    });
}

#[test]
fn files_that_are_gone_for_good_are_told() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let options = Options { limit_bytes: 20_000, segment_bytes: 1000, ..small() };
        let (appender, _reader, _) = Spool::open(dir.path(), options).unwrap();
        for seq in 0..20_u64 {
            appender.append(&[7; 200]).await.unwrap();
            appender.durable(seq).await.unwrap();
        }
        std::fs::remove_file(dir.path().join("0000000000000000.log")).unwrap();
        until(|| appender.depth().removed.is_some()).await;
        assert!(appender.depth().removed.unwrap().starts_with("1 files with "));
    });
}

/// Says to this test binary that it is the process to be killed.
const CHILD_VARIABLE: &str = "XMPP_ARCHIVER_SPOOL_TEST_DIR";

/// Not a test by itself: it appends for ever and prints what is durable, until its parent kills it.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_VARIABLE) else {
        return;
    };
    runtime().block_on(async {
        let options = Options { segment_bytes: 256 * 1024, ..Options::default() };
        let (appender, _reader, _) = Spool::open(Path::new(&dir), options).unwrap();
        loop {
            let mut last = 0;
            for _ in 0..500 {
                last = appender.append(&[3; 300]).await.unwrap();
            }
            appender.durable(last).await.unwrap();
            println!("durable {last}");
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_that_was_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let mut confirmed = Vec::new();
    for round in 1..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "spool::real::the_process_that_is_killed", "--nocapture"])
            .env(CHILD_VARIABLE, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let durable = lines.map_while(Result::ok).filter_map(|line| line.rsplit_once("durable ")?.1.parse::<u64>().ok());
        let last = durable.take(5 * round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        confirmed.push(last + 1 - 2500 * round as u64..last + 1);
    }
    let (_appender, mut reader, recovered, _writer) =
        open_on(Arc::new(RealDisk::open(dir.path()).unwrap()), Options::default()).unwrap().unwrap();
    assert_eq!(recovered.damaged, []);
    let (records, damage) = read_all(&mut reader);
    assert_eq!(damage, []);
    let seqs = numbers(&records);
    for seq in confirmed.into_iter().flatten() {
        assert!(seqs.binary_search(&seq).is_ok(), "record {seq} is lost");
    }
    assert!(records.iter().all(|(_, bytes)| bytes == &[3; 300]));
}
