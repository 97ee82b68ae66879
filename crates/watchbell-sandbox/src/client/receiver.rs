//! One thread turns frames into events. It always reads, so the spawner never finds its server slow.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::wire::{Filled, Inbox, Reply, decode};
use crate::{Error, Event};

pub(super) fn start(socket: Arc<OwnedFd>, inbox: Inbox) -> Result<Receiver<Event>, Error> {
    let (events, receiver) = channel();
    std::thread::Builder::new()
        .name("spawner-events".to_owned())
        .spawn(move || {
            receive(&socket, inbox, &events);
            // Nobody may wait for them any more.
            let _ = events.send(Event::Disconnected);
        })
        .map_err(|cause| Error::Connection { cause })?;
    Ok(receiver)
}

/// Until the connection breaks or nobody listens.
fn receive(socket: &OwnedFd, mut inbox: Inbox, events: &Sender<Event>) {
    loop {
        loop {
            match inbox.next() {
                Ok(Some(frame)) => match decode::<Reply>(&frame.body) {
                    Ok(Reply::Event(event)) => {
                        if events.send(event).is_err() {
                            return;
                        }
                    }
                    // Nothing else follows the table.
                    Ok(_) | Err(_) => {
                        tracing::error!(
                            "the spawner sent what this program cannot read; the connection is dropped"
                        );
                        return;
                    }
                },
                Ok(None) => break,
                Err(error) => {
                    tracing::error!("the connection to the spawner is damaged: {error}");
                    return;
                }
            }
        }
        match inbox.fill(socket.as_fd()) {
            Ok(Filled::Bytes(_) | Filled::WouldBlock) => {}
            Ok(Filled::End) => return,
            Err(error) => {
                tracing::error!("the connection to the spawner broke: {error}");
                return;
            }
        }
    }
}
