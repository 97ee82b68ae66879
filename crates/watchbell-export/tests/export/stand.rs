//! An HTTP/1.1 server of the tests' own: it reads requests to the letter and answers what it is told, whole or not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use flate2::read::GzDecoder;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Uncompressed.
    pub(crate) body: Vec<u8>,
}

/// What goes back.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Whole {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// The same in pieces, each sent by itself (chunked).
    Pieces {
        status: u16,
        body: Vec<u8>,
    },
    /// The head, and so many bytes of the body; then the connection is cut.
    CutAfter {
        body: Vec<u8>,
        bytes: usize,
    },
    /// The connection is cut without a word.
    Cut,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Reply {
        let headers = vec![("content-type", "application/json".to_owned())];
        Reply::Whole { status, headers, body: body.to_string().into_bytes() }
    }
}

type Handler = dyn FnMut(&Request) -> Reply + Send;

/// A server; it ends when it is dropped.
pub(crate) struct Stand {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A connection as the stand needs it: plain or TLS.
pub(crate) trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

impl Stand {
    pub(crate) fn start(handler: impl FnMut(&Request) -> Reply + Send + 'static) -> Stand {
        Stand::start_with(|stream| Some(Box::new(stream)), handler)
    }

    /// With something around each connection.
    pub(crate) fn start_with(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Duplex>> + Send + Sync + 'static,
        handler: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Stand {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let handler: Arc<Mutex<Box<Handler>>> = Arc::new(Mutex::new(Box::new(handler)));
        let wrap = Arc::new(wrap);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, wrap) = (handler.clone(), wrap.clone());
                // A thread ends with its connection.
                std::thread::spawn(move || {
                    if let Ok(stream) = stream
                        && let Some(stream) = wrap(stream)
                    {
                        serve(stream, &handler);
                    }
                });
            }
        });
        Stand { address, is_over, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: Box<dyn Duplex>, handler: &Mutex<Box<Handler>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let reply = (handler.lock().unwrap())(&request);
        let out = stream.get_mut();
        let head = |status: u16, rest: &str| format!("HTTP/1.1 {status} X\r\n{rest}\r\n");
        let wrote = match reply {
            Reply::Whole { status, headers, body } => {
                let mut rest = format!("content-length: {}\r\n", body.len());
                for (name, value) in headers {
                    rest.push_str(&format!("{name}: {value}\r\n"));
                }
                out.write_all(head(status, &rest).as_bytes()).and_then(|()| out.write_all(&body))
            }
            Reply::Pieces { status, body } => {
                let mut all = head(status, "transfer-encoding: chunked\r\n").into_bytes();
                for piece in body.chunks(7) {
                    all.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    all.extend_from_slice(piece);
                    all.extend_from_slice(b"\r\n");
                }
                all.extend_from_slice(b"0\r\n\r\n");
                all.chunks(3).try_for_each(|piece| out.write_all(piece).and_then(|()| out.flush()))
            }
            Reply::CutAfter { body, bytes } => {
                let all = head(200, &format!("content-length: {}\r\n", body.len()));
                let _ = out.write_all(all.as_bytes()).and_then(|()| out.write_all(&body[..bytes]));
                return;
            }
            Reply::Cut => return,
        };
        if wrote.and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn read(stream: &mut BufReader<Box<dyn Duplex>>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        assert!(headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()).is_none(), "{name} twice");
    }
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    assert!(!headers.contains_key("transfer-encoding"), "a batch has a length");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("the body is gzip");
        body = plain;
    }
    Some(Request { method, path, headers, body })
}
