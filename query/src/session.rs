//! An index that is asked again and again: on one connection, which is made again when it breaks, and on another host
//! when one is down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fleet::{HostSpec, Hosts};
use hyper::body::Bytes;
use hyper::http::request::Builder;
use hyper::{Request, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::map::{MapRequest, MapResponse};
use protocol::search::{
    Answered, BatchRequest, BatchResponse, CopyRequest, CopyResponse, DuplicatesRequest, DuplicatesResponse, OpenIndex,
    OpenedIndex, SearchRequest, SearchResponse,
};
use protocol::stats::Stats;
use protocol::{IndexPrefix, note};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::ask::{AskError, Connection};
use crate::paths::Paths;
use crate::{connect, find};

/// Where others can be asked instead, a host has so long until a server listens there.
const BOUND: Duration = Duration::from_secs(20);

/// Which index is asked, and where.
#[derive(Debug)]
pub struct Target {
    /// The machines.
    pub hosts: Hosts,
    /// Those that may be asked, the preferred first; at least one.
    pub candidates: Vec<HostSpec>,
    /// The index, as it is here.
    pub prefix: IndexPrefix,
    /// Where its model is, if its name does not lead there: a folder, as it is here.
    pub model: Option<PathBuf>,
}

/// An index that can be asked.
pub struct Session {
    target: Arc<Target>,
    host: HostSpec,
    /// The index, as the server has it.
    pub opened: OpenedIndex,
    connection: Connection,
}

impl Session {
    /// Opens the index on the first host that can be asked. That another than the preferred one answers is told.
    pub async fn open(target: Arc<Target>) -> Result<Self> {
        let (host, opened, connection) = open(&target).await?;
        Ok(Self { target, host, opened, connection })
    }

    /// Names of the collection's pictures.
    pub fn paths(&self) -> Paths<'_> {
        Paths { shared: &self.target.hosts.shared, host: &self.host, root: &self.opened.root }
    }

    /// The index, as it is here.
    pub fn prefix(&self) -> &IndexPrefix {
        &self.target.prefix
    }

    /// Which index it is, and who may be asked.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The host that answers.
    pub fn host(&self) -> &HostSpec {
        &self.host
    }

    /// Asks a route of the index, as `head` says. An answer is one whatever its status.
    pub async fn send(
        &mut self,
        route: &str,
        head: impl Fn(Builder) -> Builder,
        body: Bytes,
    ) -> Result<Response<Bytes>, AskError> {
        let request = Request::builder().uri(format!("/v1/indexes/{}/{route}", self.opened.name));
        self.connection.send(head(request), body).await
    }

    /// Asks.
    pub async fn search(&mut self, question: &SearchRequest) -> Result<SearchResponse> {
        self.surely(async |session| session.post("search", question).await).await
    }

    /// Asks several questions; the answer to each.
    pub async fn search_batch(&mut self, questions: &BatchRequest) -> Result<Vec<Answered>> {
        let asking = async |session: &mut Self| session.post("search/batch", questions).await;
        let BatchResponse { answers } = self.surely(asking).await?;
        let (asked, answered) = (questions.requests.len(), answers.len());
        if asked != answered {
            let odd = serde::de::Error::custom(format!("it holds {answered} answers to {asked} questions"));
            return Err(AskError::Strange(odd).into());
        }
        Ok(answers)
    }

    /// Groups of nearly the same pictures.
    pub async fn duplicates(&mut self, wanted: &DuplicatesRequest) -> Result<DuplicatesResponse> {
        self.surely(async |session| session.post("duplicates", wanted).await).await
    }

    /// What the index holds.
    pub async fn stats(&mut self) -> Result<Stats> {
        let asking = async |session: &mut Self| {
            let route = format!("/v1/indexes/{}/stats", session.opened.name);
            let stats = session.connection.get(&route).await?;
            serde_json::from_slice(&stats).map_err(AskError::Strange)
        };
        self.surely(asking).await
    }

    /// A map of the whole collection.
    pub async fn map(&mut self, request: &MapRequest) -> Result<MapResponse> {
        self.surely(async |session| session.post("map", request).await).await
    }

    /// Has pictures copied; what became of each, or why the index is not trusted. Not repeated when the connection breaks on
    /// the way: some may be copied already.
    pub async fn copy(&mut self, request: &CopyRequest) -> Result<CopyResponse> {
        Ok(match self.post("copy", request).await {
            Err(AskError::Unsent(_)) => {
                self.open_again().await?;
                self.post("copy", request).await?
            }
            response => response?,
        })
    }

    /// A small JPEG of a picture, about `height` pixels high.
    pub async fn thumbnail(&mut self, canonical: &str, height: u32) -> Result<Bytes> {
        let path = utf8_percent_encode(canonical, NON_ALPHANUMERIC);
        let target = format!("/v1/indexes/{}/thumbnail?path={path}&height={height}", self.opened.name);
        Ok(self.connection.get(&target).await?)
    }

    /// Asks what may be asked twice. A server that left since the last question, or ends while it is being asked, is
    /// started once more.
    async fn surely<A>(&mut self, ask: impl AsyncFn(&mut Self) -> Result<A, AskError>) -> Result<A> {
        match ask(self).await {
            Err(AskError::Broken(_) | AskError::Unsent(_)) => {
                self.open_again().await?;
                Ok(ask(self).await?)
            }
            answer => Ok(answer?),
        }
    }

    async fn open_again(&mut self) -> Result<()> {
        (self.host, self.opened, self.connection) = open(&self.target).await?;
        Ok(())
    }

    async fn post<A: DeserializeOwned>(&mut self, what: &str, body: &impl Serialize) -> Result<A, AskError> {
        self.connection.post(&format!("/v1/indexes/{}/{what}", self.opened.name), body).await
    }
}

