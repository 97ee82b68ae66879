//! What is scanned is what runs: random layers, unpacked by the unpacker and laid above one another as the kernel does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use watchbell_image::{Silent, Store, Unpacker, import_path};

use crate::layers::{FileKind, Tree, read_layers};
use crate::testing::{Tar, TestImage, image};

/// Kind, path, and what a link leads to. Of a file the content says which entry of which layer it is.
type Entry = (u8, String, String);

fn tar(layer: usize, entries: &[Entry]) -> Tar {
    entries.iter().enumerate().fold(Tar::default(), |tar, (n, (kind, path, link))| match kind {
        b'0' => tar.file(path, format!("{layer}.{n}")),
        kind => tar.entry(path, *kind, 0o755, link, b""),
    })
}

/// What each path is; `None` where the unpacker refuses the image.
fn unpacked(image: &TestImage) -> Option<BTreeMap<String, String>> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap().unpacking_by(Unpacker::Thread);
    let imported = import_path(&store, &image.path(), None, &Silent).unwrap().remove(0);
    match store.unpacked_layers(&imported.image) {
        Ok(mut layers) => {
            layers.reverse();
            let mut shown = BTreeMap::new();
            merge(&layers, "", &mut shown);
            Some(shown)
        }
        Err(watchbell_image::Error::Layer { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The directories of one path in the layers that have it, the uppermost first, as overlayfs merges them (the kernel's
/// Documentation/filesystems/overlayfs.rst).
fn merge(dirs: &[PathBuf], at: &str, shown: &mut BTreeMap<String, String>) {
    let mut stacks: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for dir in dirs {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            stacks.entry(entry.file_name().into_string().unwrap()).or_default().push(entry.path());
        }
    }
    for (name, stack) in stacks {
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        let mut merged = Vec::new();
        for here in stack {
            let kind = fs::symlink_metadata(&here).unwrap().file_type();
            if kind.is_dir() {
                let is_opaque = is_opaque(&here);
                merged.push(here);
                if is_opaque {
                    break;
                }
                continue;
            }
            if merged.is_empty() && !kind.is_char_device() {
                let what = if kind.is_symlink() {
                    format!("→ {}", fs::read_link(&here).unwrap().display())
                } else if kind.is_fifo() {
                    "fifo".to_owned()
                } else {
                    fs::read_to_string(&here).unwrap()
                };
                shown.insert(path.clone(), what);
            }
            break;
        }
        if !merged.is_empty() {
            shown.insert(path.clone(), "directory".to_owned());
            merge(&merged, &path, shown);
        }
    }
}

fn is_opaque(dir: &Path) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::lgetxattr(dir, c"trusted.overlay.opaque", &mut value[..]).is_ok() && value == *b"y"
}

fn scanned(tree: &Tree) -> BTreeMap<String, String> {
    tree.iter()
        .map(|(path, node)| {
            let what = match &node.kind {
                FileKind::Directory => "directory".to_owned(),
                FileKind::Symlink { target } => format!("→ {target}"),
                FileKind::Fifo => "fifo".to_owned(),
                FileKind::File => format!("{}.{}", node.id.layer, node.id.entry),
                other => panic!("{path} is {other:?}"),
            };
            (path.to_owned(), what)
        })
        .collect()
}

/// Gives what is scanned of the layers where they can be unpacked: it is what runs.
fn check(layers: &[Vec<Entry>]) -> Option<BTreeMap<String, String>> {
    let image = image(layers.iter().enumerate().map(|(n, entries)| tar(n, entries)).collect());
    let scanned = scanned(&read_layers(&image.content, &[], 1).unwrap());
    let mut runs = unpacked(&image)?;
    // A directory that no entry names is not told by itself.
    runs.retain(|path, what| what != "directory" || scanned.contains_key(path));
    assert_eq!(scanned, runs, "{layers:#?}");
    Some(scanned)
}

fn of(layers: &[&[(u8, &str, &str)]]) -> Vec<Vec<Entry>> {
    let entry = |(kind, path, link): &(u8, &str, &str)| (*kind, (*path).to_owned(), (*link).to_owned());
    layers.iter().map(|layer| layer.iter().map(entry).collect()).collect()
}

#[test]
fn a_device_hides_nothing_because_none_is_unpacked() {
    let shell = check(&of(&[
        &[(b'0', "bin/sh", ""), (b'0', "x.dist-info/METADATA", "")],
        &[(b'3', "bin/sh", ""), (b'4', "x.dist-info", ""), (b'3', "none/null", "")],
    ]));
    let shell = shell.unwrap();
    assert_eq!((shell.len(), &*shell["bin/sh"], &*shell["x.dist-info/METADATA"]), (2, "0.0", "0.1"));
}

#[test]
fn a_whiteout_goes_where_its_own_layer_has_its_directory() {
    for whiteout in ["hb/.wh.sh", "hb/.wh..wh..opq"] {
        let layers = of(&[
            &[(b'5', "bin", ""), (b'0', "bin/sh", ""), (b'2', "hb", "bin")],
            &[(b'5', "hb", ""), (b'0', whiteout, "")],
        ]);
        assert_eq!(check(&layers).unwrap()["bin/sh"], "0.1", "{whiteout}");
        // The other way round the link is still there.
        let layers = of(&[
            &layers[0].iter().map(|(k, p, l)| (*k, &**p, &**l)).collect::<Vec<_>>(),
            &[(b'0', whiteout, ""), (b'5', "hb", "")],
        ]);
        assert_eq!(check(&layers).unwrap().get("bin/sh"), None, "{whiteout}");
    }
}

#[test]
fn what_is_only_passed_through_hides_what_is_no_directory() {
    // The way to `k/x` makes the directory `bin/sh`, which nothing is in.
    let layers = of(&[&[(b'0', "bin/sh", "")], &[(b'2', "k", "bin/sh/../../x"), (b'0', "k/y", "")]]);
    assert_eq!(check(&layers).unwrap().get("bin/sh"), None);
}

fn entry() -> impl Strategy<Value = Entry> {
    let directories = || proptest::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
    let name = prop::sample::select(vec!["a", "b", "f", "g"]);
    let target = ("/|(\\.\\./)?", directories(), prop::sample::select(vec!["a", "b", "f", ".."]));
    // Files, directories, links, what hides, and devices.
    let kind = prop::sample::select(b"000555522221ww ow3 6".to_vec());
    (kind, directories(), name, target).prop_map(|(kind, parents, name, (start, through, last))| {
        let parent = parents.iter().map(|parent| format!("{parent}/")).collect::<String>();
        let through = through.iter().map(|parent| format!("{parent}/")).collect::<String>();
        match kind {
            b'w' => (b'0', format!("{parent}.wh.{name}"), String::new()),
            b'o' => (b'0', format!("{parent}.wh..wh..opq"), String::new()),
            b'1' => (kind, format!("{parent}{name}"), format!("{through}f")),
            b'2' => (kind, format!("{parent}{name}"), format!("{start}{through}{last}")),
            b' ' => (b'0', format!("{parent}f"), String::new()),
            kind => (kind, format!("{parent}{name}"), String::new()),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_scanned_is_what_runs(layers in proptest::collection::vec(proptest::collection::vec(entry(), 1..7), 2..4)) {
        check(&layers);
    }
}
