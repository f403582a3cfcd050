//! Lets connections in. They are bounded in number, and each must say soon who it is: whoever opens many and says nothing
//! keeps nobody else out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Connections at once; a browser makes six. Some systems let a program have 256 files open.
const MOST: usize = 96;

/// How long a request's head may take, and how long a connection may stand idle.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait when the system has no room for one more connection.
const NO_ROOM: Duration = Duration::from_millis(50);

/// Told by the guard that a connection is that of somebody who knows the link.
#[derive(Clone, Debug, Default)]
pub struct Mark(Arc<AtomicBool>);

impl Mark {
    /// Marks the connection.
    pub fn known(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection.
struct Guest {
    mark: Mark,
    task: AbortHandle,
}

/// Those that stand, the oldest first.
type Guests = Arc<Mutex<BTreeMap<u64, Guest>>>;

/// Serves until the program ends.
pub async fn serve(listener: TcpListener, router: Router) {
    let guests = Guests::default();
    for number in 0.. {
        match listener.accept().await {
            Ok((stream, _)) => welcome(&guests, number, stream, &router),
            // The one that wanted in has gone again, or there are no more files.
            Err(_) => {
                make_room(&guests, 0);
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
}

fn welcome(guests: &Guests, number: u64, stream: TcpStream, router: &Router) {
    if !make_room(guests, MOST - 1) {
        return;
    }
    let mark = Mark::default();
    let service = TowerToHyperService::new(router.clone().layer(Extension(mark.clone())));
    let (all, leaving) = (guests.clone(), guests.clone());
    // Held until the guest is entered, so that it leaves afterwards.
    let mut entered = all.lock().expect("nothing panics in it");
    let task = tokio::spawn(async move {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        // What breaks a connection is its asker's to notice.
        let _ = http.serve_connection(TokioIo::new(stream), service).await;
        leaving.lock().expect("nothing panics in it").remove(&number);
    });
    entered.insert(number, Guest { mark, task: task.abort_handle() });
}

/// Sends away the oldest of those who have not said who they are, if there are more than `most`. False if there is no room
/// because all have.
fn make_room(guests: &Guests, most: usize) -> bool {
    let mut guests = guests.lock().expect("nothing panics in it");
    if guests.len() <= most {
        return true;
    }
    let Some(number) = guests.iter().find(|(_, guest)| !guest.mark.is_known()).map(|(number, _)| *number) else {
        return false;
    };
    if let Some(guest) = guests.remove(&number) {
        guest.task.abort();
    }
    true
}