/// The first host that can be asked, with the index opened there.
async fn open(target: &Target) -> Result<(HostSpec, OpenedIndex, Connection)> {
    let (first, others) = target.candidates.split_first().context("no host may be asked")?;
    let bounded = !others.is_empty();
    let error = match open_on(first, target, bounded).await {
        Ok((opened, connection)) => return Ok((first.clone(), opened, connection)),
        Err(e) if others.is_empty() || knows_better(&e) => return Err(e),
        Err(e) => e,
    };
    let mut away = format!("{error:#}");
    for host in others {
        match open_on(host, target, bounded).await {
            Ok((opened, connection)) => {
                note(&format!("query: {away}"));
                note(&format!("query: {} answers instead", host.name));
                return Ok((host.clone(), opened, connection));
            }
            Err(e) => away += &format!("; {} cannot answer instead: {e:#}", host.name),
        }
    }
    Err(anyhow::Error::msg(away))
}

/// Whether a host is up and answers; another one would say the same.
fn knows_better(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|e| !matches!(e, AskError::Broken(_) | AskError::Unsent(_)))
}

async fn open_on(host: &HostSpec, target: &Target, bounded: bool) -> Result<(OpenedIndex, Connection)> {
    let here = target.prefix.dir().to_str().context("the index's path is not UTF-8")?;
    let model = target.model.as_deref().map(|m| find::model(m, host)).transpose()?;
    let open = OpenIndex { index_prefix: host.path_there(here), model, root_here: None };
    let connection = match connect::warm(host).await? {
        Some(connection) => connection,
        None => connect(host, bounded).await?,
    };
    let (opened, mut connection) = match open_over(connection, &open).await {
        // It left, or the way to it broke, since the last question.
        Err(AskError::Broken(_) | AskError::Unsent(_)) => open_over(connect(host, bounded).await?, &open).await?,
        opened => opened?,
    };
    // The server tells the root; only the asker's path maps tell where that host sees it.
    let root_here = Paths { shared: &target.hosts.shared, host, root: &opened.root }.root_there();
    if root_here.is_some() {
        let opened = connection.post("/v1/indexes", &OpenIndex { root_here, ..open }).await?;
        return Ok((opened, connection));
    }
    Ok((opened, connection))
}

async fn connect(host: &HostSpec, bounded: bool) -> Result<Connection> {
    if !bounded {
        return connect::connect(host).await;
    }
    let late = || format!("{}: no server listens there within {} s", host.name, BOUND.as_secs());
    timeout(BOUND, connect::connect(host)).await.with_context(late)?
}

async fn open_over(mut connection: Connection, open: &OpenIndex) -> Result<(OpenedIndex, Connection), AskError> {
    let opened = connection.post("/v1/indexes", open).await?;
    Ok((opened, connection))
}
