use std::fs;
use std::sync::mpsc::{Receiver, channel};

use watchbell_api::node::Report;
use watchbell_array::{Array, Disk, Kind};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// The next array that is told of, and whether there is one.
fn told(reports: &Receiver<Report>) -> (String, bool) {
    match reports.recv_timeout(PATIENCE).unwrap() {
        Report::Array { name, facts, error: None, .. } => (name.to_string(), facts.is_some()),
        other => panic!("{other:?}"),
    }
}

/// A watch that cannot be begun, or ends by an error, hides no change: all arrays are looked at until one goes well again.
#[test]
fn what_cannot_be_watched_is_looked_at_until_it_can() {
    let dir = tempfile::Builder::new().prefix("watchbell-node-watch-").tempdir().unwrap();
    let root = dir.path().join("arrays");
    fs::create_dir_all(root.join("ns")).unwrap();
    let make = |name: &str| {
        Array::create_of(&root.join("ns").join(name), Disk::default(), Kind::Artifacts, None).unwrap()
    };
    make("first");
    let (tell, reports) = channel();
    let teller = Teller::new(
        Arc::new(crate::arrays::Stores::new(dir.path(), &[])),
        None,
        Arc::new(move |said| {
            let _ = tell.send(said);
        }),
    );
    let (end, held) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (go_on, step) = channel::<()>();
    std::thread::scope(|scope| {
        let (root, end, teller) = (&root, &end, &teller);
        let watched = scope.spawn(move || {
            let mut tries = 0;
            keep_watching(root, end, teller, Duration::ZERO, || {
                tries += 1;
                // The test has made what is next.
                let _ = step.recv_timeout(PATIENCE);
                match tries {
                    1 => Err(Errno::MFILE.into()),
                    // No inotify: it fails when the first directory is added.
                    2 => Ok(Watches {
                        events: fs::File::open("/dev/null")?.into(),
                        root: root.clone(),
                        places: HashMap::new(),
                    }),
                    _ => Watches::new(root.clone()),
                }
            });
            tries
        });
        go_on.send(()).unwrap();
        assert_eq!(told(&reports), ("first".to_owned(), true));
        make("second");
        go_on.send(()).unwrap();
        assert_eq!(told(&reports), ("second".to_owned(), true));
        // At once, so that nobody sees half of it.
        let take_away = |name: &str| fs::rename(root.join("ns").join(name), dir.path().join(name)).unwrap();
        take_away("first");
        make("third");
        go_on.send(()).unwrap();
        let found = [told(&reports), told(&reports)];
        assert!(found.contains(&("first".to_owned(), false)), "{found:?}");
        assert!(found.contains(&("third".to_owned(), true)), "{found:?}");
        // Now the kernel tells.
        take_away("second");
        assert_eq!(told(&reports), ("second".to_owned(), false));
        // Also of a file that nobody replaces: it is written in place.
        let third = root.join("ns/third");
        Array::open(&third, Disk::default()).unwrap().set_quota(Some(100)).unwrap();
        assert_eq!(told(&reports), ("third".to_owned(), true));
        fs::write(third.join("quota"), "200\n").unwrap();
        // Who looks while that is half done says so, and looks again once the file is closed.
        let quota = |said| match said {
            Report::Array { facts: Some(facts), error: None, .. } => facts.quota_bytes,
            _ => None,
        };
        while quota(reports.recv_timeout(PATIENCE).unwrap()) != Some(200) {}
        drop(held);
        assert_eq!(watched.join().unwrap(), 3);
    });
}
