//! Every capture of a real server, mirrored once more to the real program: the archive must end up as what the clients did, message by message.

mod kills;
mod lines;
mod truth;

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::capture::{Capture, FOLDERS};
use crate::support::ledger::Ledger;
use crate::support::played::Played;
use truth::differences;

/// Mirrors a capture to an archiver with an empty store and returns what that holds in the end.
fn archived(capture: &Capture, store: StoreKind) -> Ledger {
    let mut node = Played::of(capture);
    let mut archiver = Archiver::for_played(store, "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&capture.lines);
    archiver.wait_until_stored();
    archiver.stop();
    archiver.store.ledger()
}

fn check(capture: &Capture, ledger: &Ledger) {
    let wrong = differences(capture, ledger);
    assert!(wrong.is_empty(), "{}:\n{}\nthe archive:\n{ledger}", capture.name, wrong.join("\n"));
}

/// Makes a test of each capture of a folder.
macro_rules! captures {
    ($module:ident: $folder:literal, $($scenario:ident)+) => {
        mod $module {
            $(#[test] fn $scenario() {
                let capture = crate::support::capture::Capture::load($folder, stringify!($scenario));
                super::check(&capture, &super::archived(&capture, super::StoreKind::Sqlite));
            })+
        }
    };
}

captures!(ejabberd: "ejabberd-servicelog", a_one_resource b1_fork3_nocarbons b2_fork3_carbons c_offline d_reply_full_thread e_muc_permanent
    f_muc_adhoc g_muc_pm i_no_body j_edit_retract_react k_errors l_unicode_big o_identical r_pep_iq_noise);
captures!(prosody: "prosody-fwforward", a_one_resource b1_fork3_nocarbons b2_fork3_carbons c_offline d_reply_full_thread e_muc_permanent
    f_muc_adhoc g_muc_pm i_no_body j_edit_retract_react k_errors l_unicode_big o_identical r_pep_iq_noise);
captures!(federated: "s2s-ejabberd-servicelog", n1_s2s_chat);

/// What the comparison takes for inherent must not grow unseen.
#[test]
fn only_equal_sends_on_the_stock_mirror_of_ejabberd_are_merged() {
    let merged: Vec<_> = Capture::all()
        .iter()
        .map(|capture| (capture.name.clone(), truth::merged(capture)))
        .filter(|(_, merged)| !merged.is_empty())
        .collect();
    let expected = [
        ("ejabberd-servicelog/o_identical".to_owned(), vec![vec![0, 1], vec![2, 3], vec![13, 14, 15]]),
        ("s2s-ejabberd-servicelog/n1_s2s_chat".to_owned(), vec![vec![6, 7]]),
    ];
    assert_eq!(merged, expected);
    assert_eq!(FOLDERS.iter().map(|(_, scenarios)| scenarios.len()).sum::<usize>(), 29);
}

/// One contract, three databases: nothing but the times of arrival may differ.
fn same_as_in_sqlite(store: StoreKind) {
    for capture in Capture::all() {
        let ledger = archived(&capture, store);
        check(&capture, &ledger);
        let in_sqlite = archived(&capture, StoreKind::Sqlite);
        assert_eq!(ledger.timeless(), in_sqlite.timeless(), "{}", capture.name);
    }
}

#[test]
fn postgres_holds_the_same_rows_as_sqlite() {
    let _keeps_the_server = crate::support::postgres::database();
    same_as_in_sqlite(StoreKind::Postgres);
}

#[test]
fn mariadb_holds_the_same_rows_as_sqlite() {
    let _keeps_the_server = crate::support::mariadb::database();
    same_as_in_sqlite(StoreKind::MariaDb);
}
