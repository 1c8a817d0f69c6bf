//! The spool on a simulated disk, one promise after another.

use super::sim::SimDisk;
use super::*;

/// Segments of a few records each.
pub(super) fn small() -> Options {
    Options {
        segment_bytes: 600,
        limit_bytes: 1 << 20,
        commit_bytes: 4096,
        buffer_bytes: 8192,
        max_record_bytes: 4096,
        commit_delay: Duration::from_millis(1),
        ..Options::default()
    }
}

pub(super) fn open_sim(disk: &SimDisk, options: Options) -> Parts {
    open_on(Arc::new(disk.clone()), options).unwrap().expect("the spool is free")
}

/// Polls a future once.
pub(super) fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

/// The value of a future that does not have to wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    poll_once(future).expect("the future should not have to wait")
}

/// Whether a future has to wait.
fn waits<T>(future: impl Future<Output = T>) -> bool {
    poll_once(future).is_none()
}

pub(super) fn read_all(reader: &mut Reader) -> (Vec<(u64, Vec<u8>)>, Vec<Damage>) {
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.read_now(7, 1000).unwrap() {
        records.extend(batch.iter().map(|(seq, bytes)| (seq, bytes.to_vec())));
        damage.extend(batch.damage);
    }
    (records, damage)
}

pub(super) fn numbers(records: &[(u64, Vec<u8>)]) -> Vec<u64> {
    records.iter().map(|(seq, _)| *seq).collect()
}

/// A spool of `count` records of 100 bytes, committed one by one: five in a segment.
fn filled(disk: &SimDisk, count: u64) {
    let (appender, _reader, _, mut writer) = open_sim(disk, small());
    for seq in 0..count {
        assert_eq!(now(appender.append(&[seq as u8; 100])), Ok(seq));
        assert!(writer.commit());
    }
    writer.finish();
}

#[test]
fn records_come_back_in_order_and_only_when_durable() {
    let disk = SimDisk::default();
    let (appender, mut reader, recovered, mut writer) = open_sim(&disk, small());
    assert_eq!((recovered.records, recovered.next_seq), (0, 0));
    for text in ["a", "", "ccc"] {
        now(appender.append(text.as_bytes())).unwrap();
    }
    assert_eq!(reader.read_now(10, 100).unwrap(), None);
    assert!(waits(appender.durable(2)));
    assert!(writer.commit());
    assert_eq!(now(appender.durable(2)), Ok(()));
    let batch = reader.read_now(10, 100).unwrap().unwrap();
    let got: Vec<_> = batch.iter().collect();
    assert_eq!(got, [(0, b"a".as_slice()), (1, b""), (2, b"ccc")]);
    assert_eq!(batch.next_seq, 3);
}

#[test]
fn a_batch_keeps_its_measure_unless_one_record_is_longer() {
    let disk = SimDisk::default();
    filled(&disk, 4);
    let (_appender, mut reader, _, _writer) = open_sim(&disk, small());
    assert_eq!(reader.read_now(10, 250).unwrap().unwrap().len(), 2);
    assert_eq!(reader.read_now(10, 5).unwrap().unwrap().len(), 1);
    assert_eq!(reader.read_now(1, 1000).unwrap().unwrap().len(), 1);
    assert_eq!(reader.read_now(1, 1000).unwrap(), None);
}

#[test]
fn a_second_opening_is_refused_while_the_first_lasts() {
    let disk = SimDisk::default();
    let parts = open_sim(&disk, small());
    assert!(open_on(Arc::new(disk.clone()), small()).unwrap().is_none());
    drop(parts);
    assert!(open_on(Arc::new(disk), small()).unwrap().is_some());
}

#[test]
fn limits_that_do_not_fit_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { buffer_bytes: 10, ..small() };
    assert!(matches!(Spool::open(dir.path(), options), Err(SpoolError::Options(_))));
}

#[test]
fn a_record_over_the_limit_is_refused() {
    let disk = SimDisk::default();
    let (appender, _reader, _, _writer) = open_sim(&disk, small());
    assert_eq!(now(appender.append(&[0; 4097])), Err(AppendError::TooLong { bytes: 4097, max: 4096 }));
}

#[test]
fn an_orderly_restart_goes_on_with_the_next_number() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!((recovered.records, recovered.first_seq, recovered.next_seq), (12, 0, 12));
    assert_eq!((recovered.torn_tail_bytes, recovered.damaged), (0, vec![]));
    assert_eq!(numbers(&read_all(&mut reader).0), (0..12).collect::<Vec<_>>());
}

