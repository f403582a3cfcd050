//! The way to the server: some connections that are kept, each with the index open. A server that has left in the
//! meantime is started again, unseen.

use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use fleet::HostSpec;
use hyper::Response;
use hyper::body::Bytes;
use hyper::http::request::Builder;
use protocol::search::OpenedIndex;
use tokio::sync::Semaphore;

use crate::ask::AskError;
use crate::paths::Paths;
use crate::session::{Session, Target};

/// Requests at once, as many as a browser has connections to a host. An sshd takes ten sessions on a connection, and each
/// of these may be one.
const AT_ONCE: usize = 6;

/// The server of an index.
pub struct Upstream {
    target: Arc<Target>,
    turns: Semaphore,
    kept: Mutex<Vec<Session>>,
    /// Who answered last.
    place: Mutex<Place>,
    /// Held by who connects, so that one server is started, not several.
    connecting: tokio::sync::Mutex<()>,
}

/// Where an index is asked.
#[derive(Clone)]
pub struct Place {
    target: Arc<Target>,
    host: HostSpec,
    /// The index, as the server has it.
    pub opened: OpenedIndex,
}

impl Place {
    fn of(session: &Session) -> Self {
        Self { target: session.target().clone(), host: session.host().clone(), opened: session.opened.clone() }
    }

    /// How the index's paths are called here.
    pub fn paths(&self) -> Paths<'_> {
        Paths { shared: &self.target.hosts.shared, host: &self.host, root: &self.opened.root }
    }
}

impl Upstream {
    /// The server that a session leads to.
    pub fn new(session: Session) -> Self {
        Self {
            target: session.target().clone(),
            turns: Semaphore::new(AT_ONCE),
            place: Mutex::new(Place::of(&session)),
            kept: Mutex::new(vec![session]),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// Where the index was asked last.
    pub fn place(&self) -> Place {
        self.place.lock().expect("nothing panics in it").clone()
    }

    /// The index as it stands now.
    pub async fn opened(&self) -> Result<Place> {
        let session = self.connect().await?;
        self.kept().push(session);
        Ok(self.place())
    }

    /// Asks a route of the index for what may be asked twice. An answer is one whatever its status.
    pub async fn ask(&self, route: &str, head: impl Fn(Builder) -> Builder, body: Bytes) -> Result<Response<Bytes>> {
        let _turn = self.turns.acquire().await?;
        loop {
            let kept = self.kept().pop();
            let was_kept = kept.is_some();
            let mut session = match kept {
                Some(session) => session,
                None => self.connect().await?,
            };
            match session.send(route, &head, body.clone()).await {
                Ok(response) => {
                    self.kept().push(session);
                    return Ok(response);
                }
                // The server left since, or was killed.
                Err(AskError::Broken(_) | AskError::Unsent(_)) if was_kept => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    async fn connect(&self) -> Result<Session> {
        let _alone = self.connecting.lock().await;
        let session = Session::open(self.target.clone()).await?;
        *self.place.lock().expect("nothing panics in it") = Place::of(&session);
        Ok(session)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Session>> {
        self.kept.lock().expect("nothing panics in it")
    }
}
