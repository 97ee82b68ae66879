//! What lies ready for clients: answers to reads, within bounds of one and of all together.
//!
//! Without these the memory would be bounded by the number of connections alone, over each of which somebody may ask for the
//! largest object and take his time.

use hyper::Response;
use hyper::body::Body as _;
use watchbell_api::ApiError;

use crate::body::{self, Body};
use crate::limits::{Holder, Share, Shares, Shortage};

/// What may lie ready for all together,
const BYTES_MAX: u64 = 256 << 20;
/// and of it for the machine's own administrator.
const LOCAL_BYTES_MIN: u64 = 64 << 20;
/// Smaller answers are not counted: so much lies ready in the buffers of any connection.
const FROM_BYTES: u64 = 64 << 10;
/// A list that flows: its pieces that wait.
const FLOW_BYTES: u64 = 1 << 20;

/// Where answers get their share from.
#[derive(Debug)]
pub(crate) struct Answers {
    shares: Shares,
}

impl Answers {
    pub(crate) fn new() -> Answers {
        Answers { shares: Shares::new(BYTES_MAX, LOCAL_BYTES_MIN) }
    }

    fn take(&self, holder: &Holder, bytes: u64) -> Result<Share, ApiError> {
        let refusal = |short: Shortage| short.refusal("large answers that are not taken yet");
        self.shares.take(holder, bytes).map_err(refusal)
    }

    /// An answer that lies ready as a whole holds a share until it was taken.
    ///
    /// # Errors
    /// Too many of them lie there: so only what has no effect is answered by way of this.
    pub(crate) fn hold(&self, holder: &Holder, response: Response<Body>) -> Result<Response<Body>, ApiError> {
        match response.body().size_hint().exact() {
            Some(bytes) if bytes >= FROM_BYTES => {
                let share = self.take(holder, bytes)?;
                Ok(response.map(|body| body::holding(body, share)))
            }
            _ => Ok(response),
        }
    }

    /// The share of a list that flows.
    pub(crate) fn of_flow(&self, holder: &Holder) -> Result<Share, ApiError> {
        self.take(holder, FLOW_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::server::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use watchbell_api::Reason;

    use super::*;

    fn answer(bytes: usize) -> Response<Body> {
        Response::new(body::whole(vec![0; bytes]))
    }

    /// Also by way of the library that writes it, which has all of it at once.
    #[test]
    fn an_answer_is_held_until_it_was_written() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answers = Answers::new();
        let (near, mut far) = tokio::io::duplex(1024);
        let asked = || answers.hold(&Holder::User("ada".into()), answer(1 << 20)).unwrap();
        let service = hyper::service::service_fn(|_| std::future::ready(Ok::<_, Infallible>(asked())));
        let serve = http1::Builder::new().serve_connection(TokioIo::new(near), service);
        let client = async {
            far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut taken = vec![0; 1 << 19];
            far.read_exact(&mut taken).await.unwrap();
            assert_eq!(answers.shares.free(), BYTES_MAX - (1 << 20), "half of it is still to come");
            far.read_to_end(&mut taken).await.unwrap();
            assert!(taken.len() > 1 << 20);
        };
        let (served, ()) = runtime.block_on(async { tokio::join!(serve, client) });
        served.unwrap();
        assert_eq!(answers.shares.free(), BYTES_MAX);
    }

    #[test]
    fn answers_that_nobody_takes_are_bounded_and_others_get_theirs() {
        let answers = Answers::new();
        let (ada, bob) = (Holder::User("ada".into()), Holder::User("bob".into()));
        let held: Vec<_> = (0..1000).map_while(|_| answers.hold(&ada, answer(1 << 20)).ok()).collect();
        assert_eq!(held.len(), 38);
        let refused = answers.hold(&ada, answer(1 << 20)).unwrap_err();
        assert_eq!((refused.reason, refused.retry_after_seconds), (Reason::TooManyRequests, Some(1)));
        assert!(refused.message.contains("large answers that are not taken yet"), "{refused}");
        assert!(answers.of_flow(&ada).is_err());
        answers.hold(&ada, answer(1 << 10)).expect("a small one is always given");
        answers.hold(&bob, answer(16 << 20)).expect("others get theirs");
        answers.of_flow(&bob).expect("others get theirs");
        // Whoever went away, or took what he asked for, may ask again.
        drop(held);
        answers.hold(&ada, answer(1 << 20)).unwrap();
        assert_eq!(answers.shares.free(), BYTES_MAX);
    }
}
