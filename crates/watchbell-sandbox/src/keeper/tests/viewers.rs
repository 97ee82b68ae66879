use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::keeper::viewer::Viewer;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A pipe of one page whose writing end never blocks.
fn small_pipe() -> Result<(std::fs::File, OwnedFd), Box<dyn std::error::Error>> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&write, 4096)?;
    fcntl_setfl(&write, OFlags::NONBLOCK)?;
    Ok((read.into(), write))
}

#[test]
fn what_fits_is_shown_as_it_is() -> Outcome {
    let ((mut out, out_in), (mut err, err_in)) = (small_pipe()?, small_pipe()?);
    let mut viewer = Viewer::new([true, true], vec![out_in, err_in]);
    viewer.show(0, b"one ");
    viewer.show(1, b"two ");
    viewer.show(0, b"three");
    viewer.end(0);
    assert!(!viewer.is_over());
    viewer.end(1);
    assert!(viewer.is_over());
    let mut texts = [String::new(), String::new()];
    out.read_to_string(&mut texts[0])?;
    err.read_to_string(&mut texts[1])?;
    assert_eq!(texts, ["one three", "two "]);
    Ok(())
}

#[test]
fn what_does_not_fit_is_counted_and_told() -> Outcome {
    let (mut out, out_in) = small_pipe()?;
    let mut viewer = Viewer::new([true, false], vec![out_in]);
    viewer.show(0, &[b'a'; 4090]);
    // So little goes whole or not at all, and there is no room for a word about it either.
    viewer.show(0, &[b'b'; 100]);
    viewer.show(0, b"lost");
    viewer.show(1, b"nobody asked for this");
    let mut seen = vec![0; 4090];
    out.read_exact(&mut seen)?;
    viewer.show(0, b"on");
    viewer.end(0);
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    let note = "\r\n[104 bytes are left out here: they were not read in time; the log has them]\r\n";
    assert_eq!(rest, format!("{note}on"));
    Ok(())
}

#[test]
fn one_that_left_is_let_go() -> Outcome {
    let ((out, out_in), (_err, err_in)) = (small_pipe()?, small_pipe()?);
    let mut viewer = Viewer::new([true, false], vec![out_in]);
    assert!(viewer.is_there());
    drop(out);
    assert!(!viewer.is_there());
    viewer.show(0, b"x");
    assert!(viewer.is_over());
    // Only what it has can be shown, whatever was promised.
    let mut viewer = Viewer::new([true, true], vec![err_in]);
    viewer.show(1, b"x");
    viewer.end(0);
    assert!(viewer.is_over());
    Ok(())
}