#[test]
fn released_segments_are_deleted_and_the_numbering_goes_on() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    let (appender, mut reader, _, mut writer) = open_sim(&disk, small());
    reader.release(7);
    writer.housekeep();
    assert_eq!(disk.names(".log").len(), 2);
    reader.release(12);
    drop(appender);
    writer.finish();
    assert_eq!(disk.names(".log").len(), 0);
    drop((reader, writer));
    let (appender, _reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!((recovered.records, recovered.next_seq), (0, 12));
    assert_eq!(now(appender.append(b"x")), Ok(12));
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let disk = SimDisk::default();
    filled(&disk, 3);
    let name = segment::segment_name(0);
    disk.cut(&name, disk.length(&name) - 30);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.torn_tail_bytes, 86);
    // The orderly end had noted that record 2 was confirmed.
    assert_eq!(recovered.damaged, [Damage::hole(0, 280, 2..3)]);
    assert!(recovered.next_seq >= 3);
    assert_eq!(numbers(&read_all(&mut reader).0), [0, 1]);
    assert_eq!(disk.names(".bin"), ["damaged/0000000000000000-118.bin"]);
}

#[test]
fn damage_in_the_last_segment_is_set_aside_when_opening() {
    let disk = SimDisk::default();
    filled(&disk, 3);
    disk.flip(&segment::segment_name(0), 48 + 116 + 40, 1);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    let copy = Some("damaged/0000000000000000-a4.bin".to_owned());
    assert_eq!(recovered.damaged, [Damage { segment: 0, offset: 164, length: 116, missing: 1..2, copy }]);
    let (records, damage) = read_all(&mut reader);
    assert_eq!((numbers(&records), damage), (vec![0, 2], vec![]));
}

#[test]
fn damage_in_the_middle_is_reported_once_by_the_reader() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.damaged, []);
    disk.flip(&segment::segment_name(4), 48, 0x80);
    let (records, damage) = read_all(&mut reader);
    assert_eq!(numbers(&records), (0..12).filter(|seq| *seq != 4).collect::<Vec<_>>());
    assert_eq!(damage.len(), 1);
    assert_eq!((damage[0].missing.clone(), damage[0].length), (4..5, 116));
    reader.rewind(0);
    let (records, damage) = read_all(&mut reader);
    assert_eq!((records.len(), damage.len()), (11, 0));
}

#[test]
fn a_deleted_or_cut_middle_segment_is_a_reported_hole() {
    let disk = SimDisk::default();
    filled(&disk, 20);
    let names = disk.names(".log");
    disk.delete(&names[1]);
    disk.cut(&names[2], 48 + 116 + 5);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.damaged, []);
    let (records, damage) = read_all(&mut reader);
    assert_eq!(numbers(&records), [0, 1, 2, 3, 8, 12, 13, 14, 15, 16, 17, 18, 19]);
    let missing: Vec<_> = damage.iter().map(|one| one.missing.clone()).collect();
    assert_eq!(missing, [4..8, 9..12]);
}

#[test]
fn a_deleted_first_segment_is_reported_when_opening() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    disk.delete(&segment::segment_name(0));
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.damaged, [Damage::hole(4, 0, 0..4)]);
    assert_eq!(numbers(&read_all(&mut reader).0), (4..12).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_vanishes_while_open_is_a_reported_hole() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    let (_appender, mut reader, _, _writer) = open_sim(&disk, small());
    disk.delete(&segment::segment_name(4));
    let (records, damage) = read_all(&mut reader);
    assert_eq!(records.len(), 8);
    assert_eq!(damage, [Damage::hole(4, 48, 4..8)]);
}

#[test]
fn a_damaged_header_costs_no_record() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    disk.flip(&segment::segment_name(4), 20, 4);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.damaged.len(), 1);
    assert_eq!(read_all(&mut reader).0.len(), 12);
}

#[test]
fn a_segment_of_another_spool_is_moved_out_of_the_way() {
    let (disk, other) = (SimDisk::default(), SimDisk::default());
    filled(&disk, 3);
    filled(&other, 12);
    let file = disk.create(&segment::segment_name(8)).unwrap();
    let mut bytes = vec![0; other.length(&segment::segment_name(8)) as usize];
    other.open(&segment::segment_name(8)).unwrap().read_at(&mut bytes, 0).unwrap();
    file.write_at(&bytes, 0).unwrap();
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!((recovered.damaged.len(), recovered.next_seq), (1, 3));
    assert_eq!(numbers(&read_all(&mut reader).0), [0, 1, 2]);
}

