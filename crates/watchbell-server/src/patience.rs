//! A connection whose other end takes nothing for long is given up.
//!
//! What lies ready for a client is held until it takes it. One that asks and never reads would hold it for ever: the kernel
//! sees a peer that is there, and goes on asking it whether it has room again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Says of a connection that it is no longer held to it: whoever sits before a terminal may stop what it shows.
pub(crate) type Endless = Arc<AtomicBool>;

/// A stream that fails when nothing more can be written to it for so long. The kernel says that there is room again once a good part
/// of what it holds is gone: a reader that takes less than that in the time is one that takes nothing.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    endless: Endless,
    /// While something waits to go out.
    due: Pin<Box<Sleep>>,
    waits: bool,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Duration, endless: Endless) -> Patient<S> {
        Patient { stream, patience, endless, due: Box::pin(sleep(patience)), waits: false }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() || self.endless.load(Ordering::Relaxed) {
            self.waits = false;
            return written;
        }
        if !self.waits {
            self.waits = true;
            self.due.as_mut().reset(Instant::now() + self.patience);
        }
        ready!(self.due.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(test);
    }

    fn patient(patience: Duration) -> (Patient<DuplexStream>, DuplexStream, Endless) {
        let (near, far) = duplex(4);
        let endless = Endless::default();
        (Patient::new(near, patience, endless.clone()), far, endless)
    }

    async fn waits(stream: &mut Patient<DuplexStream>) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_write(cx, b"x").is_pending())).await
    }

    #[test]
    fn who_takes_nothing_is_given_up() {
        run(async {
            let (mut stream, _far, _) = patient(Duration::ZERO);
            stream.write_all(b"full").await.unwrap();
            let error = stream.write_all(b"more").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn whatever_is_taken_begins_the_time_anew() {
        run(async {
            let (mut stream, mut far, _) = patient(Duration::from_secs(3600));
            stream.write_all(b"full").await.unwrap();
            assert!(!stream.waits);
            assert!(waits(&mut stream).await && stream.waits, "not yet");
            far.read_u8().await.unwrap();
            assert!(!waits(&mut stream).await && !stream.waits);
            assert!(waits(&mut stream).await);
        });
    }

    #[test]
    fn a_session_may_be_stopped_for_as_long_as_one_likes() {
        run(async {
            let (mut stream, _far, endless) = patient(Duration::ZERO);
            endless.store(true, Ordering::Relaxed);
            stream.write_all(b"full").await.unwrap();
            for _ in 0..3 {
                assert!(waits(&mut stream).await);
                tokio::task::yield_now().await;
            }
        });
    }
}
