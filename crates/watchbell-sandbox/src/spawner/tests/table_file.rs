use std::fs::File;
use std::io;

use crate::spawner::record::Record;
use crate::spawner::table_file::TableFile;
use crate::{ContainerId, ExitRecord, ExitStatus, LogSummary, TableEntry, Usage};

fn id(pod_uid: u128) -> ContainerId {
    ContainerId { pod_uid, container: 0, attempt: 0 }
}

fn exited(pod_uid: u128) -> ExitRecord {
    ExitRecord {
        id: id(pod_uid),
        status: ExitStatus::Code(3),
        oom_killed: false,
        started_at: 1,
        finished_at: 2,
        usage: Usage::default(),
        log: LogSummary::default(),
    }
}

fn open(dir: &tempfile::TempDir) -> io::Result<(TableFile, Vec<TableEntry>)> {
    let (table, loaded) = TableFile::open(File::open(dir.path())?.into(), 100)?;
    Ok((table, loaded.entries))
}

#[test]
fn what_was_written_is_found_by_the_next_spawner() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut table, entries) = open(&dir)?;
    assert_eq!(entries, []);
    table.push(&Record::Asked { id: id(1), at: 1 });
    table.push(&Record::Exited(exited(1)));
    table.push(&Record::Asked { id: id(2), at: 1 });
    table.flush()?;
    // Killed before it was written: it never happened.
    table.push(&Record::Asked { id: id(3), at: 1 });
    drop(table);
    let (table, entries) = open(&dir)?;
    assert_eq!(entries[0], TableEntry::Exited(exited(1)));
    assert!(matches!(&entries[1], TableEntry::Exited(lost) if lost.status == ExitStatus::Lost));
    assert_eq!(entries.len(), 2);
    drop(table);
    // A second one in a row finds the same.
    assert_eq!(open(&dir)?.1, entries);
    Ok(())
}

#[test]
fn the_file_stays_short_and_says_the_same() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut table, _) = open(&dir)?;
    let mut compactions = 0;
    for n in 0..100_000 {
        table.push(&Record::Asked { id: id(n), at: 1 });
        table.push(&Record::Exited(exited(n)));
        table.push(&Record::Forgotten { id: id(n) });
        if n % 100 == 0 {
            table.flush()?;
        }
        if table.wants_compaction() {
            table.compact([TableEntry::Exited(exited(7))].into_iter())?;
            compactions += 1;
        }
    }
    assert!(compactions > 3);
    assert!(std::fs::metadata(dir.path().join("spawner.table"))?.len() < 2 << 20);
    table.flush()?;
    drop(table);
    assert_eq!(open(&dir)?.1, [TableEntry::Exited(exited(7))]);
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 1);
    Ok(())
}