#[test]
fn a_payload_that_looks_like_a_record_is_not_taken_for_one() {
    let disk = SimDisk::default();
    let (appender, reader, _, mut writer) = open_sim(&disk, small());
    let mut forged = Vec::new();
    segment::push_record(&mut forged, b"invented", Key::new(&[7; 16]).sum(b"invented"), 1);
    now(appender.append(&forged)).unwrap();
    now(appender.append(b"true")).unwrap();
    assert!(writer.commit());
    drop((appender, reader, writer));
    disk.flip(&segment::segment_name(0), 48, 1);
    let (_appender, mut reader, _, _writer) = open_sim(&disk.kill(), small());
    assert_eq!(read_all(&mut reader).0, [(1, b"true".to_vec())]);
}

#[test]
fn after_a_failed_sync_the_same_records_go_into_a_new_segment() {
    let disk = SimDisk::default();
    let (appender, _reader, _, mut writer) = open_sim(&disk, small());
    now(appender.append(b"first")).unwrap();
    assert!(writer.commit());
    now(appender.append(b"second")).unwrap();
    disk.fail_syncs(1);
    assert!(!writer.commit());
    assert!(appender.depth().last_error.unwrap().contains("input/output error"));
    assert!(waits(appender.durable(1)));
    now(appender.append(b"third")).unwrap();
    assert!(writer.commit() && writer.commit());
    assert_eq!(appender.depth().last_error, None);
    // The page cache would have shown the second record in the first segment; the power failure shows what is true.
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk.crash(1), small());
    assert_eq!(recovered.damaged, []);
    let got: Vec<_> = read_all(&mut reader).0.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(got, [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()]);
}

#[test]
fn a_full_disk_is_waited_for_and_loses_nothing() {
    let disk = SimDisk::default();
    let (appender, mut reader, _, mut writer) = open_sim(&disk, small());
    for seq in 0..8 {
        assert_eq!(now(appender.append(&[1; 100])), Ok(seq));
        assert!(writer.commit());
    }
    disk.set_capacity(Some(disk.used() + 50));
    assert_eq!(now(appender.append(&[2; 100])), Ok(8));
    assert!(!writer.commit() && !writer.commit());
    assert!(appender.depth().last_error.is_some());
    reader.release(8);
    writer.housekeep();
    assert!(writer.commit());
    assert_eq!(appender.depth().last_error, None);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk.crash(2), small());
    assert_eq!(recovered.damaged, []);
    assert_eq!(numbers(&read_all(&mut reader).0), [8]);
}

#[test]
fn at_the_limit_appending_waits_until_something_is_released() {
    let disk = SimDisk::default();
    let options = Options { limit_bytes: 5000, ..small() };
    let (appender, mut reader, _, mut writer) = open_sim(&disk, options);
    let mut appended = 0;
    while !waits(appender.append(&[1; 100])) {
        appended += 1;
        assert!(writer.commit());
    }
    assert!(appended > 20 && disk.used() <= 5000 + 8192);
    assert!(appender.depth().paused);
    reader.release(appended);
    writer.housekeep();
    assert!(!appender.depth().paused);
    assert_eq!(now(appender.append(&[1; 100])), Ok(appended));
}

#[test]
fn at_the_limit_records_are_refused_if_that_is_the_policy() {
    let disk = SimDisk::default();
    let options = Options { limit_bytes: 5000, when_full: WhenFull::Drop, ..small() };
    let (appender, _reader, _, mut writer) = open_sim(&disk, options);
    let refused = (0..100).find_map(|_| {
        let refused = now(appender.append(&[1; 100])).err();
        assert!(writer.commit());
        refused
    });
    assert_eq!(refused, Some(AppendError::Full));
}

#[test]
fn the_buffer_in_memory_is_bounded() {
    let disk = SimDisk::default();
    let (appender, _reader, _, mut writer) = open_sim(&disk, small());
    let taken = (0..1000).take_while(|_| !waits(appender.append(&[1; 100]))).count();
    assert_eq!(taken, 8192 / 116);
    assert!(writer.commit());
    assert!(!waits(appender.append(&[1; 100])));
}

#[test]
fn numbering_goes_on_behind_what_the_store_holds() {
    let disk = SimDisk::default();
    filled(&disk, 3);
    let (appender, mut reader, _, mut writer) = open_sim(&disk, small());
    reader.release(50);
    assert_eq!(now(appender.append(b"new")), Ok(50));
    assert!(writer.commit());
    assert_eq!(numbers(&read_all(&mut reader).0[3..]), [50]);
    drop((appender, reader, writer));
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk.kill(), small());
    assert_eq!(recovered.damaged, []);
    assert!(numbers(&read_all(&mut reader).0).ends_with(&[50]));
}
