//! What requests bring in: bodies, within bounds of one and of all together.
//!
//! ```text
//!  body ──▶ read ──▶ bytes ──▶ decode ──▶ values ──▶ writer ──▶ answered
//!            │                   │                                │
//!            └ a share for each byte, and for each value that becomes of them, until nothing of it is left
//! ```
//!
//! Without these the memory would be bounded by the number of connections alone, each of which may bring the largest body.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Bytes;
use tokio::sync::Semaphore;
use watchbell_api::decode::Nodes;
use watchbell_api::{ApiError, Reason};

use crate::blocking::{blocking, ending};
use crate::body::{Arriving, BODY_BYTES_MAX, PATIENCE};
use crate::limits::{Holder, Share, Shares, Shortage};

/// What all requests together may bring in at a time.
const BYTES_MAX: u64 = 256 << 20;
/// Of it for the machine's own administrator: the largest request twice.
const LOCAL_BYTES_MIN: u64 = 64 << 20;
/// What a request takes that brings nothing.
const REQUEST_BYTES: u64 = 4 << 10;
/// What a value takes beside its text: an object of one member is two of them and some 460 bytes.
const NODE_BYTES: u64 = 256;
/// As much of a body that is too large is taken and thrown away.
const DRAINED_BYTES_MAX: u64 = 64 << 20;
/// A body of unknown length takes its share in steps.
const STEP_BYTES: u64 = 64 << 10;
/// Above this a body is decoded on a thread of its own, so that the others are not held up; as many at a time as there are
/// processors, as more would only take more memory.
const DECODE_HERE_BYTES: usize = 64 << 10;

/// Where requests get their share from.
#[derive(Debug)]
pub(crate) struct Intakes {
    shares: Shares,
    decoders: Arc<Semaphore>,
}

impl Intakes {
    pub(crate) fn new() -> Intakes {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Intakes {
            shares: Shares::new(BYTES_MAX, LOCAL_BYTES_MIN),
            decoders: Arc::new(Semaphore::new(processors)),
        }
    }

    /// For one request of somebody.
    pub(crate) fn of(&self, holder: &Holder) -> Intake {
        Intake { share: Arc::new(Mutex::new(self.shares.nothing(holder))), decoders: self.decoders.clone() }
    }

    /// How much is held, in Prometheus' text form.
    pub(crate) fn metrics(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let shares = self.shares.clone();
        let name = "watchbell_request_bytes";
        move || {
            format!(
                "# HELP {name} Bytes that requests hold which are not answered yet.\n# TYPE {name} gauge\n{name} {}\n",
                BYTES_MAX.saturating_sub(shares.free())
            )
        }
    }
}

/// What one request takes, until nothing is left of it.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    share: Arc<Mutex<Share>>,
    decoders: Arc<Semaphore>,
}

impl Intake {
    fn grow(&self, by: u64) -> Result<(), ApiError> {
        let refused = |short: Shortage| short.refusal("requests with bodies");
        self.share.lock().unwrap_or_else(PoisonError::into_inner).grow(by).map_err(refused)
    }

    /// The whole body of a request, within the limit and in bounded time.
    ///
    /// One that is too large is taken to its end, up to [`DRAINED_BYTES_MAX`], and thrown away: most clients only look at the
    /// answer once they have sent everything.
    pub(crate) async fn read(&self, incoming: &mut Arriving) -> Result<Bytes, ApiError> {
        let expected = incoming.expected();
        if expected > DRAINED_BYTES_MAX {
            return Err(too_large());
        }
        // Before anything of it is taken.
        let mut shared = expected.min(BODY_BYTES_MAX as u64);
        self.grow(REQUEST_BYTES + shared)?;
        let Some(mut body) = incoming.take() else { return Ok(Bytes::new()) };
        let mut whole = Vec::with_capacity(shared as usize);
        let mut taken: u64 = 0;
        let all = async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| {
                    ApiError::bad_request(format!("the body of the request cannot be read: {error}"))
                })?;
                let Ok(piece) = frame.into_data() else { continue };
                taken += piece.len() as u64;
                if taken > DRAINED_BYTES_MAX {
                    break;
                }
                if taken <= BODY_BYTES_MAX as u64 {
                    if taken > shared {
                        let step = (taken - shared).max(STEP_BYTES);
                        self.grow(step)?;
                        shared += step;
                    }
                    whole.extend_from_slice(&piece);
                }
            }
            if taken > BODY_BYTES_MAX as u64 { Err(too_large()) } else { Ok(()) }
        };
        match tokio::time::timeout(PATIENCE, all).await {
            Ok(result) => result.map(|()| Bytes::from(whole)),
            Err(_) => Err(ApiError::new(
                Reason::Timeout,
                format!("the body of the request did not arrive within {} s", PATIENCE.as_secs()),
            )),
        }
    }

    /// What a body says.
    pub(crate) async fn decode<T: Send + 'static>(
        &self,
        bytes: Bytes,
        decode: impl FnOnce(&[u8], &Nodes) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let length = bytes.len();
        let work = move || {
            let nodes = Nodes::of_request();
            decode(&bytes, &nodes).map(|value| (value, nodes.taken() as u64))
        };
        let (value, nodes) = if length <= DECODE_HERE_BYTES {
            work()?
        } else {
            let turn = self.decoders.clone().acquire_owned().await.map_err(|_| ending())?;
            // A client that goes away does not end the work: until then its turn and its share are taken.
            let held = (turn, self.clone());
            blocking(move || {
                let _held = held;
                work()
            })
            .await??
        };
        self.grow(nodes * NODE_BYTES)?;
        Ok(value)
    }
}

fn too_large() -> ApiError {
    ApiError::new(
        Reason::RequestEntityTooLarge,
        format!(
            "Request entity too large: limit is {BODY_BYTES_MAX}: split the object, or keep its data elsewhere"
        ),
    )
}
