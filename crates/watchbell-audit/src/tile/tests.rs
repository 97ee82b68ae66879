use super::*;

/// The examples of C2SP tlog-tiles.
#[test]
fn paths_are_those_of_the_specification() {
    let hashes = |level, index, width| Tile { kind: TileKind::Hashes { level }, index, width };
    let entries = |index, width| Tile { kind: TileKind::Entries, index, width };
    for (tile, path) in [
        (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (hashes(0, 1_234_067, 8), "tile/0/x001/x234/067.p/8"),
        (hashes(0, 0, 1), "tile/0/000.p/1"),
        (hashes(63, 999, 255), "tile/63/999.p/255"),
        (entries(1000, 256), "tile/entries/x001/000"),
        (entries(5, 7), "tile/entries/005.p/7"),
    ] {
        assert_eq!(tile.path(), path);
        assert_eq!(Tile::parse(path), Some(tile));
    }
    for path in [
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/64/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p",
        "tile/0/000/",
        "tile/0//000",
        "tile/entries",
        "tile/entries/00a",
        "tile/entries/+01",
        "tile/0/x001/x234/067.p/8/1",
        "Tile/0/000",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert_eq!(Tile::parse(path), None, "{path}");
    }
}

/// "A tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width 112, one full
/// level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile of width 1."
#[test]
fn a_tree_of_70_000_entries_has_the_tiles_that_the_specification_counts() {
    let size = 70_000;
    assert_eq!(levels(size), 3);
    let widths = |level| (0..).map(|i| width_in(size, level, i)).take_while(|w| *w > 0).collect::<Vec<_>>();
    assert_eq!(widths(0), [vec![256; 273], vec![112]].concat());
    assert_eq!(widths(1), [256, 17]);
    assert_eq!(widths(2), [1]);
    assert_eq!((levels(0), levels(1), levels(256), levels(u64::MAX)), (0, 1, 2, 8));
}

#[test]
fn a_bundle_reads_back_and_a_broken_one_says_where() {
    let mut bundle = Vec::new();
    for entry in [&b"one"[..], b"", b"three"] {
        push_entry(&mut bundle, entry);
    }
    let read: Result<Vec<_>, _> = bundle_entries(&bundle).collect();
    assert_eq!(read.unwrap(), [&b"one"[..], b"", b"three"]);
    for cut in 1..bundle.len() {
        let read: Vec<_> = bundle_entries(&bundle[..cut]).collect();
        let whole = [5, 7].contains(&cut);
        assert_eq!(read.last().unwrap().is_ok(), whole, "{cut}");
    }
}
