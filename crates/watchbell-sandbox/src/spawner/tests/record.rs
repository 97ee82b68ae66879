use proptest::prelude::{any, proptest};
use proptest::{collection::vec, prop_assert, prop_assert_eq};

use crate::spawner::record::{BOOT_ID, BadTable, FORMAT, Loaded, Record, append, header, load};
use crate::wire::tests::exit;
use crate::{ContainerId, ExitStatus, TableEntry};

const BOOT: &[u8; BOOT_ID] = b"db822348-22ed-4fd9-8029-74b33bf9c874";
const OTHER: &[u8; BOOT_ID] = b"00000000-22ed-4fd9-8029-74b33bf9c874";
const NOW: i64 = 1_000;

fn id(pod_uid: u128) -> ContainerId {
    ContainerId { pod_uid, container: 0, attempt: 0 }
}

fn file(records: &[Record]) -> Vec<u8> {
    let mut bytes = header(BOOT);
    for record in records {
        append(&mut bytes, record);
    }
    bytes
}

fn lost(loaded: &Loaded) -> Vec<u128> {
    let is_lost = |entry: &&TableEntry| matches!(entry, TableEntry::Exited(record) if record.status == ExitStatus::Lost);
    loaded.entries.iter().filter(is_lost).map(|entry| entry.id().pod_uid).collect()
}

#[test]
fn what_was_under_way_is_lost_and_what_ended_is_known() -> Result<(), BadTable> {
    let records = [
        Record::Asked { id: id(1), at: 5 },
        Record::Asked { id: id(2), at: 6 },
        Record::Running { id: id(2), pid: 77, at: 7 },
        Record::Asked { id: id(3), at: 8 },
        Record::Forgotten { id: id(3) },
        // A wall clock that was set back since.
        Record::Asked { id: id(4), at: NOW + 5 },
    ];
    let loaded = load(&file(&records), BOOT, NOW)?;
    assert!(loaded.this_boot);
    assert_eq!(lost(&loaded), [1, 2, 4]);
    for entry in &loaded.entries {
        let TableEntry::Exited(record) = entry else { panic!("{entry:?}") };
        assert!(record.started_at <= record.finished_at);
    }
    assert!(!load(&file(&records), OTHER, NOW)?.this_boot);
    Ok(())
}

#[test]
fn a_file_of_another_kind_is_not_taken_for_an_empty_table() {
    let check = |bytes: &[u8], expect: Result<(), BadTable>| {
        assert_eq!(load(bytes, BOOT, NOW).map(drop), expect);
    };
    check(b"", Ok(()));
    check(b"WBTA", Ok(()));
    check(b"SQLi", Err(BadTable::Foreign));
    check(&[b'x'; 100], Err(BadTable::Foreign));
    let mut newer = header(BOOT);
    newer[FORMAT.len() - 1] += 1;
    check(&newer, Err(BadTable::Newer));
}

proptest! {
    #[test]
    fn a_cut_file_holds_all_records_before_the_cut(records in vec(exit(), 0..8), cut: proptest::sample::Index) {
        let all: Vec<Record> = records.iter().cloned().map(Record::Exited).collect();
        let mut ends = vec![];
        let mut bytes = header(BOOT);
        for record in &all {
            append(&mut bytes, record);
            ends.push(bytes.len());
        }
        let cut = cut.index(bytes.len() + 1);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let loaded = load(&bytes[..cut], BOOT, NOW)?;
        let mut expect: Vec<_> = records[..whole].to_vec();
        // The last of an id counts.
        expect.reverse();
        expect.sort_by_key(|record| record.id);
        expect.dedup_by_key(|record| record.id);
        let expect: Vec<_> = expect.into_iter().map(TableEntry::Exited).collect();
        prop_assert_eq!(loaded.entries, expect);
    }

    #[test]
    fn damage_is_never_believed_nor_fatal(bytes in vec(any::<u8>(), 0..200), flip: proptest::sample::Index) {
        let mut file = header(BOOT);
        file.extend(bytes);
        prop_assert!(load(&file, BOOT, NOW)?.entries.is_empty());
        let mut one = self::file(&[Record::Asked { id: id(9), at: 1 }]);
        let at = header(BOOT).len() + flip.index(one.len() - header(BOOT).len());
        one[at] ^= 1;
        prop_assert!(load(&one, BOOT, NOW)?.entries.is_empty());
    }
}
